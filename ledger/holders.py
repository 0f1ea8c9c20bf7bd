"""Which models held a request's records, and from which change on: noted when the records are removed.

The records' rows are deleted later, and then nothing else says which versions knew them.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, and_, func, select

from ledger.database import Transaction
from ledger.tables import ForgetRequest, ModelCohort, Record, RequestHolder, Upload


def note(tx: Transaction, request: ForgetRequest, removed: ColumnElement[bool]) -> None:
    """Note from which change on models held the records under `removed`, destroyed models too."""
    added = (
        select(Record.cohort_id, func.min(Upload.added_seq))
        .join(Upload, Upload.id == Record.upload_id)
        .where(removed, Upload.added_seq.is_not(None))
        .group_by(Record.cohort_id)
    )
    since: dict[str, int] = {}
    for cohort_id, seq in tx.session.execute(added).all():
        assert seq is not None
        models = select(ModelCohort.model_id).where(ModelCohort.cohort_id == cohort_id)
        for model_id in tx.session.execute(models).scalars():
            since[model_id] = min(seq, since.get(model_id, seq))
    for model_id, seq in sorted(since.items()):
        tx.session.add(RequestHolder(request_id=request.id, model_id=model_id, since_seq=seq))


def removed_by(request: ForgetRequest) -> ColumnElement[bool]:
    """Return the condition on records that a request has removed itself."""
    return and_(
        Record.tenant_id == request.tenant_id,  # with removed_seq, what the index of removed records is made of
        Record.removed_seq == request.seq,
        Record.request_id == request.id,
    )
