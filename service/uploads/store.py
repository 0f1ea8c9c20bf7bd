"""From a received upload to stored records: checked from end to end first, then stored all or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import IO

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from ledger import catalog, contents, tenants, uploads
from ledger.errors import LedgerError, WrongCohortKind
from ledger.identity import AliasHasher
from ledger.ledger import Ledger
from service.refusals import ServiceError
from service.settings import ServiceSettings
from service.uploads.convert import Task, convert
from service.uploads.formats import ISOLATED, Name
from service.uploads.isolated import convert_isolated
from service.uploads.receive import nameless_file
from service.uploads.records import Chunk, Format, Limits
from service.uploads.spool import read_chunks


@dataclass(frozen=True, slots=True)
class Stored:
    """A finished upload: its id, how many records it brought, and the job that folds them in (None: core cohort).

    in_core: how many of a user cohort's new records have content that a core cohort holds too. request_id: of a
    correction, the request that removes what it replaces.
    """

    upload_id: str
    records: int
    job_id: int | None
    in_core: int
    request_id: str | None


@dataclass(frozen=True, slots=True)
class Receiver:
    """Where an upload goes: the cohort, what its records look like, and how its subjects are named."""

    tenant_id: str
    cohort_id: str
    format: Format
    hasher: AliasHasher
    subject_type: str
    corrects: bool = False


def receiver(ledger: Ledger, tenant_id: str, cohort_id: str, subject_type: str, *, corrects: bool = False) -> Receiver:
    """Look the cohort up. Raises NotFound, InvalidIdentifier (the type), WrongCohortKind (a correction to a core)."""
    with ledger.database.read() as tx:
        cohort = catalog.get_cohort(tx, tenant_id, cohort_id)
        if corrects and cohort.kind == "core":
            raise WrongCohortKind(cohort.name, got="public records", needed="records of people")
        hasher = tenants.alias_hasher(tx, ledger.ring, tenant_id)
    hasher.lookup(subject_type, "raw", "any")  # refuses a malformed type before a body is received
    wanted = Format(
        shape=tuple(int(side) for side in cohort.shape),
        dtype=cohort.dtype,
        class_names=tuple(cohort.class_names),
        core=cohort.kind == "core",
        missing_allowed=cohort.missing is not None,
        channels_last=cohort.layout is not None,
        columns=None if cohort.column_names is None else tuple(cohort.column_names),
    )
    return Receiver(tenant_id, cohort_id, wanted, hasher, subject_type, corrects)


def limits_of(settings: ServiceSettings) -> Limits:
    """Return how large the operator lets an upload be."""
    return Limits(settings.max_upload_records, settings.max_unpacked_bytes, settings.max_subject_records)


def store(
    ledger: Ledger,
    to: Receiver,
    file: IO[bytes],
    limits: Limits,
    *,
    kind: Name = "npz",
    folder: Path,
    upload_id: str = "",
) -> Stored:
    """Check the whole upload, then store it. On any failure nothing of it remains.

    `folder`: where a file without a name may be made. `upload_id`: of an upload that was begun, else one is begun when
    everything is checked. Raises UploadRefused, RecordsClash, SubjectSuppressed, TooManyOfOneSubject, StoreFailed; of a
    correction RecordsUnknown, SubjectHeld.
    """
    task = Task(kind, to.format, limits, to.subject_type, ledger.database.random(32))
    with nameless_file(folder) as spool:
        (convert_isolated if kind in ISOLATED else convert)(task, file, spool)
        upload_id = upload_id or uploads.begin(ledger, to.tenant_id, to.cohort_id, corrects=to.corrects)
        try:
            for chunk in read_chunks(spool, to.format):
                uploads.store_chunk(ledger, to.hasher, upload_id, _records(chunk), subject_type=to.subject_type)
            upload, job_id = uploads.finish(ledger, upload_id, most_of_one=limits.of_one)
        except (LedgerError, ServiceError, DBAPIError, PoolTimeout):
            uploads.abandon(ledger, upload_id)
            raise
    in_core = 0
    if not to.format.core:
        with ledger.database.read() as tx:
            in_core = contents.in_core_of_upload(tx, upload.id)
    return Stored(upload.id, upload.records, job_id, in_core, upload.request_id)


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
