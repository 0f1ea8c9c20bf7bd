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


def go_along(tx: Transaction, request: ForgetRequest) -> ColumnElement[bool] | None:
    """Return the condition on live records that must go with those that a request has just removed.

    Of a record and its correction that is still on its way, both go: whoever has corrected a record does not want the
    old one back, and whoever is forgotten is not to come back corrected (when request and correction were accepted at
    the same moment). None when no correction is on its way.
    """
    coming = select(Upload.id).where(
        Upload.tenant_id == request.tenant_id, Upload.state == "stored", Upload.corrects.is_(True)
    )
    uploads = list(tx.session.execute(coming).scalars())
    if not uploads:
        return None
    removed, its, mine = aliased(Record, name="removed"), aliased(Upload, name="its"), aliased(Upload, name="mine")
    old = and_(its.id.in_(uploads), mine.stored_seq < its.stored_seq)
    new = and_(mine.id.in_(uploads), mine.stored_seq > its.stored_seq, mine.stored_seq > request.high_water)
    pairs = (
        select(Record.id)
        .join(removed, _same_name(removed))
        .join(its, its.id == removed.upload_id)
        .join(mine, mine.id == Record.upload_id)
        .where(
            removed.tenant_id == request.tenant_id,
            removed.removed_seq == request.seq,
            removed.request_id == request.id,
            Record.removed_seq.is_(None),
            or_(old, new),
        )
    )
    return Record.id.in_(pairs)
