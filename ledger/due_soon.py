"""Telling that a deadline comes near: once for each deadline of a request, as an event that webhooks tell too."""

from __future__ import annotations

from sqlalchemy import ColumnElement, and_, exists, func, select

from ledger import events
from ledger.database import Database, Transaction
from ledger.tables import Event, ForgetRequest

KIND = "forget.due_soon"
BEFORE_US = 3 * 86_400_000_000
ENDED = ("completed", "cancelled")


def tell(database: Database, tenant_id: str) -> int:
    """Append an event for every open request that is due within three days, or overdue; return how many.

    After an extension the new deadline is told too. Safe from several processes.
    """
    with database.read() as tx:
        found = list(tx.session.execute(select(ForgetRequest.id).where(_untold(tx, tenant_id))).scalars())
    return sum(_tell(database, tenant_id, request_id) for request_id in found)


def _tell(database: Database, tenant_id: str, request_id: str) -> bool:
    with database.begin() as tx:
        # Locked first, then asked again in a new statement: whoever comes second sees what the first has told.
        tx.session.execute(select(ForgetRequest.id).where(ForgetRequest.id == request_id).with_for_update())
        query = select(ForgetRequest).where(ForgetRequest.id == request_id, _untold(tx, tenant_id))
        request = tx.session.execute(query).scalar_one_or_none()
        if request is None:
            return False
        events.append(tx, tenant_id, KIND, request.id, due_at=request.due_at)
        return True


def _untold(tx: Transaction, tenant_id: str) -> ColumnElement[bool]:
    told = exists().where(Event.subject == ForgetRequest.id, Event.kind == KIND)
    told = told.where(Event.at >= func.coalesce(ForgetRequest.extended_at, 0)).correlate(ForgetRequest)
    return and_(
        ForgetRequest.tenant_id == tenant_id,
        ForgetRequest.state.not_in(ENDED),
        ForgetRequest.due_at <= tx.now + BEFORE_US,
        ~told,
    )
