"""The transactions that let go of retired models: everything made for them, never the records of their cohorts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import and_, delete, func, or_, select

from ledger import dry_runs, events, generations, inventory, job_parts, jobs, leases, lines, requests, versions
from ledger.database import Transaction
from ledger.errors import NotFound
from ledger.tables import Destruction, FeatureShard, Job, Model, ModelVersion

NEWEST = 2**31 - 1  # no version number is as high: a lease on any version counts


@dataclass(frozen=True, slots=True)
class Condemned:
    """A retired model and the objects that its rows name. Those of its features are doomed and named by the store."""

    model_id: str
    line_id: str
    generation: int
    objects: tuple[str, ...]


def begin(tx: Transaction, claim: jobs.Claim) -> Condemned | None:
    """Return what the job is to destroy; None when that was done before. Raises LeaseLost."""
    assert claim.model_id is not None
    jobs.check_fence(tx, claim)
    model = tx.session.get_one(Model, claim.model_id, populate_existing=True)
    if model.state == "destroyed":
        return None
    place = generations.of(tx, model.id)
    named = [model.public_object, model.evaluation_object]
    for version in versions_of(tx, model.id):
        named += [version.weights_object, version.statistics_object]
    return Condemned(model.id, place.line_id, place.number, tuple(name for name in named if name is not None))


def in_use(tx: Transaction, model_id: str, *, clock_skew_us: int) -> tuple[int, int]:
    """Count the API processes that may still answer from a model, and the running jobs that may still work on it."""
    tenant_id = tx.session.get_one(Model, model_id).tenant_id
    looking = and_(Job.tenant_id == tenant_id, Job.kind == jobs.DRY_RUN)
    jobs_left = select(func.count()).where(
        or_(Job.model_id == model_id, looking),
        Job.state == "running",
        Job.kind != jobs.DESTROY,
        Job.lease_until >= tx.now,
    )
    answering = leases.stragglers(tx, model_id, NEWEST, clock_skew_us=clock_skew_us)
    return answering, tx.session.execute(jobs_left).scalar_one()


def let_go(tx: Transaction, claim: jobs.Claim, condemned: Condemned) -> None:
    """Doom every object of the model and delete the rows of its features. Raises LeaseLost."""
    jobs.check_fence(tx, claim)
    jobs.give_up(tx, condemned.model_id, "ModelRetired: the model is being destroyed")
    job_parts.drop_of_model(tx, condemned.model_id)
    of_model = FeatureShard.model_id == condemned.model_id
    features = list(tx.session.execute(select(FeatureShard.object_name).where(of_model)).scalars())
    inventory.doom(tx, [*condemned.objects, *features])
    tx.session.execute(delete(FeatureShard).where(of_model))
    inventory.doom_abandoned(tx, claim.tenant_id)
    dry_runs.versions_replaced(tx, claim.tenant_id)


def rows_left(tx: Transaction, model_id: str) -> int:
    """Count the rows of a model's features: none, once it was let go."""
    query = select(func.count()).select_from(FeatureShard).where(FeatureShard.model_id == model_id)
    return tx.session.execute(query).scalar_one()


def complete(tx: Transaction, claim: jobs.Claim, condemned: Condemned) -> Model:
    """Mark the model and its versions destroyed, free its name, and let waiting requests go on without it.

    The caller adds the certificate in the same transaction. Raises LeaseLost.
    """
    jobs.check_fence(tx, claim)
    generations.lock_line(tx, condemned.line_id)
    model = tx.session.get_one(Model, condemned.model_id, with_for_update=True, populate_existing=True)
    for version in versions_of(tx, model.id):
        if version.state != "destroyed":
            versions.mark_destroyed(tx, version)
    model.state, model.error, model.active_version_id = "destroyed", None, None
    model.public_object = model.evaluation_object = None
    if generations.of(tx, model.id).is_current:
        model.name = lines.beside(model.name, f"destroyed, {model.id}")
    tx.session.flush()
    events.append(tx, claim.tenant_id, "model.destroyed", model.id, generation=condemned.generation)
    requests.release_model(tx, model.id)
    return model


def add_certificate(tx: Transaction, model: Model, envelope: bytes) -> None:
    """Keep the signed statement of a model that is destroyed in this transaction."""
    tx.session.add(Destruction(model_id=model.id, tenant_id=model.tenant_id, envelope=envelope, created_at=tx.now))


def certificate(tx: Transaction, tenant_id: str, model_id: str, *, generation: int | None = None) -> bytes | None:
    """Return the signed statement of a destroyed generation (by default the one that the id stands for), or None.

    Raises NotFound.
    """
    model = generations.resolve(tx, tenant_id, model_id)
    if generation is not None:
        line = generations.all_of(tx, generations.of(tx, model.id).line_id)
        found = [one for place, one in line if place.number == generation]
        if not found:
            raise NotFound("generation", str(generation))
        model = found[0]
    row = tx.session.get(Destruction, model.id)
    return None if row is None else row.envelope


def versions_of(tx: Transaction, model_id: str) -> Sequence[ModelVersion]:
    """Return the versions of a model, oldest first."""
    query = select(ModelVersion).where(ModelVersion.model_id == model_id).order_by(ModelVersion.number)
    return tx.session.execute(query.execution_options(populate_existing=True)).scalars().all()
