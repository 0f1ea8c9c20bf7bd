"""Large jobs in parts: ranges of record shards that any number of workers do side by side.

A job that is too large splits itself: in one transaction its parts are added, each a job of its own, and it goes back
to `ready`. It cannot be claimed again before all of them have ended; then it collects them. So a job never runs beside
its parts, and a part never outlives the attempt that waits for it. Which shards are still to be done is asked of the
ledger anew by each part and by the job itself: a part that is lost, or done twice, changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select, update

from ledger import generations, inventory, jobs
from ledger.database import Database, Transaction
from ledger.tables import Job, JobPart, Model


@dataclass(frozen=True, slots=True)
class Share:
    """What one part is to do: record shards, given by their ids in the database's order, for a model."""

    model_id: str
    shard_ids: Sequence[str]


def split(tx: Transaction, claim: jobs.Claim, kind: str, shares: Sequence[Share], *, upto: int | None = None) -> None:
    """Add a part for each share, and put the job back until they have ended. Raises LeaseLost.

    upto: of sums, the sequence number up to which records are summed.
    """
    for share in shares:
        # A lock key of its own: no two parts exclude each other.
        job = jobs.add(
            tx,
            claim.tenant_id,
            kind,
            lock_key=f"part:{tx.new_id()}",
            model_id=share.model_id,
            upload_id=claim.upload_id,
        )
        tx.session.add(
            JobPart(
                job_id=job.id,
                parent_id=claim.job_id,
                first_shard=share.shard_ids[0],
                last_shard=share.shard_ids[-1],
                shards=len(share.shard_ids),
                upto=upto,
            )
        )
    parent = jobs.check_fence(tx, claim)
    parent.note = _note(0, sum(len(share.shard_ids) for share in shares), len(shares))
    jobs.put_back(tx, claim, not_before=tx.now)


def of(tx: Transaction, claim: jobs.Claim) -> JobPart | None:
    """Return which part a claimed job is; None when nobody waits for it any more."""
    return tx.session.get(JobPart, claim.job_id, populate_existing=True)


def report(database: Database, claim: jobs.Claim, done: int) -> None:
    """Note how many of its shards a part has done, in its own row and in that of the job that waits. Raises LeaseLost.

    Two transactions: one that locked both rows could wait in a circle with one that gives all of a model's jobs up.
    """
    with database.begin() as tx:
        job, part = jobs.check_fence(tx, claim), of(tx, claim)
        if part is None:
            return
        part.done = min(done, part.shards)
        job.progress = part.done / max(part.shards, 1)
        parent_id = part.parent_id
    tell_parent(database, parent_id)


def finish(tx: Transaction, claim: jobs.Claim, object_name: str | None = None) -> None:
    """Mark a part done, with the object that holds what it has summed. Raises LeaseLost, ObjectMissing."""
    jobs.finish(tx, claim)
    part = of(tx, claim)
    if part is not None:
        part.done, part.object_name = part.shards, object_name
        inventory.enliven(tx, [] if object_name is None else [object_name])
    elif object_name is not None:
        inventory.doom(tx, [object_name])


def tell_parent(database: Database, parent_id: int) -> None:
    """Write into a waiting job how far its parts are. It counts as waiting since then: somebody is at work on it."""
    with database.begin() as tx:
        total = select(func.sum(JobPart.done), func.sum(JobPart.shards), func.count()).where(
            JobPart.parent_id == parent_id
        )
        done, shards, parts = tx.session.execute(total).one()
        if not parts:
            return
        waiting = update(Job).where(Job.id == parent_id, Job.state == "ready")
        tx.session.execute(
            waiting.values(progress=done / max(shards, 1), note=_note(done, shards, parts), not_before=tx.now)
        )


def _note(done: int, shards: int, parts: int) -> str:
    return f"{done} of {shards} shards are done, in {parts} parts"


def show_error(tx: Transaction, claim: jobs.Claim, error: str) -> None:
    """Show in the waiting job why a part of it is tried again."""
    part = of(tx, claim)
    if part is not None:
        waiting = update(Job).where(Job.id == part.parent_id, Job.state == "ready")
        tx.session.execute(waiting.values(error=error))


def collect(tx: Transaction, claim: jobs.Claim) -> list[str]:
    """Let go of the parts of a claimed job, and return the errors of those that failed. Raises LeaseLost.

    They do not stay failed: it is the job itself that can be retried. A retired model's parts are nobody's failure.
    """
    jobs.check_fence(tx, claim)
    mine = select(JobPart.job_id).where(JobPart.parent_id == claim.job_id)
    if claim.kind == jobs.ADVANCE:
        mine = select(JobPart.job_id).where(JobPart.job_id.in_([part.job_id for part in sums(tx, claim)]))
    ids = list(tx.session.execute(mine).scalars())
    gone = select(Model.id).where(Model.state.in_(generations.GONE))
    failed = select(Job).where(Job.id.in_(ids), Job.state == "failed", Job.model_id.not_in(gone))
    errors = []
    for job in tx.session.execute(failed.order_by(Job.id).with_for_update()).scalars():
        errors.append(job.error or "")
        job.state, job.error, job.note = "done", None, f"failed; job {claim.job_id} shows why"
    tx.session.flush()
    jobs.drop_parts(tx, JobPart.job_id.in_(ids))
    return errors


def sums(tx: Transaction, claim: jobs.Claim) -> list[JobPart]:
    """Return the parts that have summed rows for the first version of a claimed job's model, if it was split."""
    of_model = select(Job.id).where(Job.model_id == claim.model_id, Job.kind == jobs.SUM_PART)
    return list(tx.session.execute(select(JobPart).where(JobPart.job_id.in_(of_model))).scalars())


def drop_of_model(tx: Transaction, model_id: str) -> None:
    """Let go of every part of a model, and of what was summed for it."""
    jobs.drop_parts(tx, JobPart.job_id.in_(select(Job.id).where(Job.model_id == model_id)))
