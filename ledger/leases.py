"""Leases of the API processes: who may still answer from which version.

A process answers for a model only while its own clock says that its lease holds, and only from the version that the
lease names or a later one. It never goes back, and only the active version can be named anew. So once every row names
the new version or has expired, nobody can be answered from the old one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import delete, select

from ledger.database import Database, Transaction
from ledger.tables import Generation, Lease, Model, ModelVersion


def renew(database: Database, process_id: str, versions: Mapping[str, int], *, ttl_us: int) -> frozenset[str]:
    """Promise, for `ttl_us` from now, to answer for each model id only from the version number given with it, or later.

    Returns the models for which the promise was taken: those whose active version it is. Otherwise a process that was
    asleep could get a lease on an old version after somebody has seen that all leases on it are gone. The models' rows
    stay locked until the commit, so a version is published either before this and refuses it, or after and sees it.
    """
    with database.begin() as tx:
        active = _lock_active(tx, sorted(versions))
        granted = {model_id: number for model_id, number in versions.items() if active.get(model_id) == number}
        held = {
            lease.model_id: lease
            for lease in tx.session.execute(select(Lease).where(Lease.process_id == process_id)).scalars()
        }
        for model_id, number in granted.items():
            lease = held.get(model_id)
            if lease is None:
                lease = Lease(process_id=process_id, model_id=model_id, version_number=number, expires_at=0)
                tx.session.add(lease)
            lease.version_number, lease.expires_at = number, tx.now + ttl_us
        for model_id, lease in held.items():
            if model_id not in versions:
                tx.session.delete(lease)
        return frozenset(granted)


def _lock_active(tx: Transaction, model_ids: Sequence[str]) -> dict[str, int]:
    # The lines first, as whoever publishes does: so nobody waits in a circle.
    line_ids = select(Generation.line_id).where(Generation.model_id.in_(model_ids))
    lines = select(Model.id).where(Model.id.in_(line_ids)).order_by(Model.id)
    tx.session.execute(lines.with_for_update(read=True)).all()
    models = select(Model.state, Model.active_version_id).where(Model.id.in_(model_ids)).order_by(Model.id)
    locked = tx.session.execute(models.with_for_update(read=True)).all()
    version_ids = [row.active_version_id for row in locked if row.state == "ready"]  # a retired model gets no lease
    numbers = select(ModelVersion.model_id, ModelVersion.number).where(ModelVersion.id.in_(version_ids))
    return {row.model_id: row.number for row in tx.session.execute(numbers)}


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
