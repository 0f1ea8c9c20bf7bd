"""Leases of the API processes: who may still answer from which version.

A process answers for a model only while its own clock says that its lease holds, and only from the version that the
lease names. It renews by naming the version it serves now, and never goes back to an older one. So once every row names
the new version or has expired, nobody can be answered from the old one.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import delete, select

from ledger.database import Database, Transaction
from ledger.tables import Lease


def renew(database: Database, process_id: str, versions: Mapping[str, int], *, ttl_us: int) -> None:
    """Promise, for `ttl_us` from now, to answer for each model id only from the version number given with it."""
    with database.begin() as tx:
        held = {
            lease.model_id: lease
            for lease in tx.session.execute(select(Lease).where(Lease.process_id == process_id)).scalars()
        }
        for model_id, number in versions.items():
            lease = held.pop(model_id, None)
            if lease is None:
                lease = Lease(process_id=process_id, model_id=model_id, version_number=number, expires_at=0)
                tx.session.add(lease)
            lease.version_number, lease.expires_at = number, tx.now + ttl_us
        for lease in held.values():
            tx.session.delete(lease)


def release(database: Database, process_id: str) -> None:
    """Give up every lease of a process that has stopped answering."""
    with database.begin() as tx:
        tx.session.execute(delete(Lease).where(Lease.process_id == process_id))


def stragglers(tx: Transaction, model_id: str, version_number: int, *, clock_skew_us: int) -> int:
    """Count the leases that still allow answers from a version older than `version_number`.

    `clock_skew_us` is how far the machines' clocks may stand apart; a lease counts as live that much longer.
    """
    query = select(Lease.process_id).where(
        Lease.model_id == model_id, Lease.version_number < version_number, Lease.expires_at + clock_skew_us >= tx.now
    )
    return len(tx.session.execute(query).all())


def drop_expired(tx: Transaction, *, clock_skew_us: int) -> None:
    """Delete rows of processes that are long gone."""
    tx.session.execute(delete(Lease).where(Lease.expires_at + clock_skew_us < tx.now))
