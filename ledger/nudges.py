"""Which jobs somebody should be told about. The table of jobs is its own outbox: nothing else is stored for it."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select

from ledger import jobs
from ledger.database import Transaction
from ledger.tables import Job


@dataclass(frozen=True, slots=True)
class Nudge:
    """A job that a worker could claim now.

    `fence` rises with every claim, and `due` (UTC microseconds) changes whenever the job is put back: a job with other
    values is to be told about again.
    """

    job_id: int
    kind: str
    priority: int
    fence: int
    due: int


def claimable(tx: Transaction) -> list[Nudge]:
    """Return the jobs that could run now, most urgent first; of those with the same lock key only the oldest one.

    Jobs whose worker is gone are among them, since their lease has run out.
    """
    firsts = select(func.min(Job.id)).where(jobs.claimable(tx)).group_by(Job.lock_key)
    query = select(Job).where(Job.id.in_(firsts)).order_by(Job.priority, Job.id)
    return [
        Nudge(job.id, job.kind, job.priority, job.fence, job.not_before) for job in tx.session.execute(query).scalars()
    ]


def next_due(tx: Transaction) -> int | None:
    """Return when the next job that waits for its time is due (UTC microseconds), None when none waits."""
    return tx.session.execute(
        select(func.min(Job.not_before)).where(Job.state == "ready", Job.not_before > tx.now)
    ).scalar_one()
