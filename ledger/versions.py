"""Publishing model versions by compare-and-swap, and destroying old ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select, update

from ledger import events, generations, inventory, jobs, lines, requests
from ledger.database import Transaction
from ledger.errors import PublishConflict
from ledger.tables import Generation, Model, ModelVersion


@dataclass(frozen=True, slots=True)
class NewVersion:
    """A version that has passed its checks and is ready to be published.

    started_from: `applied_seq` of the version it was made from (None for the first).
    checks: pass or fail of each check, and public constants. measured: for the operator, dies with the version.
    """

    model_id: str
    started_from: int | None
    applied_seq: int
    anchor: bool
    weights_object: str
    statistics_object: str
    weights_commitment: str
    statistics_commitment: str
    solver_fingerprint: str
    checks: dict[str, Any]
    measured: dict[str, Any]


def next_number(tx: Transaction, model_id: str) -> int:
    """Return the number of the model's next version. No two versions of a line have the same; its row is locked."""
    line_id = generations.of(tx, model_id).line_id
    line = select(Generation.model_id).where(Generation.line_id == line_id)
    newest = select(func.max(ModelVersion.number)).where(ModelVersion.model_id.in_(line))
    return (tx.session.execute(newest).scalar_one() or 0) + 1


def publish(tx: Transaction, claim: jobs.Claim, new: NewVersion) -> ModelVersion:
    """Make `new` the active version, if the model still stands where it started from and the claim still holds.

    The old version is superseded and its objects doomed; requests whose models have all passed become published.
    If it is a successor's, and that was asked for, the successor takes over.

    Raises LeaseLost, PublishConflict, ModelRetired; nothing has changed then.
    """
    jobs.check_fence(tx, claim)
    generations.lock_line(tx, generations.of(tx, new.model_id).line_id)
    generations.require_alive(tx, new.model_id)
    stands = Model.applied_seq.is_(None) if new.started_from is None else Model.applied_seq == new.started_from
    version_id = tx.new_id()
    swapped = tx.session.execute(
        update(Model)
        .where(Model.id == new.model_id, stands)
        .values(applied_seq=new.applied_seq, active_version_id=version_id)
        .execution_options(synchronize_session=False)
        .returning(Model.tenant_id)
    ).first()
    if swapped is None:
        raise PublishConflict(new.model_id)
    before = active(tx, new.model_id)
    if before is not None:
        before.state = "superseded"
        inventory.doom(tx, [before.weights_object, before.statistics_object])
    number = next_number(tx, new.model_id)
    version = ModelVersion(
        id=version_id,
        tenant_id=swapped.tenant_id,
        model_id=new.model_id,
        number=number,
        state="active",
        applied_seq=new.applied_seq,
        anchor_number=number if new.anchor or before is None else before.anchor_number,
        weights_object=new.weights_object,
        statistics_object=new.statistics_object,
        weights_commitment=new.weights_commitment,
        statistics_commitment=new.statistics_commitment,
        solver_fingerprint=new.solver_fingerprint,
        checks=new.checks,
        measured=new.measured,
        created_at=tx.now,
    )
    tx.session.add(version)
    inventory.enliven(tx, [new.weights_object, new.statistics_object])
    tx.session.flush()
    events.append(
        tx,
        swapped.tenant_id,
        "version.published",
        version_id,
        model=new.model_id,
        number=number,
        seq=new.applied_seq,
        anchor=version.anchor_number,
        weights=new.weights_commitment,
        statistics=new.statistics_commitment,
        checks=new.checks,
    )
    requests.model_passed(tx, new.model_id, version_id, new.applied_seq)
    if before is not None:
        jobs.add_purge(tx, swapped.tenant_id)
    lines.cut_over_if_due(tx, new.model_id)
    return version


def active(tx: Transaction, model_id: str) -> ModelVersion | None:
    """Return the version that answers queries now, if the model has one."""
    query = select(ModelVersion).where(ModelVersion.model_id == model_id, ModelVersion.state == "active")
    return tx.session.execute(query).scalar_one_or_none()


def superseded(tx: Transaction, tenant_id: str) -> Sequence[ModelVersion]:
    """Return versions that nobody should answer from any more and that are not destroyed yet."""
    query = select(ModelVersion).where(ModelVersion.tenant_id == tenant_id, ModelVersion.state == "superseded")
    return tx.session.execute(query.order_by(ModelVersion.created_at)).scalars().all()


def mark_destroyed(tx: Transaction, version: ModelVersion) -> None:
    """Note that a version's objects are gone; what was measured on it goes with it."""
    version.state, version.destroyed_at, version.measured = "destroyed", tx.now, None
    version.weights_object = version.statistics_object = None
    events.append(tx, version.tenant_id, "version.destroyed", version.id, model=version.model_id, number=version.number)


def confirm(tx: Transaction, claim: jobs.Claim, version: ModelVersion, *, started_from: int | None, upto: int) -> None:
    """Note that the active version is also right for `upto`: no change since then concerns its records.

    Raises LeaseLost, PublishConflict, ModelRetired.
    """
    jobs.check_fence(tx, claim)
    generations.lock_line(tx, generations.of(tx, version.model_id).line_id)
    generations.require_alive(tx, version.model_id)
    moved = tx.session.execute(
        update(Model)
        .where(Model.id == version.model_id, Model.applied_seq == started_from, Model.active_version_id == version.id)
        .values(applied_seq=upto)
        .execution_options(synchronize_session=False)
        .returning(Model.id)
    ).first()
    if moved is None:
        raise PublishConflict(version.model_id)
    requests.model_passed(tx, version.model_id, version.id, upto)
    lines.cut_over_if_due(tx, version.model_id)
