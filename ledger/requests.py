"""The life of a forget request: accepted -> scrubbing -> published -> purging -> completed."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, select, update

from ledger import catalog, changes, deadlines, events, jobs, selectors, stuck
from ledger.database import Transaction
from ledger.errors import NotFound, WrongState
from ledger.identity import AliasHasher
from ledger.tables import (
    Certificate,
    Cohort,
    ForgetRequest,
    Model,
    ModelVersion,
    Record,
    RequestModel,
    SubjectAlias,
    Suppression,
)

OPEN = ("accepted", "scrubbing", "published", "purging", "failed")


def accept(
    tx: Transaction, tenant_id: str, selector: selectors.Selector, hasher: AliasHasher, *, regulation: str
) -> ForgetRequest:
    """Record a request, with the jobs that will serve it, in the caller's transaction. Marks no record.

    Raises SelectorInvalid, NotFound, CoreNeverForgotten, InvalidIdentifier.
    """
    stored = selectors.store(tx, tenant_id, selector, hasher)
    request = ForgetRequest(
        id=tx.new_id(),
        tenant_id=tenant_id,
        state="accepted",
        selector_kind=selector.kind,
        selector=stored,
        high_water=changes.current_sequence(tx, tenant_id),
        waits_for=[],
        regulation=regulation,
        received_at=tx.now,
        due_at=deadlines.due_at(tx.now, regulation),
    )
    tx.session.add(request)
    tx.session.flush()
    events.append(
        tx,
        tenant_id,
        "forget.accepted",
        request.id,
        selector=request.selector_kind,
        regulation=regulation,
        due_at=request.due_at,
    )
    models = catalog.models_over(tx, stored["cohorts"], states=("ready",))
    for model in models:
        jobs.add_advance(tx, tenant_id, model.id, not_before=tx.now + model.batch_window_us)
    if not models:
        jobs.add_purge(tx, tenant_id)
    return request


def get(tx: Transaction, tenant_id: str, request_id: str) -> ForgetRequest:
    """Return a request of this tenant. Raises NotFound."""
    request = tx.session.get(ForgetRequest, request_id)
    if request is None or request.tenant_id != tenant_id:
        raise NotFound("forget request", request_id)
    return request


def list_newest(
    tx: Transaction, tenant_id: str, *, state: str | None = None, limit: int = 100
) -> Sequence[ForgetRequest]:
    """Return the newest requests, at most `limit`."""
    query = select(ForgetRequest).where(ForgetRequest.tenant_id == tenant_id)
    if state is not None:
        query = query.where(ForgetRequest.state == state)
    query = query.order_by(ForgetRequest.received_at.desc(), ForgetRequest.id).limit(limit)
    return tx.session.execute(query).scalars().all()


def cancel(tx: Transaction, tenant_id: str, request_id: str) -> ForgetRequest:
    """Withdraw a request that nothing has been done about. Raises NotFound, WrongState."""
    get(tx, tenant_id, request_id)
    # Locked: a worker may be resolving it, and the second of the two must see what the first has done.
    request = tx.session.get_one(ForgetRequest, request_id, with_for_update=True, populate_existing=True)
    if request.state != "accepted":
        raise WrongState("forget request", request.state, "accepted")
    request.state, request.selector = "cancelled", None
    events.append(tx, tenant_id, "forget.cancelled", request.id)
    return request


def resolve_accepted(tx: Transaction, tenant_id: str) -> int:
    """Turn every accepted request into removals in the sequence of changes, in the order of arrival.

    Safe to run from several workers: the tenant's counter is locked, and a request is resolved once.
    Returns the newest sequence number.
    """
    newest = changes.lock_sequence(tx, tenant_id)
    query = (
        select(ForgetRequest)
        .where(ForgetRequest.tenant_id == tenant_id, ForgetRequest.state == "accepted")
        .order_by(ForgetRequest.received_at, ForgetRequest.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    for request in tx.session.execute(query).scalars().all():
        _resolve(tx, request)
        newest = changes.current_sequence(tx, tenant_id)
    return newest


def _resolve(tx: Transaction, request: ForgetRequest) -> None:
    condition = selectors.matches(tx, request)
    fresh = tx.session.execute(
        select(func.count()).select_from(Record).where(condition, Record.removed_seq.is_(None))
    ).scalar_one()
    earlier = tx.session.execute(
        select(Record.request_id, func.count(), func.max(Record.removed_seq))
        .where(condition, Record.removed_seq.is_not(None))
        .group_by(Record.request_id)
    ).all()
    if request.selector_kind == "subjects":
        _suppress(tx, request)
    request.records = fresh + sum(count for _, count, _ in earlier)
    if request.records == 0:
        _complete_without_match(tx, request)
        return
    touched = tx.session.execute(select(Record.cohort_id).where(condition).distinct()).scalars().all()
    request.waits_for = sorted(request_id for request_id, _, _ in earlier)
    if fresh:
        request.seq = changes.next_change(tx, request.tenant_id, changes.REMOVED, request_id=request.id)
        tx.session.execute(
            update(Record)
            .where(condition, Record.removed_seq.is_(None))
            .values(removed_seq=request.seq, request_id=request.id)
            .execution_options(synchronize_session=False)
        )
    else:
        request.seq = max(seq for _, _, seq in earlier if seq is not None)
    request.state = "scrubbing"
    for model in catalog.models_over(tx, list(touched), states=("ready", "retiring")):
        passed = model.applied_seq is not None and model.applied_seq >= request.seq
        version_id = model.active_version_id if passed else None
        tx.session.add(RequestModel(request_id=request.id, model_id=model.id, version_id=version_id))
        if not passed and model.state == "ready":  # a retiring model is waited for until it is destroyed
            jobs.add_advance(tx, request.tenant_id, model.id)  # another model's job may be the one that resolves
    tx.session.flush()
    events.append(tx, request.tenant_id, "forget.resolved", request.id, seq=request.seq)
    _publish_if_passed(tx, request)


def _complete_without_match(tx: Transaction, request: ForgetRequest) -> None:
    request.state, request.outcome, request.completed_at, request.selector = "completed", "no_match", tx.now, None
    events.append(tx, request.tenant_id, "forget.completed", request.id, outcome="no_match")


def _suppress(tx: Transaction, request: ForgetRequest) -> None:
    """Remember who asked to be forgotten, so that the next upload does not bring them back unasked."""
    for named in (request.selector or {})["aliases"]:
        for kind, form, hmac in _all_forms(tx, request.tenant_id, named[0], named[1], bytes.fromhex(named[2])):
            row = tx.session.get(Suppression, (request.tenant_id, kind, form, hmac))
            if row is None:
                row = Suppression(tenant_id=request.tenant_id, type=kind, format=form, hmac=hmac)
                tx.session.add(row)
            row.request_id, row.created_at, row.withdrawn_at = request.id, tx.now, None
            tx.session.flush()


def _all_forms(tx: Transaction, tenant_id: str, kind: str, form: str, hmac: bytes) -> list[tuple[str, str, bytes]]:
    known = tx.session.get(SubjectAlias, (tenant_id, kind, form, hmac))
    if known is None:
        return [(kind, form, hmac)]
    rows = tx.session.execute(select(SubjectAlias).where(SubjectAlias.subject_id == known.subject_id)).scalars()
    return [(row.type, row.format, row.hmac) for row in rows]


def model_passed(tx: Transaction, model_id: str, version_id: str, applied_seq: int) -> None:
    """Note that a model's new version no longer knows what these requests removed; publish those that are through."""
    for waiting, request in _waiting_for(tx, model_id):
        if request.seq is None or request.seq > applied_seq:
            continue
        waiting.version_id = version_id
        tx.session.flush()
        _publish_if_passed(tx, request)


def release_model(tx: Transaction, model_id: str) -> None:
    """Let requests go on without a model that has failed before it ever served, or that is destroyed."""
    for waiting, request in _waiting_for(tx, model_id):
        tx.session.delete(waiting)
        tx.session.flush()
        _publish_if_passed(tx, request)


def _waiting_for(tx: Transaction, model_id: str) -> Sequence[tuple[RequestModel, ForgetRequest]]:
    """Return the requests that wait for this model, locked.

    Two models may pass at once. Without the lock neither would see the other's step, and nobody would publish.
    """
    query = (
        select(RequestModel, ForgetRequest)
        .join(ForgetRequest, ForgetRequest.id == RequestModel.request_id)
        .where(RequestModel.model_id == model_id, RequestModel.version_id.is_(None))
        .order_by(ForgetRequest.id)
        .with_for_update(of=ForgetRequest)
        .execution_options(populate_existing=True)
    )
    return [(row[0], row[1]) for row in tx.session.execute(query)]


def mark_stuck(tx: Transaction, tenant_id: str, model_id: str | None, error: str) -> None:
    """Show that the job of these requests has failed: of one model's, or (None) of those being purged."""
    error = _naming(tx, model_id, error)
    query = select(ForgetRequest).where(stuck.served_by(tenant_id, model_id))
    for request in tx.session.execute(query).scalars():
        request.error = error
        events.append(tx, tenant_id, "forget.stuck", request.id)


def _naming(tx: Transaction, model_id: str | None, error: str) -> str:
    """Say which model failed: a request may wait for several."""
    return error if model_id is None else f"model {tx.session.get_one(Model, model_id).name}: {error}"


def _publish_if_passed(tx: Transaction, request: ForgetRequest) -> None:
    waiting = select(RequestModel.model_id).where(
        RequestModel.request_id == request.id, RequestModel.version_id.is_(None)
    )
    if request.state == "scrubbing" and tx.session.execute(waiting).first() is None:
        request.state, request.published_at, request.error = "published", tx.now, None
        events.append(tx, request.tenant_id, "forget.published", request.id)
        jobs.add_purge(tx, request.tenant_id)


def cohort_names(tx: Transaction, tenant_id: str) -> dict[str, str]:
    """Map the tenant's cohort ids to their names."""
    query = select(Cohort.id, Cohort.name).where(Cohort.tenant_id == tenant_id)
    return {row.id: row.name for row in tx.session.execute(query)}


def models_of(tx: Transaction, request_ids: Sequence[str]) -> dict[str, list[tuple[str, int | None]]]:
    """Map each request to the models it covers, each with the version that no longer knows the records, if there is."""
    covered: dict[str, list[tuple[str, int | None]]] = {request_id: [] for request_id in request_ids}
    query = (
        select(RequestModel.request_id, RequestModel.model_id, ModelVersion.number)
        .outerjoin(ModelVersion, ModelVersion.id == RequestModel.version_id)
        .where(RequestModel.request_id.in_(request_ids))
        .order_by(RequestModel.model_id)
    )
    for request_id, model_id, number in tx.session.execute(query):
        covered[request_id].append((model_id, number))
    return covered


def certificate(tx: Transaction, tenant_id: str, request_id: str) -> bytes | None:
    """Return the signed envelope of a request of this tenant, None while there is none. Raises NotFound."""
    get(tx, tenant_id, request_id)
    row = tx.session.get(Certificate, request_id)
    return None if row is None else row.envelope
