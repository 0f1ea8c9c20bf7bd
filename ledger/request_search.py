"""Finding forget requests: by state, outcome, regulation and deadline, in one of three orders, page by page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import InstrumentedAttribute

from ledger import paging
from ledger.database import Database, Transaction
from ledger.requests import OPEN
from ledger.tables import ForgetRequest

AT_ONCE = 1_000
"""Rows that `every` reads in one transaction."""

_COMPLETED = func.coalesce(ForgetRequest.completed_at, 0)  # open ones count as completed at the beginning of time
_ORDERS: dict[str, tuple[InstrumentedAttribute[int] | ColumnElement[int], bool]] = {
    "received": (ForgetRequest.received_at, True),
    "due": (ForgetRequest.due_at, False),
    "completed": (_COMPLETED, True),
}
ORDERS = tuple(_ORDERS)


@dataclass(frozen=True, slots=True)
class Search:
    """What is looked for; None, and `overdue` false, leave nothing out.

    state: of a request, or `open` for all in which something is still to be done. order: `received` and `completed`
    begin with the newest, `due` with the nearest deadline.
    """

    state: str | None = None
    outcome: str | None = None
    regulation: str | None = None
    overdue: bool = False
    order: str = "received"


def find(
    tx: Transaction, tenant_id: str, search: Search, *, limit: int | None, after: paging.Position | None = None
) -> Sequence[ForgetRequest]:
    """Return at most `limit` requests of the tenant; `after`: the `position` of the last one before."""
    query = select(ForgetRequest).where(*_conditions(tx, tenant_id, search))
    order = _ORDERS[search.order], (ForgetRequest.id, False)
    return tx.session.execute(paging.ordered(query, *order, after=after, limit=limit)).scalars().all()


def count(tx: Transaction, tenant_id: str, search: Search) -> int:
    """Count what `find` would return without a limit."""
    query = select(func.count()).select_from(ForgetRequest).where(*_conditions(tx, tenant_id, search))
    return tx.session.execute(query).scalar_one()


def position(row: ForgetRequest, order: str) -> paging.Position:
    """Return where a request stands in an order."""
    at = {"received": row.received_at, "due": row.due_at, "completed": row.completed_at or 0}[order]
    return at, row.id


def every(database: Database, tenant_id: str, search: Search) -> Iterator[Sequence[ForgetRequest]]:
    """Yield all that `find` finds, group by group, each read in a transaction of its own: no long one holds others up.

    A request that moves in the order meanwhile may come twice or not at all; by `received` none ever moves.
    """
    after: paging.Position | None = None
    while True:
        with database.read() as tx:
            rows = find(tx, tenant_id, search, limit=AT_ONCE, after=after)
            tx.session.expunge_all()
        if rows:
            yield rows
        if len(rows) < AT_ONCE:
            return
        after = position(rows[-1], search.order)


def _conditions(tx: Transaction, tenant_id: str, search: Search) -> list[ColumnElement[bool]]:
    wanted = [ForgetRequest.tenant_id == tenant_id]
    if search.state == "open":
        wanted.append(ForgetRequest.state.in_(OPEN))
    elif search.state is not None:
        wanted.append(ForgetRequest.state == search.state)
    if search.outcome is not None:
        wanted.append(ForgetRequest.outcome == search.outcome)
    if search.regulation is not None:
        wanted.append(ForgetRequest.regulation == search.regulation)
    if search.overdue:
        wanted += [ForgetRequest.state.in_(OPEN), ForgetRequest.due_at < tx.now]
    return wanted
