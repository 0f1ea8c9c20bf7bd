"""Which workers work and which API processes answer, as far as one tenant's rows tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import and_, or_, select

from ledger.database import Transaction
from ledger.tables import Generation, Job, Lease, Model, ModelVersion

LOOKED_AT = 200
"""How many of the newest jobs tell which workers there were."""


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker of whom a job knows. `seen_at`: when it last began, prolonged or ended one, as far as is known.

    state: `working` while its lease on a job holds, `silent` once that has run out (another worker takes the job over),
    `idle` when it has ended what it began. Nothing tells whether an idle one is still there.
    """

    name: str
    state: str
    job_id: int
    kind: str
    seen_at: int
    lease_until: int | None


@dataclass(frozen=True, slots=True)
class ServingLease:
    """A promise of an API process to answer from this version or a later one until `expires_at`.

    state: `current` if it names the active version, `behind` if an older one, `expired` if it has run out.
    """

    process_id: str
    line_id: str
    model: str
    number: int
    active: int | None
    expires_at: int
    state: str


def workers(tx: Transaction, tenant_id: str) -> Sequence[Worker]:
    """Return the workers of the tenant's running and newest jobs, by name; of each the job that it holds, or the last.

    Workers that only ever worked for others do not appear: their jobs are not this tenant's.
    """
    newest = select(Job.id).where(Job.tenant_id == tenant_id).order_by(Job.id.desc()).limit(LOOKED_AT)
    query = select(Job).where(
        Job.tenant_id == tenant_id, Job.worker.is_not(None), or_(Job.state == "running", Job.id.in_(newest))
    )
    found: dict[str, Worker] = {}
    for job in tx.session.execute(query.order_by(Job.id)).scalars():
        worker = _worker(job, tx.now)
        before = found.get(worker.name)
        if before is None or (worker.state != "idle", worker.seen_at) >= (before.state != "idle", before.seen_at):
            found[worker.name] = worker
    return sorted(found.values(), key=lambda worker: worker.name)


def _worker(job: Job, now: int) -> Worker:
    begun = job.started_at or job.created_at
    if job.state == "running":
        held = job.lease_until is not None and job.lease_until >= now
        return Worker(job.worker or "", "working" if held else "silent", job.id, job.kind, begun, job.lease_until)
    return Worker(job.worker or "", "idle", job.id, job.kind, job.finished_at or begun, None)


def serving(tx: Transaction, tenant_id: str) -> Sequence[ServingLease]:
    """Return the leases on the tenant's models, those of one process together."""
    query = (
        select(Lease, Generation.line_id, Model.name, ModelVersion.number)
        .join(Model, Model.id == Lease.model_id)
        .join(Generation, Generation.model_id == Model.id)
        .outerjoin(
            ModelVersion,
            and_(ModelVersion.id == Model.active_version_id, Model.state.not_in(("retiring", "destroyed"))),
        )
        .where(Model.tenant_id == tenant_id)
        .order_by(Lease.process_id, Model.name)
    )
    return [
        ServingLease(
            process_id=lease.process_id,
            line_id=line_id,
            model=name,
            number=lease.version_number,
            active=active,
            expires_at=lease.expires_at,
            state=_state(lease, active, tx.now),
        )
        for lease, line_id, name, active in tx.session.execute(query)
    ]


def _state(lease: Lease, active: int | None, now: int) -> str:
    if lease.expires_at < now:
        return "expired"
    return "current" if lease.version_number == active else "behind"
