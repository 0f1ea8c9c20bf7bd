"""Releasing a hold: what it kept from being forgotten is asked for again."""

from __future__ import annotations

from sqlalchemy import delete, or_, select

from ledger import changes, events, holds, requests
from ledger.database import Transaction
from ledger.tables import ForgetRequest, HeldRequest


def release(tx: Transaction, tenant_id: str, hold_id: str) -> list[str]:
    """Delete a hold and its reason, and file again every request that it stopped. Returns the ids of the new ones.

    A new request covers what the old one left, as of the old one's acceptance, and has a deadline of its own. If
    another hold keeps the records still, it ends like the old one. Raises NotFound.
    """
    changes.lock_sequence(tx, tenant_id)
    hold = holds.get(tx, tenant_id, hold_id, lock=True)
    stopped = (
        select(ForgetRequest)
        .join(HeldRequest, HeldRequest.request_id == ForgetRequest.id)
        .where(HeldRequest.hold_id == hold_id)
        .order_by(ForgetRequest.received_at, ForgetRequest.id)
        .with_for_update(of=ForgetRequest)
    )
    found = list(tx.session.execute(stopped).scalars())
    # Also what other holds stopped of these requests: the new ones will find out whether they still do.
    done = or_(HeldRequest.hold_id == hold_id, HeldRequest.request_id.in_([request.id for request in found]))
    tx.session.execute(delete(HeldRequest).where(done))
    tx.session.delete(hold)
    tx.session.flush()
    events.append(tx, tenant_id, "hold.released", hold_id, requests=len(found))
    return [requests.take_up(tx, request).id for request in found]
