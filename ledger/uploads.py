"""Storing records: all of an upload, or nothing of it.

`receiving -> stored -> added`, or `failed`. An upload in parts is `open` before (see parts.py). Chunks become encrypted
shards and rows that nobody sees until the upload is finished. If the receiving process dies, the upload's lease runs
out and `abandon` takes everything back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, delete, exists, false, func, insert, select
from sqlalchemy.orm import aliased

from ledger import changes, contents, corrections, events, inventory, jobs, quotas
from ledger.database import Transaction
from ledger.errors import RecordsClash, SubjectSuppressed, UploadClosed
from ledger.identity import Alias, AliasHasher
from ledger.ledger import Ledger
from ledger.shards import encode_shard
from ledger.tables import (
    Cohort,
    Record,
    RecordShard,
    StoredObject,
    Subject,
    SubjectAlias,
    Suppression,
    Upload,
    UploadPart,
)

LEASE_US = 15 * 60 * 1_000_000
OPEN_US = 24 * 3600 * 1_000_000
"""How long an upload in parts is kept after its last sign of life."""


@dataclass(frozen=True, slots=True)
class NewRecord:
    """A record to be stored: its number in the upload, class, raw bytes and, if known, its id and its subject's."""

    row: int
    class_index: int
    payload: bytes
    external_id: str | None = None
    subject: str | None = None


def begin(ledger: Ledger, tenant_id: str, cohort_id: str, *, corrects: bool = False) -> str:
    """Open an upload to a cohort and return its id. If it `corrects`, its records replace stored ones."""
    with ledger.database.begin() as tx:
        upload = Upload(
            id=tx.new_id(),
            tenant_id=tenant_id,
            cohort_id=cohort_id,
            state="receiving",
            records=0,
            corrects=corrects or None,
            lease_until=tx.now + LEASE_US,
            created_at=tx.now,
        )
        tx.session.add(upload)
        return upload.id


def store_chunk(
    ledger: Ledger, hasher: AliasHasher, upload_id: str, records: Sequence[NewRecord], *, subject_type: str
) -> None:
    """Store up to a few thousand records.

    Raises UploadClosed, SubjectSuppressed, InvalidIdentifier, StoreFailed; of a correction RecordsUnknown, SubjectHeld.
    """
    with ledger.database.read() as tx:
        upload = _receiving(tx, upload_id)
        named = dict.fromkeys(r.subject for r in records if r.subject is not None)
        aliases = {subject: hasher.aliases(subject_type, subject) for subject in named}
        _refuse_suppressed(tx, upload.tenant_id, records, aliases)
        if upload.corrects:
            rows_named = [(r.row, r.external_id, r.subject) for r in records]
            corrections.refuse_rows(tx, hasher, upload, rows_named, aliases)
    random = ledger.database.random
    ids = [int.from_bytes(random(8), "big") >> 1 for _ in records]
    parts = [
        range(start, min(start + ledger.shard_records, len(records)))
        for start in range(0, len(records), ledger.shard_records)
    ]
    context = record_context(upload.cohort_id)
    blobs = [
        encode_shard([(ids[i], records[i].payload) for i in part], ring=ledger.ring, context=context, random=random)
        for part in parts
    ]
    names = inventory.write_pending_each(
        ledger.database, ledger.objects, upload.tenant_id, "records", f"upload:{upload_id}", blobs
    )
    with ledger.database.begin() as tx:
        upload = _receiving(tx, upload_id, lock=True)
        subjects = _find_or_make_subjects(tx, upload.tenant_id, aliases)
        shards = [_shard(tx, upload, name) for name in names]
        connection = tx.session.connection()  # past the session, which would look at every row
        connection.execute(insert(RecordShard), shards)
        rows = [
            _row(tx, hasher, upload, shard["id"], subjects, ids[i], records[i])
            for shard, part in zip(shards, parts, strict=True)
            for i in part
        ]
        connection.execute(insert(Record), rows)
        upload.records += len(records)
        upload.lease_until = tx.now + LEASE_US


def record_context(cohort_id: str) -> bytes:
    """Return what the encryption of a cohort's records is bound to."""
    return b"records:" + cohort_id.encode()


def feature_context(model_id: str) -> bytes:
    """Return what the encryption of a model's features is bound to."""
    return b"features:" + model_id.encode()


def finish(ledger: Ledger, upload_id: str, *, most_of_one: int | None = None) -> tuple[Upload, int | None]:
    """Make the upload's records real, all at once. Returns the upload and the number of the job that folds them in.

    most_of_one: stored records that one subject may have, None: any number.
    Raises RecordsClash, SubjectSuppressed, TooManyOfOneSubject, RecordsUnknown, SubjectHeld (nothing is stored then),
    UploadClosed, ObjectMissing.
    """
    with ledger.database.begin() as tx:
        upload = _receiving(tx, upload_id, lock=True)
        upload.stored_seq = changes.next_change(tx, upload.tenant_id, changes.STORED, upload_id=upload_id)
        clashes = _count_clashes(tx, upload)
        if clashes:
            raise RecordsClash(clashes)
        suppressed = _count_suppressed(tx, upload)
        if suppressed:
            raise SubjectSuppressed([], count=suppressed)
        quotas.require_room_for_records(tx, upload, most_of_one)
        if upload.corrects:
            corrections.accept(tx, upload)
        names = select(RecordShard.object_name).where(RecordShard.upload_id == upload_id)
        inventory.enliven(tx, tx.session.execute(names).scalars())
        upload.state = "stored"
        parts = delete(UploadPart).where(UploadPart.upload_id == upload_id).returning(UploadPart.object_name)
        inventory.doom(tx, list(tx.session.execute(parts).scalars()))
        events.append(
            tx, upload.tenant_id, "records.stored", upload.id, cohort=upload.cohort_id, records=upload.records
        )
        cohort = tx.session.get_one(Cohort, upload.cohort_id)
        if cohort.kind == "core":
            contents.note_core(tx, upload)
            upload.state = "added"
            upload.added_seq = upload.stored_seq
            return upload, None
        job = jobs.add(tx, upload.tenant_id, jobs.INGEST_UPLOAD, lock_key=f"upload:{upload_id}", upload_id=upload_id)
        return upload, job.id


def abandon(ledger: Ledger, upload_id: str) -> None:
    """Take back what an unfinished upload has stored: rows, shards, and subjects that only it had brought.

    One that came in parts keeps them and is open again: it may be finished later.
    """
    with ledger.database.begin() as tx:
        upload = tx.session.get(Upload, upload_id, with_for_update=True)
        if upload is None or upload.state != "receiving":
            return
        if upload.format is None:
            upload.state = "failed"
            _doom_objects(tx, upload)
        else:
            upload.state, upload.lease_until = "open", tx.now + OPEN_US
            _doom_objects(tx, upload, kind="records")
        _take_back(tx, upload)
    inventory.delete_doomed(ledger.database, ledger.objects, upload.tenant_id)


def give_up(ledger: Ledger, upload_id: str, *, error: str | None = None, only_expired: bool = False) -> bool:
    """End an upload that is open or receiving, with all its parts. False: it was neither.

    `error`: why it failed, kept for whoever asks. `only_expired`: not when it was heard of meanwhile.
    """
    with ledger.database.begin() as tx:
        upload = tx.session.get(Upload, upload_id, with_for_update=True)
        if upload is None or upload.state not in ("open", "receiving"):
            return False
        if only_expired and upload.lease_until >= tx.now:
            return False
        upload.state, upload.error = "failed", error
        _doom_objects(tx, upload)
        tx.session.execute(delete(UploadPart).where(UploadPart.upload_id == upload_id))
        _take_back(tx, upload)
    inventory.delete_doomed(ledger.database, ledger.objects, upload.tenant_id)
    return True


def _doom_objects(tx: Transaction, upload: Upload, *, kind: str | None = None) -> None:
    names = select(StoredObject.name).where(StoredObject.owner == f"upload:{upload.id}")
    if kind is not None:
        names = names.where(StoredObject.kind == kind)
    inventory.doom(tx, list(tx.session.execute(names).scalars()))


def _take_back(tx: Transaction, upload: Upload) -> None:
    upload.records = 0
    brought = select(Record.subject_id).where(_of_upload(upload.id)).distinct()
    subject_ids = list(tx.session.execute(brought).scalars())
    tx.session.execute(delete(Record).where(_of_upload(upload.id)))
    tx.session.execute(delete(RecordShard).where(RecordShard.upload_id == upload.id))
    drop_unused_subjects(tx, upload.tenant_id, [s for s in subject_ids if s is not None])


def abandon_expired(ledger: Ledger, *, everything: bool = False) -> int:
    """Abandon uploads whose receiver is gone; with `everything`, all (when no other receiver can be alive).

    Open ones end when nothing was heard of them for a day.
    """
    with ledger.database.read() as tx:
        query = select(Upload.id).where(Upload.state == "receiving")
        if not everything:
            query = query.where(Upload.lease_until < tx.now)
        stale = list(tx.session.execute(query).scalars())
        forgotten = select(Upload.id).where(Upload.state == "open", Upload.lease_until < tx.now)
        left = list(tx.session.execute(forgotten).scalars())
    for upload_id in stale:
        abandon(ledger, upload_id)
    ended = [give_up(ledger, i, error="Nothing was heard of it for a day.", only_expired=True) for i in left]
    return len(stale) + sum(ended)


def drop_unused_subjects(tx: Transaction, tenant_id: str, subject_ids: Sequence[str]) -> None:
    """Delete those of these subjects, with all their aliases, who have no record left."""
    if subject_ids:
        changes.lock_sequence(tx, tenant_id)  # an upload may bring one of them back at this moment
    for start in range(0, len(subject_ids), 500):
        part = subject_ids[start : start + 500]
        unused = select(Subject.id).where(Subject.id.in_(part), ~exists().where(Record.subject_id == Subject.id))
        gone = list(tx.session.execute(unused).scalars())
        tx.session.execute(delete(SubjectAlias).where(SubjectAlias.subject_id.in_(gone)))
        tx.session.execute(delete(Subject).where(Subject.id.in_(gone)))


def _receiving(tx: Transaction, upload_id: str, *, lock: bool = False) -> Upload:
    """Return an upload that may still receive. Locked, nobody can abandon it before the commit. Raises UploadClosed."""
    upload = tx.session.get(Upload, upload_id, with_for_update=lock or None)
    if upload is None or upload.state != "receiving" or upload.lease_until < tx.now:
        raise UploadClosed(upload_id)
    return upload


def _refuse_suppressed(
    tx: Transaction, tenant_id: str, records: Sequence[NewRecord], aliases: dict[str, list[Alias]]
) -> None:
    found: set[bytes] = set()
    hmacs = list({alias.hmac for forms in aliases.values() for alias in forms})
    for start in range(0, len(hmacs), 500):
        query = select(Suppression.hmac).where(
            Suppression.tenant_id == tenant_id,
            Suppression.withdrawn_at.is_(None),
            Suppression.hmac.in_(hmacs[start : start + 500]),
        )
        found |= set(tx.session.execute(query).scalars())
    refused = {subject for subject, forms in aliases.items() if any(alias.hmac in found for alias in forms)}
    if refused:
        raise SubjectSuppressed([r.row for r in records if r.subject in refused])


def _find_or_make_subjects(tx: Transaction, tenant_id: str, aliases: dict[str, list[Alias]]) -> dict[str, str]:
    """Map each identifier to its subject's random id; unknown ones become new subjects with all their forms."""
    if aliases:
        changes.lock_sequence(tx, tenant_id)  # two uploads may bring the same new subject at once
    raw = {subject: next(a.hmac for a in forms if a.format == "raw") for subject, forms in aliases.items()}
    known: dict[bytes, str] = {}  # two spellings of one identifier have the same forms
    hmacs = list(set(raw.values()))
    for start in range(0, len(hmacs), 500):
        query = select(SubjectAlias.hmac, SubjectAlias.subject_id).where(
            SubjectAlias.tenant_id == tenant_id, SubjectAlias.hmac.in_(hmacs[start : start + 500])
        )
        known |= {row.hmac: row.subject_id for row in tx.session.execute(query)}
    new_subjects: list[dict[str, object]] = []
    new_aliases: list[dict[str, object]] = []
    for subject, forms in aliases.items():
        if raw[subject] in known:
            continue
        subject_id = known[raw[subject]] = tx.new_id()
        new_subjects.append({"id": subject_id, "tenant_id": tenant_id, "created_at": tx.now})
        new_aliases += [
            {"tenant_id": tenant_id, "type": a.type, "format": a.format, "hmac": a.hmac, "subject_id": subject_id}
            for a in forms
        ]
    if new_subjects:
        connection = tx.session.connection()
        connection.execute(insert(Subject), new_subjects)
        connection.execute(insert(SubjectAlias), new_aliases)
    return {subject: known[hmac] for subject, hmac in raw.items()}


def _shard(tx: Transaction, upload: Upload, object_name: str) -> dict[str, str]:
    return {
        "id": tx.new_id(),
        "tenant_id": upload.tenant_id,
        "cohort_id": upload.cohort_id,
        "upload_id": upload.id,
        "object_name": object_name,
    }


def _row(
    tx: Transaction,
    hasher: AliasHasher,
    upload: Upload,
    shard_id: str,
    subjects: dict[str, str],
    record_id: int,
    record: NewRecord,
) -> dict[str, object]:
    has_id = record.external_id is not None
    return {
        "id": record_id,
        "tenant_id": upload.tenant_id,
        "cohort_id": upload.cohort_id,
        "upload_id": upload.id,
        "subject_id": subjects[record.subject] if record.subject is not None else None,
        "shard_id": shard_id,
        "record_key": hasher.record_key(upload.cohort_id, record.external_id or "") if has_id else tx.random(32),
        "class_index": record.class_index,
        "content_key": hasher.content_key(record.payload),
        "removed_seq": None,
        "request_id": None,
    }


def _count_clashes(tx: Transaction, upload: Upload) -> int:
    """Count records whose subject already has a stored record of that id. Other subjects' records play no part.

    A correction clashes with itself only: with stored records it is meant to.
    """
    mine, other, their_upload = aliased(Record), aliased(Record), aliased(Upload)
    query = (
        select(func.count(mine.id.distinct()))
        .select_from(RecordShard)
        .join(mine, mine.shard_id == RecordShard.id)
        .join(other, (other.cohort_id == mine.cohort_id) & (other.record_key == mine.record_key))
        .join(their_upload, their_upload.id == other.upload_id)
        .where(
            RecordShard.upload_id == upload.id,
            other.id != mine.id,
            other.removed_seq.is_(None),
            their_upload.state.in_(("receiving", "stored", "added")),
            (their_upload.id == upload.id) | (false() if upload.corrects else their_upload.state != "receiving"),
            (other.subject_id == mine.subject_id) | (other.subject_id.is_(None) & mine.subject_id.is_(None)),
        )
    )
    return tx.session.execute(query).scalar_one()


def _count_suppressed(tx: Transaction, upload: Upload) -> int:
    """Count records of subjects who were forgotten while the upload was coming in."""
    forgotten = (
        select(SubjectAlias.subject_id)
        .join(
            Suppression,
            (Suppression.tenant_id == SubjectAlias.tenant_id)
            & (Suppression.type == SubjectAlias.type)
            & (Suppression.format == SubjectAlias.format)
            & (Suppression.hmac == SubjectAlias.hmac),
        )
        .where(Suppression.tenant_id == upload.tenant_id, Suppression.withdrawn_at.is_(None))
    )
    query = select(func.count()).select_from(Record).where(_of_upload(upload.id), Record.subject_id.in_(forgotten))
    return tx.session.execute(query).scalar_one()


def _of_upload(upload_id: str) -> ColumnElement[bool]:
    """Return the condition on records of this upload, by way of its shards: an index finds them among millions."""
    return Record.shard_id.in_(select(RecordShard.id).where(RecordShard.upload_id == upload_id))
