"""Removals that a model cannot make yet, and that no other request shall wait for.

The features that a removal subtracts may be missing or damaged. Then this removal alone gets a later place in the
sequence of changes, for this model alone: a version holds the records until an operator has repaired what is missing
and has the job tried again. The request is `failed` until then, so nobody takes it for done.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import delete, exists, or_, select

from ledger import changes
from ledger.database import Transaction
from ledger.tables import Deferral, ForgetRequest, Record, RequestModel


def of_model(tx: Transaction, model_id: str) -> Sequence[Deferral]:
    """Return what a model has deferred; nearly always nothing."""
    query = select(Deferral).where(Deferral.model_id == model_id).order_by(Deferral.request_id)
    return tx.session.execute(query.execution_options(populate_existing=True)).scalars().all()


def beyond(tx: Transaction, model_id: str, upto: int) -> list[str]:
    """Return the requests whose records a model's version at `upto` still holds because they were deferred."""
    late = select(Deferral.request_id).where(Deferral.model_id == model_id)
    return list(tx.session.execute(late.where(or_(Deferral.seq.is_(None), Deferral.seq > upto))).scalars())


def requests_of(tx: Transaction, record_ids: Collection[int]) -> list[str]:
    """Return the requests that removed these records."""
    ids = sorted(record_ids)
    found: set[str] = set()
    for start in range(0, len(ids), 500):
        query = select(Record.request_id).where(Record.id.in_(ids[start : start + 500])).distinct()
        found.update(one for one in tx.session.execute(query).scalars() if one is not None)
    return sorted(found)


def defer(tx: Transaction, model_id: str, request_ids: Sequence[str]) -> None:
    """Let a model hold what these requests removed until somebody has it tried again."""
    for request_id in request_ids:
        tx.session.merge(Deferral(model_id=model_id, request_id=request_id, seq=None, created_at=tx.now))
    tx.session.flush()


def take_up(tx: Transaction, tenant_id: str, model_id: str) -> None:
    """Give what a model has deferred its place in the sequence of changes: now."""
    for one in of_model(tx, model_id):
        if one.seq is None:
            one.seq = changes.next_change(tx, tenant_id, changes.REMOVED, request_id=one.request_id)
    tx.session.flush()


def made(tx: Transaction, model_id: str, applied_seq: int) -> None:
    """Forget what a model has made up for by `applied_seq`, in the transaction that publishes it."""
    gone = delete(Deferral).where(Deferral.model_id == model_id, Deferral.seq <= applied_seq)
    tx.session.execute(gone.execution_options(synchronize_session=False))


def drop(tx: Transaction, model_id: str) -> None:
    """Forget everything that a model has deferred: it is gone."""
    gone = delete(Deferral).where(Deferral.model_id == model_id)
    tx.session.execute(gone.execution_options(synchronize_session=False))


def is_open(tx: Transaction, request_id: str) -> bool:
    """Whether some model has deferred the request's removal for an unknown time."""
    query = select(Deferral.model_id).where(Deferral.request_id == request_id, Deferral.seq.is_(None))
    return tx.session.execute(query.limit(1)).first() is not None


def reopen(tx: Transaction, tenant_id: str, *, purging: bool) -> None:
    """Let failed requests go on whose removal no model defers for an unknown time any more.

    With `purging` those of which only the purge is left, else those that some model has not passed yet.
    """
    waits = exists().where(RequestModel.request_id == ForgetRequest.id, RequestModel.version_id.is_(None))
    deferred = exists().where(Deferral.request_id == ForgetRequest.id, Deferral.seq.is_(None))
    failed = select(ForgetRequest).where(
        ForgetRequest.tenant_id == tenant_id, ForgetRequest.state == "failed", ~deferred, ~waits if purging else waits
    )
    for request in tx.session.execute(failed.with_for_update()).scalars():
        request.state, request.error = ("purging" if purging else "scrubbing"), None
