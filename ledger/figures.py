"""Figures about one tenant's work that name nobody: for those who watch the service."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.orm import InstrumentedAttribute

from ledger.database import Transaction
from ledger.tables import ForgetRequest, Job, ModelVersion

OPEN = ("accepted", "scrubbing", "published", "purging", "failed")
STATES = (*OPEN, "completed", "cancelled")
JOB_STATES = ("ready", "running", "done", "failed")
_CHECK = re.compile(r"CheckFailed: The check '([a-z ]{1,40})' failed")


@dataclass(frozen=True, slots=True)
class Durations:
    """How many there were, and how many seconds they took together."""

    count: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Backlog:
    """What is to be done at one moment, counted by indexes: cheap however many requests there ever were.

    `queue_age_s`: for how long the oldest due job has waited. `deadline_s`: seconds to the nearest deadline of an open
    request, below zero when it is over, None when no request is open.
    """

    requests: Mapping[str, int]
    jobs: Mapping[str, int]
    queue_age_s: float
    deadline_s: float | None
    overdue: int


@dataclass(frozen=True, slots=True)
class Figures(Backlog):
    """What a tenant's ledger says at one moment.

    `scrubbing`: from receiving a request to models that do not know the records. `completing`: from receiving it to its
    certificate. `versions`: published ones, each of which has passed every check. `failing`: jobs whose last attempt a
    check has stopped, by the check's name.
    """

    scrubbing: Durations
    completing: Durations
    versions: int
    failing: Mapping[str, int]


def backlog(tx: Transaction, tenant_id: str) -> Backlog:
    """Count what is to be done. Every query goes by the tenant."""
    mine, my_jobs = ForgetRequest.tenant_id == tenant_id, Job.tenant_id == tenant_id
    is_open = mine & ForgetRequest.state.in_(OPEN)
    due_at = tx.session.execute(select(func.min(ForgetRequest.due_at)).where(is_open)).scalar_one()
    waiting = select(func.min(Job.not_before)).where(my_jobs, Job.state == "ready", Job.not_before <= tx.now)
    waiting_since = tx.session.execute(waiting).scalar_one()
    overdue = select(func.count()).select_from(ForgetRequest).where(is_open, ForgetRequest.due_at < tx.now)
    by_state = select(ForgetRequest.state, func.count()).where(mine).group_by(ForgetRequest.state)
    jobs_by_state = select(Job.state, func.count()).where(my_jobs).group_by(Job.state)
    return Backlog(
        requests=dict.fromkeys(STATES, 0) | _counts(tx, by_state),
        jobs=dict.fromkeys(JOB_STATES, 0) | _counts(tx, jobs_by_state),
        queue_age_s=0.0 if waiting_since is None else (tx.now - waiting_since) / 1e6,
        deadline_s=None if due_at is None else (due_at - tx.now) / 1e6,
        overdue=tx.session.execute(overdue).scalar_one(),
    )


def figures(tx: Transaction, tenant_id: str) -> Figures:
    """Count, and add up over all requests that there ever were. Every query goes by the tenant."""
    mine, my_jobs = ForgetRequest.tenant_id == tenant_id, Job.tenant_id == tenant_id
    versions = select(func.count()).select_from(ModelVersion).where(ModelVersion.tenant_id == tenant_id)
    now = backlog(tx, tenant_id)
    return Figures(
        requests=now.requests,
        jobs=now.jobs,
        queue_age_s=now.queue_age_s,
        deadline_s=now.deadline_s,
        overdue=now.overdue,
        scrubbing=_durations(tx, mine, ForgetRequest.published_at),
        completing=_durations(tx, mine, ForgetRequest.completed_at),
        versions=tx.session.execute(versions).scalar_one(),
        failing=_failing(tx, my_jobs),
    )


def _counts(tx: Transaction, query: Select[str, int]) -> dict[str, int]:
    return {row[0]: row[1] for row in tx.session.execute(query)}


def _durations(tx: Transaction, mine: ColumnElement[bool], until: InstrumentedAttribute[int | None]) -> Durations:
    query = select(func.count(), func.sum(until - ForgetRequest.received_at)).where(mine, until.is_not(None))
    count, micros = tx.session.execute(query).one()
    return Durations(count, float(micros or 0) / 1e6)


def _failing(tx: Transaction, my_jobs: ColumnElement[bool]) -> Counter[str]:
    query = select(Job.error).where(my_jobs, Job.state != "done", Job.error.like("CheckFailed:%"))
    found = (_CHECK.match(error or "") for error in tx.session.execute(query).scalars())
    return Counter(match[1] for match in found if match)
