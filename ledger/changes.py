"""The sequence of changes that model versions fold."""

from __future__ import annotations

from sqlalchemy import select, update

from ledger.database import Transaction
from ledger.tables import Change, Tenant

STORED, ADDED, REMOVED, CORRECTED = "stored", "added", "removed", "corrected"


def next_change(
    tx: Transaction, tenant_id: str, kind: str, *, upload_id: str | None = None, request_id: str | None = None
) -> int:
    """Append a change and return its sequence number.

    Raising the tenant's counter locks its row until the commit, so numbers become visible in their own order.
    """
    seq = lock_sequence(tx, tenant_id, step=1)
    tx.session.add(
        Change(tenant_id=tenant_id, seq=seq, kind=kind, upload_id=upload_id, request_id=request_id, created_at=tx.now)
    )
    return seq


def lock_sequence(tx: Transaction, tenant_id: str, *, step: int = 0) -> int:
    """Lock the tenant's counter until the commit, raise it by `step`, and return it."""
    statement = (
        update(Tenant)
        .where(Tenant.id == tenant_id)
        .values(change_seq=Tenant.change_seq + step)
        .returning(Tenant.change_seq)
    )
    return tx.session.execute(statement).scalar_one()


def current_sequence(tx: Transaction, tenant_id: str) -> int:
    """Return the newest sequence number that this transaction sees."""
    return tx.session.execute(select(Tenant.change_seq).where(Tenant.id == tenant_id)).scalar_one()
