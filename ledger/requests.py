"""The life of a forget request: accepted -> scrubbing -> published -> purging -> completed."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, and_, func, select, update

from ledger import (
    batching,
    catalog,
    changes,
    contents,
    deferrals,
    dry_runs,
    events,
    filing,
    holders,
    holds,
    jobs,
    paging,
    receipts,
    replacing,
    selectors,
    stuck,
    suppressions,
)
from ledger.database import Database, Transaction
from ledger.errors import NotFound, WrongState
from ledger.tables import (
    Certificate,
    ForgetRequest,
    Model,
    ModelVersion,
    Record,
    RequestModel,
)

OPEN = ("accepted", "scrubbing", "published", "purging", "failed")
CORRECTION = "correction"  # the kind of requests that make room for corrected records

RESOLVED_AT_ONCE = 16


def get(tx: Transaction, tenant_id: str, request_id: str) -> ForgetRequest:
    """Return a request of this tenant. Raises NotFound."""
    request = tx.session.get(ForgetRequest, request_id)
    if request is None or request.tenant_id != tenant_id:
        raise NotFound("forget request", request_id)
    return request


def list_newest(
    tx: Transaction, tenant_id: str, *, state: str | None = None, limit: int = 100, after: paging.Position | None = None
) -> Sequence[ForgetRequest]:
    """Return the newest requests, at most `limit`; `after`: when the last one before was received, and its id."""
    query = select(ForgetRequest).where(ForgetRequest.tenant_id == tenant_id)
    if state is not None:
        query = query.where(ForgetRequest.state == state)
    order = (ForgetRequest.received_at, True), (ForgetRequest.id, False)
    query = paging.ordered(query, *order, after=after, limit=limit)
    return tx.session.execute(query).scalars().all()


def cancel(tx: Transaction, tenant_id: str, request_id: str) -> ForgetRequest:
    """Withdraw a request that nothing has been done about. Raises NotFound, WrongState."""
    get(tx, tenant_id, request_id)
    # Locked: a worker may be resolving it, and the second of the two must see what the first has done.
    request = tx.session.get_one(ForgetRequest, request_id, with_for_update=True, populate_existing=True)
    if request.state != "accepted":
        raise WrongState("forget request", request.state, "accepted")
    if request.selector_kind == CORRECTION:
        raise WrongState("forget request", "part of a correction", "one by itself")
    request.state, request.selector, request.commitment = "cancelled", None, None
    receipts.drop(tx, [request.id])
    events.append(tx, tenant_id, "forget.cancelled", request.id)
    return request


def resolve_all(database: Database, tenant_id: str) -> int:
    """Resolve every accepted request, a few per transaction, so that nobody waits long to have another one accepted.

    Returns the newest sequence number.
    """
    while True:
        with database.begin() as tx:
            newest = resolve_accepted(tx, tenant_id, limit=RESOLVED_AT_ONCE)
            if tx.session.execute(select(ForgetRequest.id).where(_to_resolve(tenant_id)).limit(1)).first() is None:
                return newest


def resolve_accepted(tx: Transaction, tenant_id: str, *, limit: int | None = None) -> int:
    """Turn accepted requests (the first `limit`, or all) into removals in the sequence of changes, as they arrived.

    Safe to run from several workers: the tenant's counter is locked, and a request is resolved once.
    Returns the newest sequence number.
    """
    newest = changes.lock_sequence(tx, tenant_id)
    query = (
        select(ForgetRequest)
        .where(_to_resolve(tenant_id))
        .order_by(ForgetRequest.received_at, ForgetRequest.id)
        .limit(limit)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    for request in tx.session.execute(query).scalars().all():
        _resolve(tx, request)
        newest = changes.current_sequence(tx, tenant_id)
    return newest


def accepted_over(tx: Transaction, tenant_id: str, cohort_id: str) -> list[ForgetRequest]:
    """Return the requests that will remove records of this cohort once they are resolved."""
    rows = tx.session.execute(select(ForgetRequest).where(_to_resolve(tenant_id))).scalars()
    return [row for row in rows if cohort_id in (row.selector or {})["cohorts"]]


def _to_resolve(tenant_id: str) -> ColumnElement[bool]:
    """Return the condition on requests that select records by themselves; a correction comes with its upload."""
    return and_(
        ForgetRequest.tenant_id == tenant_id,
        ForgetRequest.state == "accepted",
        ForgetRequest.selector_kind != CORRECTION,
    )


def _resolve(tx: Transaction, request: ForgetRequest) -> None:
    condition = selectors.matches(tx, request)
    if request.selector_kind == "subjects":
        suppressions.remember(tx, request)
    earlier = tx.session.execute(
        select(Record.request_id, func.count(), func.max(Record.removed_seq))
        .where(condition, Record.removed_seq.is_not(None))
        .group_by(Record.request_id)
    ).all()
    selected = holds.keep_back(tx, request, and_(condition, Record.removed_seq.is_(None)))
    fresh = tx.session.execute(select(func.count()).select_from(Record).where(selected)).scalar_one()
    request.records = fresh + sum(count for _, count, _ in earlier)
    if request.records == 0:
        complete_at_once(tx, request, "on_hold" if request.held else "no_match")
        return
    request.waits_for = sorted(request_id for request_id, _, _ in earlier)
    if fresh:
        request.seq = changes.next_change(tx, request.tenant_id, changes.REMOVED, request_id=request.id)
        remove(tx, request, selected)
        also = replacing.go_along(tx, request)
        if also is not None:
            request.records += remove(tx, request, also)
    else:
        request.seq = max(seq for _, _, seq in earlier if seq is not None)
    removed = and_(condition, Record.removed_seq.is_not(None))
    request.in_core = contents.in_core(tx, removed) or None
    holders.note(tx, request, removed)
    scrub(tx, request, list(tx.session.execute(select(Record.cohort_id).where(removed).distinct()).scalars()))


def remove(tx: Transaction, request: ForgetRequest, condition: ColumnElement[bool]) -> int:
    """Mark the records under `condition` as removed by the request at its sequence number; return how many."""
    tx.session.flush()
    marked = update(Record).where(condition).values(removed_seq=request.seq, request_id=request.id)
    return tx.session.connection().execute(marked).rowcount


def scrub(tx: Transaction, request: ForgetRequest, cohort_ids: list[str]) -> None:
    """Have every model over these cohorts pass the request, which has got its place in the sequence of changes."""
    assert request.seq is not None
    request.state = "scrubbing"
    dry_runs.removed(tx, request)
    for model in catalog.models_over(tx, cohort_ids, states=("ready", "retiring")):
        passed = model.applied_seq is not None and model.applied_seq >= request.seq
        passed = passed and not set(request.waits_for) & set(deferrals.beyond(tx, model.id, model.applied_seq or 0))
        version_id = model.active_version_id if passed else None
        tx.session.add(RequestModel(request_id=request.id, model_id=model.id, version_id=version_id))
        if not passed and model.state == "ready":  # a retiring model is waited for until it is destroyed
            # Another model's job may be the one that resolves.
            begin = batching.policy_of(model).start_at(request.received_at, request.due_at)
            jobs.add_advance(tx, request.tenant_id, model.id, not_before=begin)
    tx.session.flush()
    events.append(tx, request.tenant_id, "forget.resolved", request.id, seq=request.seq)
    _publish_if_passed(tx, request)


def complete_at_once(tx: Transaction, request: ForgetRequest, outcome: str) -> None:
    """Complete a request that removes nothing: `no_match` or `on_hold`."""
    request.state, request.outcome, request.completed_at = "completed", outcome, tx.now
    forget_selector(request)
    if not request.held:  # else it will be filed again, with the same receipt
        request.commitment = None
        receipts.drop(tx, [request.id])
    events.append(tx, request.tenant_id, "forget.completed", request.id, outcome=outcome)


def forget_selector(request: ForgetRequest) -> None:
    """Let go of whom a completed request named, unless a hold kept some of it back: that will be filed again."""
    if not request.held:
        request.selector = None


def take_up(tx: Transaction, stopped: ForgetRequest) -> ForgetRequest:
    """File again what a hold kept back of a completed request, as of that request's acceptance."""
    stored = stopped.selector or {}
    request = filing.file_again(tx, stopped.tenant_id, stopped.selector_kind, stored, stopped.regulation)
    request.high_water, request.follows = stopped.high_water, stopped.id
    stopped.followed_by, stopped.selector = request.id, None
    receipts.hand_over(tx, stopped, request)
    tx.session.flush()
    return request


def model_passed(tx: Transaction, model_id: str, version_id: str, applied_seq: int) -> None:
    """Note that a model's new version no longer knows what these requests removed; publish those that are through."""
    late = set(deferrals.beyond(tx, model_id, applied_seq))
    for waiting, request in _waiting_for(tx, model_id):
        if request.seq is None or request.seq > applied_seq or late & {request.id, *request.waits_for}:
            continue
        waiting.version_id = version_id
        if request.error is not None and request.error.startswith(_naming(tx, model_id, "")):
            request.error = None  # what another model said stays
        tx.session.flush()
        _publish_if_passed(tx, request)
    deferrals.made(tx, model_id, applied_seq)


def release_model(tx: Transaction, model_id: str) -> None:
    """Let requests go on without a model that has failed before it ever served, or that is destroyed."""
    deferrals.drop(tx, model_id)
    for waiting, request in _waiting_for(tx, model_id):
        tx.session.delete(waiting)
        tx.session.flush()
        if request.state == "failed" and not deferrals.is_open(tx, request.id):
            request.state, request.error = "scrubbing", None
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


def mark_stuck(
    tx: Transaction, tenant_id: str, model_id: str | None, error: str, *, upload_id: str | None = None
) -> None:
    """Show that the job of these requests has failed: of one model's or correction's, or (None) of those purged."""
    error = _naming(tx, model_id, error)
    query = select(ForgetRequest).where(stuck.served_by(tenant_id, model_id, upload_id))
    for request in tx.session.execute(query).scalars():
        request.error = error
        events.append(tx, tenant_id, "forget.stuck", request.id)


def fail_alone(tx: Transaction, claim: jobs.Claim, request_ids: Sequence[str], error: str) -> None:
    """Fail requests that cannot be done, so that the others of their batch need not wait.

    A failed job of the same kind stays behind; retrying it takes them up again. Raises LeaseLost.
    """
    jobs.leave_failed(tx, claim, error)
    said = _naming(tx, claim.model_id, error)
    query = select(ForgetRequest).where(ForgetRequest.id.in_(request_ids)).order_by(ForgetRequest.id)
    for request in tx.session.execute(query.with_for_update()).scalars():
        request.state, request.error = "failed", said
        events.append(tx, claim.tenant_id, "forget.stuck", request.id)
    tx.session.flush()


def show_waiting(tx: Transaction, tenant_id: str, model_id: str | None, error: str) -> None:
    """Show what these requests wait for, while their job goes on trying. Unlike `mark_stuck` no event tells of it."""
    error = _naming(tx, model_id, error)
    served = update(ForgetRequest).where(stuck.served_by(tenant_id, model_id))
    tx.session.execute(served.values(error=error).execution_options(synchronize_session=False))


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
