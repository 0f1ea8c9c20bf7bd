"""Parts of an upload: taken in pieces of bounded size, and put together when everything is there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from ledger import parts, uploads
from ledger.errors import LedgerError, RecordsClash, SubjectSuppressed
from ledger.ledger import Ledger
from service.refusals import BodyTooLarge, ServiceError, UploadRefused
from service.uploads.formats import Name
from service.uploads.receive import nameless_file, write_all
from service.uploads.records import Limits
from service.uploads.store import Stored, receiver, store

PIECE = 8 * 2**20
"""Bytes that are sealed and stored together, and at most lost when the service dies."""
REFUSED = (UploadRefused, RecordsClash, SubjectSuppressed)
"""What sending the same bytes again would not change."""


async def append(
    ledger: Ledger, tenant_id: str, upload_id: str, start: int, stream: AsyncIterator[bytes], *, limit: int
) -> int:
    """Store a body that begins at byte `start`, and return where the next begins. What came before a break is kept.

    `limit`: bytes of the whole upload. Raises BodyTooLarge, ClientDisconnect, and what `parts.append` raises.
    """
    waiting = bytearray()

    async def flush() -> None:
        nonlocal start
        start = await run_in_threadpool(parts.append, ledger, tenant_id, upload_id, start, bytes(waiting))
        waiting.clear()

    try:
        async for chunk in stream:
            if start + len(waiting) + len(chunk) > limit:
                raise BodyTooLarge(limit)
            waiting += chunk
            if len(waiting) >= PIECE:
                await flush()
    except ClientDisconnect:
        await flush()
        raise
    await flush()
    return start


def finish(ledger: Ledger, tenant_id: str, upload_id: str, limits: Limits, *, folder: Path) -> Stored:
    """Check the whole upload and store it. One that is refused has failed; after other failures it is open again.

    Raises NotFound, WrongState, UploadIncomplete, UploadRefused, RecordsClash, SubjectSuppressed, StoreFailed.
    """
    upload = parts.claim(ledger, tenant_id, upload_id)
    try:
        to = receiver(ledger, tenant_id, upload.cohort_id, upload.subject_type or "")
        kind = cast(Name, upload.format)
        with nameless_file(folder) as body:
            for piece in parts.read(ledger, upload_id):
                write_all(body, piece)
            return store(ledger, to, body, limits, kind=kind, folder=folder, upload_id=upload_id)
    except REFUSED as problem:
        uploads.give_up(ledger, upload_id, error=str(problem))
        raise
    except (LedgerError, ServiceError, DBAPIError, PoolTimeout):
        uploads.abandon(ledger, upload_id)
        raise
