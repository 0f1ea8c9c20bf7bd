"""Uploads that arrive in parts and may be interrupted: every part is sealed and durable before it is acknowledged.

`open -> receiving -> stored -> added`. A part is an object that the upload owns. While the upload is finished, its
parts are read in order; they are deleted when its records are stored, when it is given up, or a day after the last.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import func, select

from ledger import catalog, inventory
from ledger.database import Transaction
from ledger.errors import NotFound, OffsetMismatch, UploadIncomplete, WrongState
from ledger.ledger import Ledger
from ledger.sealed import seal, unseal
from ledger.tables import FeatureShard, Job, RecordShard, Upload, UploadPart
from ledger.uploads import OPEN_US

FINISH_US = 3600 * 1_000_000
"""How long reading and checking may take before the first records are stored."""


def begin(
    ledger: Ledger, tenant_id: str, cohort_id: str, *, format: str, subject_type: str, announced: int | None
) -> Upload:
    """Open an upload. `announced`: its size in bytes, if known. Raises NotFound: no such cohort."""
    with ledger.database.begin() as tx:
        catalog.get_cohort(tx, tenant_id, cohort_id)
        upload = Upload(
            id=tx.new_id(),
            tenant_id=tenant_id,
            cohort_id=cohort_id,
            state="open",
            records=0,
            lease_until=tx.now + OPEN_US,
            created_at=tx.now,
            format=format,
            subject_type=subject_type,
            announced_bytes=announced,
            received_bytes=0,
        )
        tx.session.add(upload)
        return upload


def get(tx: Transaction, tenant_id: str, upload_id: str, *, lock: bool = False) -> Upload:
    """Return an upload of this tenant, in parts or not. Raises NotFound."""
    upload = tx.session.get(Upload, upload_id, with_for_update=lock or None)
    if upload is None or upload.tenant_id != tenant_id:
        raise NotFound("upload", upload_id)
    return upload


def check_open(upload: Upload, start: int) -> None:
    """See that a part may come now and begin at `start`. Raises WrongState, OffsetMismatch."""
    if upload.state != "open":
        raise WrongState("upload", upload.state, "open")
    if start != upload.received_bytes:
        raise OffsetMismatch(upload.received_bytes or 0)


def append(ledger: Ledger, tenant_id: str, upload_id: str, start: int, data: bytes) -> int:
    """Store the bytes that begin at `start` and return where the next begin.

    Raises NotFound, WrongState, OffsetMismatch: another part was faster, or one is missing; UploadClosed, StoreFailed.
    """
    with ledger.database.read() as tx:
        check_open(get(tx, tenant_id, upload_id), start)
    if not data:
        return start
    random = ledger.database.random
    sealed = seal(data, ring=ledger.ring, context=part_context(upload_id, start), random=random)
    owner = f"upload:{upload_id}"
    name = inventory.write_pending(ledger.database, ledger.objects, tenant_id, "part", owner, [sealed])
    try:
        with ledger.database.begin() as tx:
            upload = get(tx, tenant_id, upload_id, lock=True)
            check_open(upload, start)
            tx.session.add(UploadPart(upload_id=upload_id, start=start, size=len(data), object_name=name))
            inventory.enliven(tx, [name])
            upload.received_bytes = start + len(data)
            upload.lease_until = tx.now + OPEN_US
    except (OffsetMismatch, WrongState):
        with ledger.database.begin() as tx:
            inventory.doom(tx, [name])
        inventory.delete_doomed(ledger.database, ledger.objects, tenant_id)
        raise
    return start + len(data)


def claim(ledger: Ledger, tenant_id: str, upload_id: str) -> Upload:
    """Take an open upload in order to finish it. Raises NotFound, WrongState, UploadIncomplete."""
    with ledger.database.begin() as tx:
        upload = get(tx, tenant_id, upload_id, lock=True)
        received = upload.received_bytes or 0
        check_open(upload, received)
        if received == 0 or received != (upload.announced_bytes or received):
            raise UploadIncomplete(received, upload.announced_bytes)
        upload.state, upload.lease_until = "receiving", tx.now + FINISH_US
        return upload


def read(ledger: Ledger, upload_id: str) -> Iterator[bytes]:
    """Give the bytes of the parts in order. Raises ObjectMissing, ObjectCorrupt, StoreFailed."""
    with ledger.database.read() as tx:
        query = select(UploadPart).where(UploadPart.upload_id == upload_id).order_by(UploadPart.start)
        found = list(tx.session.execute(query).scalars())
    for part in found:
        sealed = inventory.read(ledger.database, ledger.objects, part.object_name)
        context = part_context(upload_id, part.start)
        yield unseal(sealed, ring=ledger.ring, context=context, name=part.object_name)


def features(tx: Transaction, upload: Upload) -> float | None:
    """Return the share of its shards of which every ready model has features, 0 to 1; None while nothing is stored."""
    if upload.stored_seq is None:
        return None
    ready = [model.id for model in catalog.models_over(tx, [upload.cohort_id], states=("ready",))]
    shards = select(RecordShard.id).where(RecordShard.upload_id == upload.id)
    total = tx.session.execute(select(func.count()).select_from(shards.subquery())).scalar_one()
    if upload.added_seq is not None or not ready or not total:
        return 1.0
    made = select(func.count()).where(FeatureShard.model_id.in_(ready), FeatureShard.record_shard_id.in_(shards))
    return float(tx.session.execute(made).scalar_one() / (total * len(ready)))


def job_of(tx: Transaction, upload_id: str) -> int | None:
    """Return the job that folds an upload into the models, None: there is none."""
    return tx.session.execute(select(func.max(Job.id)).where(Job.upload_id == upload_id)).scalar_one()


def part_context(upload_id: str, start: int) -> bytes:
    """Return what the encryption of a part is bound to: its upload and its place."""
    return f"part:{upload_id}:{start}".encode()
