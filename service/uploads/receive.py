"""Receiving a large body into a temporary file that has no name, so a crash leaves nothing to find."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO

from starlette.concurrency import run_in_threadpool

from ledger.objects.disk import disk_facts
from service.refusals import BodyTooLarge

BUFFER = 2**20
FAILED = "the upload could not be written: "


def nameless_file(folder: Path) -> IO[bytes]:
    """Open a file in `folder` that has no name (O_TMPFILE) or loses it before anything is written. Use it in a `with`.

    Raises StoreFull, StoreReadOnly, StoreFailed.
    """
    with disk_facts(FAILED):
        return tempfile.TemporaryFile(dir=folder, buffering=0)


async def receive(stream: AsyncIterator[bytes], file: IO[bytes], *, limit: int) -> int:
    """Write a body into `file` and return its size in bytes.

    Raises BodyTooLarge as soon as `limit` is passed; StoreFull, StoreReadOnly, StoreFailed.
    """
    size, waiting = 0, bytearray()
    async for chunk in stream:
        size += len(chunk)
        if size > limit:
            raise BodyTooLarge(limit)
        waiting += chunk
        if len(waiting) >= BUFFER:
            await run_in_threadpool(write_all, file, bytes(waiting))
            waiting.clear()
    await run_in_threadpool(write_all, file, bytes(waiting))
    return size


def write_all(file: IO[bytes], data: bytes) -> None:
    """Write all of `data`. Raises StoreFull, StoreReadOnly, StoreFailed."""
    with disk_facts(FAILED):
        view = memoryview(data)
        while view:
            view = view[file.write(view) :]
