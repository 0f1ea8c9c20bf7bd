"""From a received archive to stored records: checked from end to end first, then stored all or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from ledger import catalog, tenants, uploads
from ledger.errors import LedgerError
from ledger.identity import AliasHasher
from ledger.ledger import Ledger
from service.refusals import ServiceError
from service.uploads.identifiers import IdentifierCheck
from service.uploads.records import Chunk, Format, Limits, open_records


@dataclass(frozen=True, slots=True)
class Stored:
    """A finished upload: its id, how many records it brought, and the job that folds them in (None: core cohort)."""

    upload_id: str
    records: int
    job_id: int | None


@dataclass(frozen=True, slots=True)
class Receiver:
    """Where an upload goes: the cohort, what its records look like, and how its subjects are named."""

    tenant_id: str
    cohort_id: str
    format: Format
    hasher: AliasHasher
    subject_type: str


def receiver(ledger: Ledger, tenant_id: str, cohort_id: str, subject_type: str) -> Receiver:
    """Look the cohort up. Raises NotFound, InvalidIdentifier (the type)."""
    with ledger.database.read() as tx:
        cohort = catalog.get_cohort(tx, tenant_id, cohort_id)
        hasher = tenants.alias_hasher(tx, ledger.ring, tenant_id)
    hasher.lookup(subject_type, "raw", "any")  # refuses a malformed type before a body is received
    shape, classes = tuple(int(side) for side in cohort.shape), len(cohort.class_names)
    return Receiver(
        tenant_id,
        cohort_id,
        Format(shape, cohort.dtype, classes, cohort.kind == "core", cohort.missing is not None),
        hasher,
        subject_type,
    )


def store(ledger: Ledger, to: Receiver, file: IO[bytes], limits: Limits) -> Stored:
    """Check the whole archive, then store it. On any failure nothing of it remains.

    Raises UploadRefused, RecordsClash, SubjectSuppressed, StoreFailed.
    """
    check = IdentifierCheck(to.subject_type, key=ledger.database.random(32))
    with open_records(file, to.format, limits) as chunks:
        for chunk in chunks:
            check.see(chunk)
    check.finish()
    upload_id = uploads.begin(ledger, to.tenant_id, to.cohort_id)
    try:
        with open_records(file, to.format, limits) as chunks:
            for chunk in chunks:
                uploads.store_chunk(ledger, to.hasher, upload_id, _records(chunk), subject_type=to.subject_type)
        upload, job_id = uploads.finish(ledger, upload_id)
    except (LedgerError, ServiceError, DBAPIError, PoolTimeout):
        uploads.abandon(ledger, upload_id)
        raise
    return Stored(upload.id, upload.records, job_id)


def _records(chunk: Chunk) -> list[uploads.NewRecord]:
    """The payload of a record is its row of x as plain bytes: C order, little-endian."""
    return [
        uploads.NewRecord(
            row=chunk.first + i,
            class_index=int(chunk.y[i]),
            payload=chunk.x[i].tobytes(),
            external_id=None if chunk.ids is None else chunk.ids[i],
            subject=None if chunk.subjects is None else chunk.subjects[i],
        )
        for i in range(len(chunk.y))
    ]
