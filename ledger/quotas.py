"""How much a tenant may have at once.

No quota counts the records of a tenant: whether somebody's are accepted, and with it every later version, would depend
on whether somebody else's are still there. So records are counted for each subject alone, over all cohorts together.
"""

from __future__ import annotations

from sqlalchemy import and_, func, or_, select

from ledger import changes
from ledger.database import Transaction
from ledger.errors import QuotaExceeded, TooManyOfOneSubject
from ledger.tables import ForgetRequest, Model, Record, RecordShard, Upload

ENDED = ("completed", "cancelled")
GONE = ("destroyed",)


def require_room_for_model(tx: Transaction, tenant_id: str, most: int | None) -> None:
    """Raise QuotaExceeded if the tenant has `most` models or more, generations and failed ones included."""
    if most is not None:
        changes.lock_sequence(tx, tenant_id)  # two at once must not both find room
        mine = select(func.count()).select_from(Model).where(Model.tenant_id == tenant_id, Model.state.not_in(GONE))
        _require(tx.session.execute(mine).scalar_one(), most, "models", "Delete one that is not needed")


def room_for_requests(tx: Transaction, tenant_id: str, most: int | None) -> int | None:
    """Return how many more forget requests the tenant may have, None: any number. Nobody else adds any meanwhile."""
    if most is None:
        return None
    changes.lock_sequence(tx, tenant_id)
    mine = select(func.count()).select_from(ForgetRequest)
    mine = mine.where(ForgetRequest.tenant_id == tenant_id, ForgetRequest.state.not_in(ENDED))
    return max(0, most - tx.session.execute(mine).scalar_one())


def no_room_for_request(most: int) -> QuotaExceeded:
    """Return the refusal of a forget request when `most` have not ended."""
    return QuotaExceeded(most, "forget requests that have not ended", "Send it again once one has ended")


def require_room_for_records(tx: Transaction, upload: Upload, most: int | None) -> None:
    """Raise TooManyOfOneSubject if a subject would have more than `most` stored records with this upload.

    Corrections bring no more records than they replace. The caller holds the lock on the sequence of changes.
    """
    if most is None or upload.corrects:
        return
    shards = select(RecordShard.id).where(RecordShard.upload_id == upload.id)
    subjects = select(Record.subject_id).where(Record.shard_id.in_(shards), Record.subject_id.is_not(None))
    kept = and_(Upload.state.in_(("stored", "added")), or_(Upload.corrects.is_not(True), Upload.added_seq.is_not(None)))
    over = (
        select(Record.subject_id)
        .join(Upload, Upload.id == Record.upload_id)
        .where(Record.subject_id.in_(subjects), Record.removed_seq.is_(None), or_(Upload.id == upload.id, kept))
        .group_by(Record.subject_id)
        .having(func.count() > most)
    )
    found = tx.session.execute(select(func.count()).select_from(over.subquery())).scalar_one()
    if found:
        raise TooManyOfOneSubject(most, found)


def _require(found: int, most: int, what: str, advice: str) -> None:
    if found >= most:
        raise QuotaExceeded(most, what, advice)
