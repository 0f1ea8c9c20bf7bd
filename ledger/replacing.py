"""Which stored records the records of a correction replace: those of the same cohort, id and subject, stored before."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Select, and_, func, or_, select
from sqlalchemy.orm import aliased

from ledger.database import Transaction
from ledger.tables import ForgetRequest, Record, RecordShard, Upload


def live(upload: Upload) -> ColumnElement[bool]:
    """Return the condition on records of the upload's cohort that were stored before it and are not forgotten."""
    before = select(Upload.id).where(Upload.cohort_id == upload.cohort_id, Upload.stored_seq.is_not(None))
    if upload.stored_seq is not None:
        before = before.where(Upload.stored_seq < upload.stored_seq)
    return and_(Record.cohort_id == upload.cohort_id, Record.removed_seq.is_(None), Record.upload_id.in_(before))


def replaced(upload: Upload) -> ColumnElement[bool]:
    """Return the condition on live records that the upload's records replace."""
    return Record.id.in_(_pairs(upload).with_only_columns(Record.id))


def count_replacing(tx: Transaction, upload: Upload, *conditions: ColumnElement[bool]) -> int:
    """Count the upload's records that replace a live one, of those under `conditions`."""
    return tx.session.execute(_pairs(upload).where(*conditions)).scalar_one()


def _pairs(upload: Upload) -> Select[int]:
    """Return a query over the upload's records (`mine`) and the live ones (`Record`) that they replace."""
    mine = aliased(Record, name="mine")
    return (
        select(func.count(mine.id.distinct()))
        .select_from(RecordShard)
        .join(mine, mine.shard_id == RecordShard.id)
        .join(Record, _same_name(mine))
        .where(RecordShard.upload_id == upload.id, live(upload))
    )


def _same_name(mine: Any) -> ColumnElement[bool]:
    nobody = and_(Record.subject_id.is_(None), mine.subject_id.is_(None))
    return and_(
        Record.cohort_id == mine.cohort_id,
        Record.record_key == mine.record_key,
        or_(Record.subject_id == mine.subject_id, nobody),
    )


def replaced_by_removed(tx: Transaction, request: ForgetRequest) -> ColumnElement[bool] | None:
    """Return the condition on live records whose correction, still on its way, a request has just removed.

    They must go with it: whoever has corrected a record does not want the old one back. None when no correction is on
    its way.
    """
    coming = select(Upload.id).where(
        Upload.tenant_id == request.tenant_id, Upload.state == "stored", Upload.corrects.is_(True)
    )
    uploads = list(tx.session.execute(coming).scalars())
    if not uploads:
        return None
    mine, new, old = aliased(Record, name="mine"), aliased(Upload, name="new"), aliased(Upload, name="old")
    pairs = (
        select(Record.id)
        .join(mine, _same_name(mine))
        .join(new, new.id == mine.upload_id)
        .join(old, old.id == Record.upload_id)
        .where(
            mine.tenant_id == request.tenant_id,
            mine.removed_seq == request.seq,
            mine.request_id == request.id,
            new.id.in_(uploads),
            Record.removed_seq.is_(None),
            old.stored_seq < new.stored_seq,
        )
    )
    return Record.id.in_(pairs)
