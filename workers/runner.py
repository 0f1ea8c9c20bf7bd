"""Running one job: claim, heartbeat, work, and what happens when it fails."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog
from sqlalchemy.exc import DBAPIError
from structlog.contextvars import bound_contextvars

from ledger import dry_runs, generations, job_parts, jobs, requests
from ledger.database import Transaction
from ledger.errors import (
    LeaseLost,
    LedgerError,
    LineageBroken,
    ModelRetired,
    PublishConflict,
    StoreFailed,
    StoreFull,
    StoreReadOnly,
)
from ledger.tables import Model
from unlearning.errors import UnlearningError
from workers import advance, apart, destroy, dry_run, ingest, purge, rebuild, summing, train_core
from workers.deps import Deps
from workers.errors import Outdated, PartFailed, StillServed, StillWorked, StillWritten, WorkerLost, WorkError

Run = Callable[[Deps, jobs.Claim], None]

RUN: dict[str, Run] = {
    jobs.TRAIN_CORE: train_core.run,
    jobs.INGEST_MODEL: ingest.run_model,
    jobs.INGEST_UPLOAD: ingest.run_upload,
    jobs.INGEST_PART: ingest.run_part,
    jobs.ADVANCE: advance.run,
    jobs.SUM_PART: summing.run_part,
    jobs.PURGE: purge.run,
    jobs.REBUILD: rebuild.run,
    jobs.DESTROY: destroy.run,
    jobs.DRY_RUN: dry_run.run,
}
SERVE_REQUESTS = (jobs.ADVANCE, jobs.PURGE, jobs.DESTROY, jobs.INGEST_UPLOAD)
# These say that the world moved on, not that the work is wrong: try again, without counting.
MOVED_ON = (Outdated, PublishConflict, StillServed, StillWorked, StillWritten)
# These say that the disk is full or read-only: try again for as long as it takes, and show why.
NO_ROOM = (StoreFull, StoreReadOnly)
BACKOFF_US = 200_000
COUNTED_WITHOUT_ROOM = 5  # attempts, so that the pause stays below ten seconds

log = structlog.get_logger(__name__)


def run_next(deps: Deps) -> bool:
    """Claim and run one job. False when there was none to run."""
    claim = jobs.claim(deps.ledger.database, deps.worker, lease_us=deps.lease_us)
    if claim is None:
        return False
    run_claimed(deps, claim)
    return True


def run_claimed(deps: Deps, claim: jobs.Claim) -> None:
    """Run a claimed job to its end. Whatever it raises becomes a fact about the job, or (a lost lease) nothing.

    Everything that is logged meanwhile in this thread, by whatever the job calls, bears the job's number.
    """
    with bound_contextvars(job=claim.job_id, kind=claim.kind, fence=claim.fence):
        _run_claimed(deps, claim)


def _run_claimed(deps: Deps, claim: jobs.Claim) -> None:
    facts = log.bind(job=claim.job_id, kind=claim.kind, fence=claim.fence)
    if claim.attempts > jobs.MAX_ATTEMPTS:  # an attempt that ends in an error never gets this far
        problem = WorkerLost(claim.attempts - 1)
        facts.error("job failed", error=str(problem), attempt=claim.attempts)
        with _noting(deps, claim) as tx:
            _fail(tx, claim, f"WorkerLost: {problem}")
        return
    try:
        deps.point(f"{claim.kind}.claimed")
        with heartbeat(deps, claim):
            RUN[claim.kind](deps, claim)
        facts.info("job done")
    except LeaseLost:
        facts.warning("lease lost; another worker has the job")
    except MOVED_ON as problem:
        facts.info("job steps aside", why=type(problem).__name__)
        with _noting(deps, claim) as tx:
            _put_back(tx, claim, error=None)
    except NO_ROOM as problem:
        message = f"{type(problem).__name__}: {problem}"
        facts.error("no room to work; trying again", error=message)
        with _noting(deps, claim) as tx:
            _put_back(tx, claim, error=message, at_most=COUNTED_WITHOUT_ROOM)
            if claim.kind in (*SERVE_REQUESTS, jobs.SUM_PART):
                requests.show_waiting(tx, claim.tenant_id, claim.model_id, message)
    except (UnlearningError, WorkError, LedgerError, DBAPIError, OSError, MemoryError) as problem:
        message = f"{type(problem).__name__}: {_safe_message(problem)}"
        facts.error("job failed", error=message, attempt=claim.attempts)
        if _goes_on_without(deps, claim, problem, message):
            return
        with _noting(deps, claim) as tx:
            if _is_final(problem) or _attempts(tx, claim) >= jobs.MAX_ATTEMPTS:
                _fail(tx, claim, message)
            else:
                _put_back(tx, claim, error=message)


def _goes_on_without(deps: Deps, claim: jobs.Claim, problem: Exception, message: str) -> bool:
    """Whether the requests that cannot be done were told apart, and the job goes on with the others."""
    if not apart.is_due(claim, problem):
        return False
    try:
        with heartbeat(deps, claim):
            return apart.go_on_without(deps, claim, message)
    except (UnlearningError, WorkError, LedgerError, DBAPIError) as worse:
        log.warning("requests not told apart", job=claim.job_id, why=type(worse).__name__)
        return False


def _safe_message(problem: Exception) -> str:
    """Return a message without statement parameters, which a database error would carry along."""
    return str(problem.orig) if isinstance(problem, DBAPIError) else str(problem)


def _is_final(problem: Exception) -> bool:
    """Whether trying again cannot help: refused by the mathematics, retired, or to be repaired by a person.

    A part that failed has had all its attempts.
    """
    return isinstance(problem, UnlearningError | ModelRetired | LineageBroken | PartFailed)


@contextmanager
def _noting(deps: Deps, claim: jobs.Claim) -> Iterator[Transaction]:
    """Write down what became of an attempt. What cannot be written is left to whoever takes the job over."""
    try:
        with deps.ledger.database.begin() as tx:
            yield tx
    except (LedgerError, DBAPIError) as problem:
        log.warning("end of attempt not noted; its lease will run out", job=claim.job_id, why=type(problem).__name__)


def _attempts(tx: Transaction, claim: jobs.Claim) -> int:
    """Return how many attempts count now: fewer than at the claim if the job has got further since."""
    return jobs.check_fence(tx, claim).attempts


def _put_back(tx: Transaction, claim: jobs.Claim, *, error: str | None, at_most: int | None = None) -> None:
    # A job that steps aside waits too: without that the most urgent one would be claimed again before any other.
    attempts = min(_attempts(tx, claim), 6 if at_most is None else at_most)
    wait_us = BACKOFF_US if error is None else BACKOFF_US * 2**attempts
    jobs.put_back(tx, claim, not_before=tx.now + wait_us, error=error, at_most=at_most)
    if claim.kind in jobs.PARTS and error is not None:
        job_parts.show_error(tx, claim, error)


def _fail(tx: Transaction, claim: jobs.Claim, message: str) -> None:
    jobs.fail(tx, claim, message)
    if claim.kind in (jobs.TRAIN_CORE, jobs.INGEST_MODEL) and claim.model_id is not None:
        model = tx.session.get_one(Model, claim.model_id, with_for_update=True, populate_existing=True)
        if model.state not in generations.GONE:  # such a one is released once it is destroyed
            model.state, model.error = "failed", message
            requests.release_model(tx, claim.model_id)
    if claim.kind == jobs.DRY_RUN:
        dry_runs.drop(tx, claim.job_id)
    if claim.kind in SERVE_REQUESTS:
        requests.mark_stuck(tx, claim.tenant_id, claim.model_id, message, upload_id=claim.upload_id)


@contextmanager
def heartbeat(deps: Deps, claim: jobs.Claim) -> Iterator[None]:
    """Renew the claim's lease from a thread for as long as the block runs."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(deps.lease_us / 1e6 / 3):
            try:
                jobs.renew(deps.ledger.database, claim, lease_us=deps.lease_us)
            except LeaseLost:
                return  # the job finds out when it publishes
            except (StoreFailed, DBAPIError) as problem:
                log.warning("lease not renewed", job=claim.job_id, why=type(problem).__name__)

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
