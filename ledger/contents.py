"""Which records' contents stand in a public core cohort too, whoever came first.

Core contents are kept as HMACs under the tenant's key (`AliasHasher.content_key`). A user record carries the HMAC of
its own bytes until it is forgotten. Equal means byte for byte; labels play no part.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, and_, exists, func, insert, select

from ledger.database import Transaction
from ledger.tables import Cohort, CoreContent, ForgetRequest, Record, RecordShard, Upload


def note_core(tx: Transaction, upload: Upload) -> None:
    """Note the contents of an upload to a core cohort. The caller holds the lock on the tenant's counter."""
    noted = exists().where(
        CoreContent.tenant_id == Record.tenant_id,
        CoreContent.content_key == Record.content_key,
        CoreContent.cohort_id == Record.cohort_id,
    )
    new = (
        select(Record.tenant_id, Record.content_key, Record.cohort_id)
        .join(RecordShard, RecordShard.id == Record.shard_id)
        .where(RecordShard.upload_id == upload.id, Record.content_key.is_not(None), ~noted)
        .distinct()
    )
    tx.session.execute(insert(CoreContent).from_select(["tenant_id", "content_key", "cohort_id"], new))


def in_core(tx: Transaction, condition: ColumnElement[bool]) -> int:
    """Count the records under `condition` whose content a core cohort of the tenant holds too."""
    same = exists().where(CoreContent.tenant_id == Record.tenant_id, CoreContent.content_key == Record.content_key)
    return tx.session.execute(select(func.count()).select_from(Record).where(condition, same)).scalar_one()


def in_core_of_upload(tx: Transaction, upload_id: str) -> int:
    """Count an upload's records whose content a core cohort holds too, without those that are being forgotten."""
    mine = Record.shard_id.in_(select(RecordShard.id).where(RecordShard.upload_id == upload_id))
    return in_core(tx, and_(mine, Record.removed_seq.is_(None)))


def look_again(tx: Transaction, request: ForgetRequest) -> None:
    """Count again before the rows of a request's records go, if core records have come since it was resolved."""
    came = (
        select(Upload.id)
        .join(Cohort, Cohort.id == Upload.cohort_id)
        .where(Upload.tenant_id == request.tenant_id, Upload.stored_seq > request.seq, Cohort.kind == "core")
    )
    if tx.session.execute(came.limit(1)).first() is None:
        return
    removed = and_(
        Record.tenant_id == request.tenant_id, Record.removed_seq == request.seq, Record.request_id == request.id
    )
    request.in_core = max(request.in_core or 0, in_core(tx, removed)) or None
