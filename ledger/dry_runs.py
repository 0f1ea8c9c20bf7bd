"""Asking what a forget request would do: nothing is marked, suppressed or told, and the answer does not stay.

The answer is about particular people, so it lives for an hour, and shorter when records are removed: it was measured on
versions that know the removed ones, and dies with them. `removed` is called in the transaction that marks records,
`versions_replaced` in the one after which every model has a version without them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, exists, false, func, or_, select

from ledger import catalog, changes, contents, deadlines, folding, holds, jobs, selectors
from ledger.database import Transaction
from ledger.identity import AliasHasher
from ledger.tables import DryRun, ForgetRequest, Job, Model, ModelVersion, Record, Tenant

KEPT_US = 3_600_000_000
MOOT = "Moot: records that this dry run was about have been removed meanwhile. Ask again."


@dataclass(frozen=True, slots=True)
class Affected:
    """A model that serves, its active version, and those of its records that the request would remove."""

    model: Model
    version: ModelVersion
    rows: Sequence[folding.FeatureRows]


@dataclass(frozen=True, slots=True)
class Found:
    """What the request would select now; the fields are those of a forget request that was resolved."""

    records: int
    held: int
    in_core: int
    outcome: str
    due_at: int
    models: Sequence[Affected]


def ask(tx: Transaction, tenant_id: str, selector: selectors.Selector, hasher: AliasHasher, *, regulation: str) -> Job:
    """Add a dry run of a request for this selector, as of now. Raises as `requests.accept`, for the same selectors."""
    stored = selectors.store(tx, tenant_id, selector, hasher)
    job = jobs.add(tx, tenant_id, jobs.DRY_RUN, lock_key=f"dry_run:{tenant_id}")
    tx.session.add(
        DryRun(
            job_id=job.id,
            tenant_id=tenant_id,
            selector=stored,
            high_water=changes.current_sequence(tx, tenant_id),
            regulation=regulation,
            asked_at=tx.now,
        )
    )
    tx.session.flush()
    return job


def find(tx: Transaction, job_id: int) -> Found | None:
    """Return what the request would select, only reading; None when the dry run is moot."""
    row = tx.session.get(DryRun, job_id)
    if row is None or row.selector is None:
        return None
    selected, kept = _divide(tx, row)
    held = _count(tx, kept)
    leaving = and_(_condition(tx, row), Record.removed_seq.is_not(None))
    either = or_(selected, leaving)
    records, in_core = _count(tx, either), contents.in_core(tx, either)
    outcome = "partially_core" if in_core else "erased"
    if not records:
        outcome = "on_hold" if held else "no_match"
    return Found(
        records=records,
        held=held,
        in_core=in_core,
        outcome=outcome,
        due_at=deadlines.due_at(row.asked_at, row.regulation, tx.session.get_one(Tenant, row.tenant_id).time_zone),
        models=[] if not records else _affected(tx, row.selector["cohorts"], selected),
    )


def _divide(tx: Transaction, row: DryRun) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """Return the conditions on the records that would be removed, and on those that a hold would keep back."""
    present = and_(_condition(tx, row), Record.removed_seq.is_(None))
    on_hold = holds.subjects(tx, row.tenant_id)
    if on_hold is None:
        return present, false()
    free = or_(Record.subject_id.is_(None), Record.subject_id.not_in(on_hold))
    return and_(present, free), and_(present, Record.subject_id.in_(on_hold))


def _condition(tx: Transaction, row: DryRun) -> ColumnElement[bool]:
    return selectors.condition(tx, row.tenant_id, row.selector or {}, high_water=row.high_water)


def _count(tx: Transaction, condition: ColumnElement[bool]) -> int:
    return tx.session.execute(select(func.count()).select_from(Record).where(condition)).scalar_one()


def _affected(tx: Transaction, cohorts: list[str], selected: ColumnElement[bool]) -> list[Affected]:
    found = []
    for model in catalog.models_over(tx, cohorts, states=("ready",)):
        if model.active_version_id is not None:
            version = tx.session.get_one(ModelVersion, model.active_version_id)
            rows = folding.chosen(tx, model.id, selected, model.applied_seq or 0)
            found.append(Affected(model, version, rows))
    return found


def finish(tx: Transaction, claim: jobs.Claim, found: Found | None, result: dict[str, Any] | None) -> bool:
    """Keep the result for an hour, and let go of what was asked. Raises LeaseLost: moot, or taken over.

    False, and nothing is kept, when a model has another version by now: the result would outlive what it was measured
    on. The models are locked, so that none is published before this commits; not against rows that refer to them,
    which whoever waits for the job's row may have added.
    """
    jobs.check_fence(tx, claim)
    for one in () if found is None else found.models:
        query = select(Model).where(Model.id == one.model.id).with_for_update(key_share=True)
        model = tx.session.execute(query.execution_options(populate_existing=True)).scalar_one()
        if model.active_version_id != one.version.id:
            return False
    row = tx.session.get(DryRun, claim.job_id)
    if row is not None:
        row.selector, row.result, row.expires_at = None, result, tx.now + KEPT_US
    jobs.finish(tx, claim)
    return True


def results(tx: Transaction, job_ids: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Map jobs to the results of dry runs that have not expired."""
    query = select(DryRun).where(DryRun.job_id.in_(job_ids), DryRun.expires_at > tx.now)
    return {row.job_id: row.result for row in tx.session.execute(query).scalars() if row.result is not None}


def drop(tx: Transaction, job_id: int) -> None:
    """Let go of the question of a dry run that failed."""
    tx.session.execute(delete(DryRun).where(DryRun.job_id == job_id))


def drop_expired(tx: Transaction) -> int:
    """Delete results that are older than an hour; return how many."""
    return tx.session.connection().execute(delete(DryRun).where(DryRun.expires_at <= tx.now)).rowcount


def versions_replaced(tx: Transaction, tenant_id: str) -> None:
    """Delete every result: some were measured while a version still knew records that are removed now."""
    tx.session.execute(delete(DryRun).where(DryRun.tenant_id == tenant_id, DryRun.expires_at.is_not(None)))


def removed(tx: Transaction, request: ForgetRequest) -> None:
    """Delete every result, and stop dry runs that look at the records which the request has just removed.

    A dry run whose question names somebody of them ends as failed, since the answer has changed and the names must not
    wait. Any other that runs begins again.
    """
    versions_replaced(tx, request.tenant_id)
    waiting = select(DryRun).where(DryRun.tenant_id == request.tenant_id).order_by(DryRun.job_id)
    for row in tx.session.execute(waiting).scalars().all():
        query = select(Job).where(Job.id == row.job_id).with_for_update()
        job = tx.session.execute(query.execution_options(populate_existing=True)).scalar_one()
        concerned = _names_somebody(row) and _concerns(tx, row, request)
        if concerned or job.state in ("done", "failed"):
            tx.session.delete(row)
        if concerned and job.state in ("ready", "running"):
            job.state, job.error, job.finished_at, job.lease_until = "failed", MOOT, tx.now, None
            job.fence += 1
        elif job.state == "running":
            job.state, job.lease_until, job.attempts = "ready", None, 0
            job.fence += 1
    tx.session.flush()


def _names_somebody(row: DryRun) -> bool:
    return any(part in (row.selector or {}) for part in ("aliases", "keys"))


def _concerns(tx: Transaction, row: DryRun, request: ForgetRequest) -> bool:
    by_request = and_(
        Record.tenant_id == request.tenant_id, Record.removed_seq == request.seq, Record.request_id == request.id
    )
    return bool(tx.session.execute(select(exists().where(_condition(tx, row), by_request))).scalar_one())
