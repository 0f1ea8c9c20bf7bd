"""Accepting forget requests: their rows, events and jobs, in the caller's transaction.

Several requests of a tenant can be accepted in one transaction: what they share is read once, what they add is written
together, and the disk is waited for once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ledger import batching, catalog, changes, deadlines, events, jobs, quotas, selectors
from ledger.database import Transaction
from ledger.errors import CoreNeverForgotten, InvalidIdentifier, LedgerError, NotFound, SelectorInvalid
from ledger.identity import AliasHasher
from ledger.tables import ForgetRequest, Tenant

REFUSALS = (SelectorInvalid, NotFound, CoreNeverForgotten, InvalidIdentifier)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a new request asks for."""

    selector: selectors.Selector
    regulation: str


def accept(
    tx: Transaction, tenant_id: str, selector: selectors.Selector, hasher: AliasHasher, *, regulation: str
) -> ForgetRequest:
    """Record a request, with the jobs that will serve it, in the caller's transaction. Marks no record.

    Raises SelectorInvalid, NotFound, CoreNeverForgotten, InvalidIdentifier.
    """
    (outcome,) = accept_all(tx, tenant_id, [Asked(selector, regulation)], hasher)
    if isinstance(outcome, LedgerError):
        raise outcome
    return outcome


def accept_all(
    tx: Transaction, tenant_id: str, asked: Sequence[Asked], hasher: AliasHasher, *, most: int | None = None
) -> list[ForgetRequest | LedgerError]:
    """Record requests of one tenant, each as `accept` does; the answer has one entry for each, in order.

    A request that is refused is given as its refusal and leaves nothing behind; the others are recorded all the same.
    `most`: of how many open requests of the tenant the next one is refused by QuotaExceeded; None: any number.
    """
    room = quotas.room_for_requests(tx, tenant_id, most)
    known = selectors.cohorts_of(tx, tenant_id)
    now = _now(tx, tenant_id)
    outcomes: list[ForgetRequest | LedgerError] = []
    for one in asked:
        try:
            stored = selectors.stored_form(known, one.selector, hasher)
        except REFUSALS as refusal:
            outcomes.append(refusal)
            continue
        if room is not None and most is not None:
            if room == 0:
                outcomes.append(quotas.no_room_for_request(most))
                continue
            room -= 1
        outcomes.append(_row(tx, tenant_id, one.selector.kind, stored, one.regulation, now))
    accepted = [one for one in outcomes if isinstance(one, ForgetRequest)]
    _write(tx, tenant_id, accepted)
    _add_jobs(tx, tenant_id, accepted)
    return outcomes


def file_again(tx: Transaction, tenant_id: str, kind: str, stored: dict[str, Any], regulation: str) -> ForgetRequest:
    """Record a request for what another one had selected, with the jobs that will serve it."""
    request = new_row(tx, tenant_id, kind, stored, regulation)
    _add_jobs(tx, tenant_id, [request])
    return request


def new_row(tx: Transaction, tenant_id: str, kind: str, stored: dict[str, Any], regulation: str) -> ForgetRequest:
    """Add the row of a request, accepted now, and its event. Its caller adds the jobs that will serve it."""
    now = _now(tx, tenant_id)
    request = _row(tx, tenant_id, kind, stored, regulation, now)
    _write(tx, tenant_id, [request])
    return request


@dataclass(frozen=True, slots=True)
class _Now:
    """What all requests of a tenant that are accepted in one transaction share."""

    high_water: int
    time_zone: str | None


def _now(tx: Transaction, tenant_id: str) -> _Now:
    time_zone = tx.session.get_one(Tenant, tenant_id).time_zone
    return _Now(changes.current_sequence(tx, tenant_id), time_zone)


def _row(
    tx: Transaction, tenant_id: str, kind: str, stored: dict[str, Any], regulation: str, now: _Now
) -> ForgetRequest:
    return ForgetRequest(
        id=tx.new_id(),
        tenant_id=tenant_id,
        state="accepted",
        selector_kind=kind,
        selector=stored,
        high_water=now.high_water,
        waits_for=[],
        regulation=regulation,
        received_at=tx.now,
        due_at=deadlines.due_at(tx.now, regulation, now.time_zone),
    )


def _write(tx: Transaction, tenant_id: str, accepted: Sequence[ForgetRequest]) -> None:
    """Write the rows, then their events: the database is asked no more often for many than for one."""
    tx.session.add_all(accepted)
    tx.session.flush()
    facts = [
        (one.id, {"selector": one.selector_kind, "regulation": one.regulation, "due_at": one.due_at})
        for one in accepted
    ]
    events.append_all(tx, tenant_id, "forget.accepted", facts)
    tx.session.flush()


def _add_jobs(tx: Transaction, tenant_id: str, accepted: Sequence[ForgetRequest]) -> None:
    """Add one job for each model that these requests concern, to begin when the most urgent of them says."""
    begin: dict[str, int] = {}
    for cohort_ids, together in _by_cohorts(accepted):
        models = catalog.models_over(tx, cohort_ids, states=("ready",))
        for model in models:
            policy = batching.policy_of(model)
            first = min(policy.start_at(one.received_at, one.due_at) for one in together)
            begin[model.id] = min(first, begin.get(model.id, first))
        if not models:
            jobs.add_purge(tx, tenant_id)
    for model_id, moment in sorted(begin.items()):
        jobs.add_advance(tx, tenant_id, model_id, not_before=moment)


def _by_cohorts(accepted: Sequence[ForgetRequest]) -> Iterator[tuple[list[str], list[ForgetRequest]]]:
    groups: dict[tuple[str, ...], list[ForgetRequest]] = {}
    for one in accepted:
        groups.setdefault(tuple((one.selector or {})["cohorts"]), []).append(one)
    for cohort_ids, together in groups.items():
        yield list(cohort_ids), together
