"""Collecting forget requests, so that one new version serves several: per model a window, a minimum and a latest time.

A model is scrubbed when its window has passed since the oldest waiting request and at least `minimum` requests wait;
and in any case `latest` before the nearest legal deadline, however few there are.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select

from ledger import jobs
from ledger.database import Database, Transaction
from ledger.tables import ForgetRequest, Job, Model, ModelCohort, RequestModel

DAY_US = 86_400_000_000
LATEST_US = 7 * DAY_US
"""How long before a deadline a batch is begun when nothing else was said: time for retries, and for people."""
LONGEST_WINDOW_US = 31 * DAY_US


@dataclass(frozen=True, slots=True)
class Policy:
    """window_us: how long to collect. minimum: how many requests to wait for. latest_us: how long before a deadline to
    begin with whatever has come.
    """

    window_us: int = 0
    minimum: int = 1
    latest_us: int = LATEST_US

    def start_at(self, received_at: int, due_at: int) -> int:
        """Return when a request that waits alone is begun (UTC microseconds); `flush` brings it forward."""
        latest = max(received_at, due_at - self.latest_us)
        return latest if self.minimum > 1 else min(received_at + self.window_us, latest)


def policy_of(model: Model) -> Policy:
    """Return a model's policy."""
    latest_us = LATEST_US if model.batch_latest_us is None else model.batch_latest_us
    return Policy(model.batch_window_us, model.batch_minimum or 1, latest_us)


def set_policy(tx: Transaction, model: Model, policy: Policy) -> None:
    """Change a model's policy; what waits already may be begun earlier, never later."""
    model.batch_window_us, model.batch_minimum, model.batch_latest_us = (
        policy.window_us,
        policy.minimum,
        policy.latest_us,
    )
    tx.session.flush()
    waiting = _waiting(tx, model)
    if waiting:
        _begin_by(tx, model, min(policy.start_at(one.received_at, one.due_at) for one in waiting))
    _flush(tx, model)


def flush(database: Database) -> int:
    """Bring forward the work on models for which enough requests wait; return how many. Safe to run twice at once."""
    with database.read() as tx:
        collecting = list(
            tx.session.execute(
                select(Model.id)
                .where(Model.batch_minimum > 1, Model.state == "ready")
                .where(Job.model_id == Model.id, Job.kind == jobs.ADVANCE, Job.state == "ready")
                .where(Job.not_before > tx.now)
                .distinct()
            ).scalars()
        )
    begun = 0
    for model_id in collecting:
        with database.begin() as tx:
            begun += _flush(tx, tx.session.get_one(Model, model_id))
    return begun


def _flush(tx: Transaction, model: Model) -> bool:
    policy, waiting = policy_of(model), _waiting(tx, model)
    if not waiting:  # a job that was added while another one did its work: let it find that nothing is left to do
        return _begin_by(tx, model, tx.now)
    if len(waiting) < policy.minimum:
        return False
    return _begin_by(tx, model, min(one.received_at for one in waiting) + policy.window_us)


def _waiting(tx: Transaction, model: Model) -> list[ForgetRequest]:
    """Return the requests that the model's next version would serve: accepted over its cohorts, or resolved."""
    cohorts = set(tx.session.execute(select(ModelCohort.cohort_id).where(ModelCohort.model_id == model.id)).scalars())
    accepted = select(ForgetRequest).where(
        ForgetRequest.tenant_id == model.tenant_id, ForgetRequest.state == "accepted"
    )
    found = [
        row
        for row in tx.session.execute(accepted).scalars()
        if row.selector is not None and cohorts & set(row.selector["cohorts"])
    ]
    resolved = select(RequestModel.request_id).where(
        RequestModel.model_id == model.id, RequestModel.version_id.is_(None)
    )
    query = select(ForgetRequest).where(ForgetRequest.id.in_(resolved), ForgetRequest.state != "failed")
    return [*found, *tx.session.execute(query).scalars()]


def _begin_by(tx: Transaction, model: Model, at: int) -> bool:
    """Have the first of the model's waiting jobs begin at `at`, if none would by then. Returns whether none would."""
    mine = Job.model_id == model.id, Job.kind == jobs.ADVANCE, Job.state == "ready"
    first = select(Job).where(*mine).order_by(Job.not_before, Job.id).limit(1).with_for_update()
    job = tx.session.execute(first).scalar_one_or_none()
    if job is None or job.not_before <= max(at, tx.now):
        return False
    job.not_before = max(at, tx.now)
    return True
