"""Jobs: durable work with a lease and a fence.

`ready -> running -> done`, or `failed` after too many attempts (visible, and it can be retried).
If a worker dies while `running`, its lease runs out and the next claim takes the job over with a higher fence;
whatever the dead worker still does afterwards is refused, because it holds the lower one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, exists, func, null, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import aliased

from ledger import deferrals, inventory, paging, stuck
from ledger.database import Database, Transaction
from ledger.errors import LeaseLost, ModelRetired, NotFound, WrongState
from ledger.tables import ForgetRequest, Job, JobPart, Model
from ledger.webhooks import outbox

TRAIN_CORE, INGEST_MODEL, INGEST_UPLOAD, INGEST_PART, SUM_PART, ADVANCE, PURGE, REBUILD, DESTROY, DRY_RUN = (
    "train_core",
    "ingest_model",
    "ingest_upload",
    "ingest_part",
    "sum_part",
    "advance",
    "purge",
    "rebuild",
    "destroy",
    "dry_run",
)
# Forgetting goes first; bulk work is cut into slices and steps aside for it.
PRIORITY = {
    PURGE: 0,
    ADVANCE: 1,
    DESTROY: 2,
    DRY_RUN: 3,
    TRAIN_CORE: 5,
    SUM_PART: 5,
    REBUILD: 6,
    INGEST_MODEL: 7,
    INGEST_UPLOAD: 7,
    INGEST_PART: 7,
}
PARTS = (INGEST_PART, SUM_PART)
"""Kinds of jobs that are parts of larger ones (ledger/job_parts.py)."""
MAX_ATTEMPTS = 8
"""Attempts without progress after which a job fails: few enough to end a crash loop. See `progressed`."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A job that this worker holds until `lease_until`, under fence number `fence`."""

    job_id: int
    fence: int
    tenant_id: str
    kind: str
    model_id: str | None
    upload_id: str | None
    attempts: int

    @property
    def owner(self) -> str:
        """The name under which this claim's unfinished objects are booked."""
        return f"job:{self.job_id}:{self.fence}"


def add(
    tx: Transaction,
    tenant_id: str,
    kind: str,
    *,
    lock_key: str,
    model_id: str | None = None,
    upload_id: str | None = None,
    not_before: int | None = None,
) -> Job:
    """Add a job in the caller's transaction: it exists exactly when the caller's change does."""
    job = Job(
        tenant_id=tenant_id,
        kind=kind,
        state="ready",
        priority=PRIORITY[kind],
        lock_key=lock_key,
        model_id=model_id,
        upload_id=upload_id,
        not_before=tx.now if not_before is None else not_before,
        created_at=tx.now,
    )
    tx.session.add(job)
    tx.session.flush()
    return job


def add_advance(tx: Transaction, tenant_id: str, model_id: str, *, not_before: int | None = None) -> Job:
    """Ask for a model to be brought up to the newest change. It waits until the model is ready."""
    return add(tx, tenant_id, ADVANCE, lock_key=f"advance:{model_id}", model_id=model_id, not_before=not_before)


def add_purge(tx: Transaction, tenant_id: str, *, not_before: int | None = None) -> Job:
    """Ask for everything that a published removal left behind to be destroyed."""
    return add(tx, tenant_id, PURGE, lock_key=f"purge:{tenant_id}", not_before=not_before)


def add_destroy(tx: Transaction, tenant_id: str, model_id: str) -> Job:
    """Ask for a retired model to be destroyed. Never at the same time as a purge: both rewrite and delete features."""
    return add(tx, tenant_id, DESTROY, lock_key=f"purge:{tenant_id}", model_id=model_id)


def claim(
    database: Database,
    worker: str,
    *,
    lease_us: int,
    kinds: tuple[str, ...] | None = None,
    only: int | None = None,
) -> Claim | None:
    """Take the most urgent job that can run now (or the job of number `only`, if it can), or None.

    A job can run when it is due, no running job holds its lock key, (for `advance`) its model is ready, and its parts,
    if it has any, have ended; a running job whose lease has expired can be taken over. Other ready `advance` and
    `purge` jobs of the same lock key are absorbed: what they asked for was committed before this claim, so this run
    does it too.
    """
    try:
        with database.begin() as tx:
            job = tx.session.execute(_candidates(tx, kinds, only)).scalars().first()
            if job is None:
                return None
            job.state = "running"
            job.worker = worker
            job.fence += 1
            job.attempts += 1
            job.lease_until = tx.now + lease_us
            job.started_at = job.started_at or tx.now
            tx.session.flush()
            if job.kind in (ADVANCE, PURGE):
                _absorb(tx, job)
            return Claim(job.id, job.fence, job.tenant_id, job.kind, job.model_id, job.upload_id, job.attempts)
    except IntegrityError:
        return None  # another worker began a job with the same lock key a moment ago


def claimable(tx: Transaction) -> ColumnElement[bool]:
    """Return the condition on jobs that a worker could claim at this moment."""
    rival = aliased(Job)
    free = ~exists().where(rival.lock_key == Job.lock_key, rival.state == "running")
    model_ready = exists().where(Model.id == Job.model_id, Model.state == "ready")
    ready = and_(
        Job.state == "ready",
        Job.not_before <= tx.now,
        free,
        or_(Job.kind.not_in((ADVANCE, REBUILD)), model_ready),
        ~_has_open_parts(),
    )
    expired = and_(Job.state == "running", Job.lease_until < tx.now)
    retired = exists().where(Model.id == Job.model_id, Model.state.in_(("retiring", "destroyed")))
    return and_(or_(ready, expired), or_(Job.kind == DESTROY, ~retired))


def _has_open_parts() -> ColumnElement[bool]:
    """Return the condition on jobs that a part is to be done before; nobody waits for those of a retired model."""
    part = aliased(Job)
    retired = exists().where(Model.id == part.model_id, Model.state.in_(("retiring", "destroyed")))
    is_open = and_(part.id == JobPart.job_id, part.state.in_(("ready", "running")), ~retired)
    # Whichever `advance` of a model comes first uses what was summed for it: it may absorb the one that asked for it.
    summed_for = and_(Job.kind == ADVANCE, part.kind == SUM_PART, part.model_id == Job.model_id)
    return exists().where(or_(JobPart.parent_id == Job.id, summed_for), is_open).correlate(Job)


def _candidates(tx: Transaction, kinds: tuple[str, ...] | None, only: int | None) -> Any:
    query = select(Job).where(claimable(tx)).order_by(Job.priority, Job.id).limit(1)
    if only is not None:
        query = query.where(Job.id == only)
    if kinds is not None:
        query = query.where(Job.kind.in_(kinds))
    if tx.session.get_bind().dialect.name == "postgresql":
        query = query.with_for_update(skip_locked=True, of=Job)
    return query


def _absorb(tx: Transaction, job: Job) -> None:
    # A row that another worker looks at is left alone: waiting for it while it waits for our lock key is a deadlock.
    same = (
        select(Job.id)
        .where(
            Job.lock_key == job.lock_key,
            Job.kind == job.kind,
            Job.state == "ready",
            # One that waits for its batch has never been begun; one that waits after an error keeps its attempts.
            or_(Job.not_before <= tx.now, and_(Job.kind == ADVANCE, Job.attempts == 0)),
            Job.id != job.id,
        )
        .with_for_update(skip_locked=True)
    )
    tx.session.execute(
        update(Job)
        .where(Job.id.in_(same))
        .values(state="done", note=f"done by job {job.id}", finished_at=tx.now, progress=1.0)
    )


def check_fence(tx: Transaction, claim: Claim) -> Job:
    """Return the claimed job's row, locked; raise LeaseLost when the lease has run out or another worker took over."""
    query = select(Job).where(Job.id == claim.job_id).with_for_update()
    job = tx.session.execute(query).scalar_one()
    if job.state != "running" or job.fence != claim.fence or (job.lease_until or 0) < tx.now:
        raise LeaseLost(claim.job_id)
    return job


def renew(database: Database, claim: Claim, *, lease_us: int) -> None:
    """Prolong the lease. Raises LeaseLost when it had run out already: what has expired stays expired."""
    with database.begin() as tx:
        check_fence(tx, claim).lease_until = tx.now + lease_us


def report(database: Database, claim: Claim, progress: float, note: str | None = None) -> None:
    """Write how far the job is (0 to 1), for people who watch."""
    with database.begin() as tx:
        job = check_fence(tx, claim)
        job.progress = min(max(progress, 0.0), 1.0)
        job.note = note if note is not None else job.note


def progressed(tx: Transaction, claim: Claim) -> None:
    """Forget the attempts so far, in the transaction in which the job got further for good. Raises LeaseLost.

    Only for work that an earlier attempt left undone, and of which there is less now. What a job does for newcomers
    does not count: else a job that always dies at the same place would never fail while there are newcomers.
    """
    check_fence(tx, claim).attempts = 0


def finish(tx: Transaction, claim: Claim, result: dict[str, Any] | None = None) -> None:
    """Mark the job done in the caller's transaction. Raises LeaseLost."""
    job = check_fence(tx, claim)
    job.state, job.progress, job.finished_at, job.lease_until = "done", 1.0, tx.now, None
    job.result, job.error = result, None


def put_back(
    tx: Transaction, claim: Claim, *, not_before: int, error: str | None = None, at_most: int | None = None
) -> None:
    """Make the job ready again: a slice is done, or it must wait. Without `error` the attempt does not count.

    With `at_most` no more attempts than that are counted, however many there are: it may go on failing for days.
    """
    job = check_fence(tx, claim)
    if at_most is not None:
        job.attempts = min(job.attempts, at_most)
    job.state, job.not_before, job.lease_until, job.error = "ready", not_before, None, error
    if error is None:
        job.attempts = 0


def fail(tx: Transaction, claim: Claim, error: str) -> Job:
    """Mark the job failed for good (until somebody retries it). Raises LeaseLost."""
    job = check_fence(tx, claim)
    job.state, job.error, job.finished_at, job.lease_until = "failed", error, tx.now, None
    outbox.job_failed(tx, job.tenant_id, job.id, job.kind, job.model_id)
    return job


def leave_failed(tx: Transaction, claim: Claim, error: str) -> Job:
    """Leave a failed job behind that can be retried, for what the claimed one goes on without. Raises LeaseLost."""
    claimed = check_fence(tx, claim)
    same = select(Job).where(Job.lock_key == claimed.lock_key, Job.kind == claim.kind, Job.state == "failed")
    job = tx.session.execute(same.order_by(Job.id).limit(1).with_for_update()).scalar_one_or_none()
    if job is None:
        job = add(tx, claim.tenant_id, claim.kind, lock_key=claimed.lock_key, model_id=claim.model_id)
    job.state, job.error, job.finished_at = "failed", error, tx.now
    tx.session.flush()
    return job


def give_up_ready(tx: Transaction, model_id: str, error: str) -> None:
    """Fail the jobs of a model that nobody has begun."""
    _give_up(tx, and_(Job.model_id == model_id, Job.kind != DESTROY, Job.state == "ready"), error)


def give_up(tx: Transaction, model_id: str, error: str) -> None:
    """Fail every job of a model that has not ended, running ones too: what they still do is refused by the fence."""
    _give_up(tx, and_(Job.model_id == model_id, Job.kind != DESTROY, Job.state.in_(("ready", "running"))), error)


def _give_up(tx: Transaction, condition: ColumnElement[bool], error: str) -> None:
    statement = update(Job).where(condition).execution_options(synchronize_session="fetch")
    values = {"state": "failed", "error": error, "finished_at": tx.now, "lease_until": None, "fence": Job.fence + 1}
    ids = list(tx.session.execute(statement.values(values).returning(Job.id)).scalars())
    for start in range(0, len(ids), 500):  # nobody waits for a part that was given up
        own = ids[start : start + 500]
        drop_parts(tx, or_(JobPart.job_id.in_(own), JobPart.parent_id.in_(own)))


def drop_parts(tx: Transaction, condition: ColumnElement[bool]) -> None:
    """Let go of these parts: nobody waits for them any more, and the objects with what they have summed are doomed."""
    gone = delete(JobPart).where(condition).returning(JobPart.object_name)
    names = tx.session.execute(gone.execution_options(synchronize_session=False)).scalars()
    inventory.doom(tx, list(names))


def get(tx: Transaction, tenant_id: str, job_id: int) -> Job:
    """Return a job of this tenant. Raises NotFound."""
    job = tx.session.get(Job, job_id)
    if job is None or job.tenant_id != tenant_id:
        raise NotFound("job", str(job_id))
    return job


def list_newest(
    tx: Transaction, tenant_id: str, *, state: str | None = None, limit: int = 100, after: paging.Position | None = None
) -> Sequence[Job]:
    """Return the newest jobs, at most `limit`: in a state, or all but parts, since their jobs show how far they are.

    `after`: the number of the last one before.
    """
    wanted = Job.kind.not_in(PARTS) if state is None else Job.state == state
    query = select(Job).where(Job.tenant_id == tenant_id, wanted)
    return tx.session.execute(paging.ordered(query, (Job.id, True), after=after, limit=limit)).scalars().all()


def retry(tx: Transaction, tenant_id: str, job_id: int) -> Job:
    """Make a failed job ready again; the requests that it serves are stuck no longer.

    Raises NotFound, WrongState, ModelRetired.
    """
    get(tx, tenant_id, job_id)
    query = select(Job).where(Job.id == job_id).with_for_update().execution_options(populate_existing=True)
    job = tx.session.execute(query).scalar_one()
    if job.state != "failed":
        raise WrongState("job", job.state, "failed")
    if job.kind == DRY_RUN:
        raise WrongState("job", "a dry run, and what it asked was let go of", "of another kind")
    model = None if job.model_id is None or job.kind == DESTROY else tx.session.get_one(Model, job.model_id)
    if model is not None and model.state in ("retiring", "destroyed"):
        raise ModelRetired(model.state)
    job.state, job.attempts, job.not_before, job.finished_at, job.error = "ready", 0, tx.now, None, None
    if job.kind in (ADVANCE, PURGE, DESTROY, INGEST_UPLOAD):
        served = stuck.served_by(tenant_id, job.model_id, job.upload_id)
        tx.session.execute(update(ForgetRequest).where(served, ForgetRequest.state != "failed").values(error=None))
    if job.kind == ADVANCE and job.model_id is not None:
        deferrals.take_up(tx, tenant_id, job.model_id)
    if job.kind in (ADVANCE, PURGE):
        deferrals.reopen(tx, tenant_id, purging=job.kind == PURGE)
    return job


def longest_wait(tx: Transaction) -> int:
    """Return for how long the oldest job that is due has waited, in microseconds; 0 when none waits."""
    query = select(func.min(Job.not_before)).where(Job.state == "ready", Job.not_before <= tx.now)
    oldest = tx.session.execute(query).scalar_one()
    return 0 if oldest is None else tx.now - oldest


def drop_counts(tx: Transaction, upload_ids: Sequence[str]) -> None:
    """Take out of the jobs of uploads how much of them the core holds too: it counts a record that is forgotten."""
    query = select(Job).where(Job.kind == INGEST_UPLOAD, Job.upload_id.in_(upload_ids), Job.result.is_not(None))
    for job in tx.session.execute(query).scalars():
        rest = {name: value for name, value in (job.result or {}).items() if name != "in_core"}
        kept = rest or null()  # not None: that would be stored as JSON's null
        tx.session.execute(update(Job).where(Job.id == job.id).values(result=kept))


def drop_measured(tx: Transaction, model_id: str) -> None:
    """Take what finished jobs measured on a model out of their rows: kinds of errors and pass or fail are left.

    A residual in an error, or a count in a result, may come from statistics that still knew a forgotten record.
    """
    query = select(Job).where(Job.model_id == model_id, Job.state.in_(("done", "failed")))
    for job in tx.session.execute(query.where(or_(Job.error.is_not(None), Job.result.is_not(None)))).scalars():
        if job.error is not None:
            job.error = job.error.partition(":")[0]
        if job.kind == REBUILD and job.result is not None:
            job.result = {"equal": job.result.get("equal")}
