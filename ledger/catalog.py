"""Cohorts and models: what there is to learn from and what has been learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import func, select

from ledger import changes, core_imports, events, generations, jobs, paging
from ledger.database import Transaction
from ledger.errors import NameTaken, NotFound, WrongCohortKind
from ledger.tables import Base, Cohort, Generation, Model, ModelCohort, ModelVersion, Record, Upload

T = TypeVar("T", bound=Base)


def get_cohort(tx: Transaction, tenant_id: str, cohort_id: str) -> Cohort:
    """Return a cohort of this tenant. Raises NotFound."""
    return _get(tx, Cohort, "cohort", tenant_id, cohort_id)


def get_model(tx: Transaction, tenant_id: str, model_id: str) -> Model:
    """Return the model of this tenant that an id stands for: of a line, its current generation. Raises NotFound."""
    return generations.resolve(tx, tenant_id, model_id)


def _get(tx: Transaction, table: type[T], what: str, tenant_id: str, row_id: str) -> T:
    row = tx.session.get(table, row_id)
    if row is None or getattr(row, "tenant_id", None) != tenant_id:
        raise NotFound(what, row_id)
    return row


def id_of_name(tx: Transaction, tenant_id: str, name: str) -> str | None:
    """Return the id of the tenant's model that goes by this name, None if none does."""
    query = select(Generation.line_id).join(Model, Model.id == Generation.model_id)
    query = query.where(Generation.is_current, Model.tenant_id == tenant_id, Model.name == name)
    return tx.session.execute(query).scalar_one_or_none()


def list_cohorts(
    tx: Transaction, tenant_id: str, *, limit: int | None = None, after: paging.Position | None = None
) -> Sequence[Cohort]:
    """Return the tenant's cohorts, oldest first; `after`: when the last one before was made, and its id."""
    query = select(Cohort).where(Cohort.tenant_id == tenant_id)
    query = paging.ordered(query, (Cohort.created_at, False), (Cohort.id, False), after=after, limit=limit)
    return tx.session.execute(query).scalars().all()


def list_models(
    tx: Transaction, tenant_id: str, *, limit: int | None = None, after: paging.Position | None = None
) -> Sequence[Model]:
    """Return the tenant's models, oldest first: of each the current generation, unless it was destroyed.

    `after`: when the last one before was made, and its row's id.
    """
    current = select(Generation.model_id).where(Generation.is_current)
    query = select(Model).where(Model.tenant_id == tenant_id, Model.id.in_(current), Model.state != "destroyed")
    query = paging.ordered(query, (Model.created_at, False), (Model.id, False), after=after, limit=limit)
    return tx.session.execute(query).scalars().all()


def create_cohort(
    tx: Transaction,
    tenant_id: str,
    *,
    name: str,
    kind: str,
    shape: list[int],
    dtype: str,
    class_names: list[str],
    layout: str | None = None,
    missing: str | None = None,
    column_names: list[str] | None = None,
    retention_days: int | None = None,
) -> Cohort:
    """Add a cohort of `kind` core or user. None leaves a property of the records' form at its default.

    Raises NameTaken.
    """
    changes.lock_sequence(tx, tenant_id)  # whoever takes the same name at this moment comes after
    taken = select(Cohort.id).where(Cohort.tenant_id == tenant_id, Cohort.name == name)
    if tx.session.execute(taken).first():
        raise NameTaken("cohort", name)
    cohort = Cohort(
        id=tx.new_id(),
        tenant_id=tenant_id,
        name=name,
        kind=kind,
        shape=shape,
        dtype=dtype,
        class_names=class_names,
        layout=layout,
        missing=missing,
        column_names=column_names,
        retention_days=retention_days,
        created_at=tx.now,
    )
    tx.session.add(cohort)
    tx.session.flush()
    events.append(tx, tenant_id, "cohort.created", cohort.id, cohort_kind=kind)
    return cohort


def count_records(tx: Transaction, cohort_id: str) -> int:
    """Count a cohort's records, without those that are to be forgotten and corrections that are on their way."""
    query = select(func.count()).select_from(Record).where(Record.cohort_id == cohort_id, Record.removed_seq.is_(None))
    coming = Upload.corrects.is_(True), Upload.added_seq.is_(None), Upload.state != "failed"
    corrections = select(Upload.id).where(Upload.cohort_id == cohort_id, *coming)
    uploads = list(tx.session.execute(corrections).scalars())
    return tx.session.execute(query.where(Record.upload_id.not_in(uploads)) if uploads else query).scalar_one()


@dataclass(frozen=True, slots=True)
class ModelPlan:
    """Everything about a model that is fixed when it is registered. All of it is public.

    alpha: target of the right class. mu: ridge of the mean loss, or None and mu_grid: the candidates from which every
    version's statistics choose it. residual_budget: largest norm of the retained loss's gradient (float error included)
    at which weights are published; None derives it from the quantization plan and mu. bandwidth: of nystrom, as a share
    of the median distance.
    capacity: most records the statistics can hold. leaky: Leaky-ReLU in place of ReLU. input_size: height and width
    that images are brought to, None: as they are stored. core_import_id: the core is not trained but imported, with
    core_head "keep" or "retrain".
    solver: exact, krylov or sgd. noise: isotropic, inverse_hessian or None; sigma: its scale, None to plan it from core
    data for exposure_budget nats; kappa: nats that one version of krylov or sgd may tell about the forgotten.
    """

    name: str
    core_cohort_id: str
    user_cohort_ids: tuple[str, ...]
    evaluation_cohort_id: str | None
    architecture: str
    feature_map: str
    width: int | None
    alpha: float
    mu: float | None
    residual_budget: float | None
    capacity: int
    epochs: int
    seed: int
    mu_grid: tuple[float, ...] | None = None
    bandwidth: float | None = None
    leaky: bool = False
    input_size: tuple[int, int] | None = None
    core_import_id: str | None = None
    core_head: str | None = None
    solver: str = "exact"
    noise: str | None = None
    sigma: float | None = None
    kappa: float | None = None
    exposure_budget: float | None = None


def form(cohort: Cohort) -> tuple[object, ...]:
    """Return everything in which the cohorts of one model must be equal."""
    return cohort.shape, cohort.dtype, cohort.class_names, cohort.layout, cohort.missing, cohort.column_names


@dataclass(frozen=True, slots=True)
class Place:
    """Where a successor stands in its line, when it takes over (manual | when_ready), and what a rollback restores."""

    line_id: str
    number: int
    cut_over: str
    restores: int | None


def register_model(
    tx: Transaction, tenant_id: str, plan: ModelPlan, *, model_id: str | None = None, place: Place | None = None
) -> tuple[Model, int]:
    """Add a model and the job that trains its core. Returns the model and the job's number.

    Without a `place` it is the first generation of a line of its own.

    Raises NotFound, NameTaken, WrongCohortKind.
    """
    changes.lock_sequence(tx, tenant_id)  # whoever takes the same name at this moment comes after
    taken = select(Model.id).where(Model.tenant_id == tenant_id, Model.name == plan.name)
    if tx.session.execute(taken).first():
        raise NameTaken("model", plan.name)
    public = [plan.core_cohort_id] + ([plan.evaluation_cohort_id] if plan.evaluation_cohort_id else [])
    core = get_cohort(tx, tenant_id, plan.core_cohort_id)
    for cohort_id, kind in [(i, "core") for i in public] + [(i, "user") for i in plan.user_cohort_ids]:
        cohort = get_cohort(tx, tenant_id, cohort_id)
        if cohort.kind != kind:
            raise WrongCohortKind(cohort.name, got=cohort.kind, needed=kind)
        if form(cohort) != form(core):
            raise WrongCohortKind(
                cohort.name, got="another shape, type, form or classes", needed=f"those of {core.name}"
            )
    if plan.core_import_id is not None:
        core_imports.get(tx, tenant_id, plan.core_import_id)
    model = Model(
        id=model_id or tx.new_id(),
        tenant_id=tenant_id,
        name=plan.name,
        state="training",
        core_cohort_id=plan.core_cohort_id,
        evaluation_cohort_id=plan.evaluation_cohort_id,
        architecture=plan.architecture,
        feature_map=plan.feature_map,
        width=plan.width,
        bandwidth=plan.bandwidth,
        alpha=plan.alpha,
        mu=plan.mu,
        mu_grid=None if plan.mu_grid is None else list(plan.mu_grid),
        residual_budget=plan.residual_budget,
        capacity=plan.capacity,
        epochs=plan.epochs,
        seed=plan.seed,
        leaky=plan.leaky or None,
        input_size=None if plan.input_size is None else list(plan.input_size),
        core_import_id=plan.core_import_id,
        core_head=plan.core_head,
        solver=plan.solver,
        noise=plan.noise,
        sigma=plan.sigma,
        kappa=plan.kappa,
        exposure_budget=plan.exposure_budget,
        batch_window_us=0,
        created_at=tx.now,
    )
    tx.session.add(model)
    tx.session.flush()
    tx.session.add(
        Generation(
            model_id=model.id,
            tenant_id=tenant_id,
            line_id=model.id if place is None else place.line_id,
            number=1 if place is None else place.number,
            is_current=place is None,
            cut_over=None if place is None else place.cut_over,
            restores=None if place is None else place.restores,
            created_at=tx.now,
        )
    )
    for cohort_id in dict.fromkeys(plan.user_cohort_ids):
        tx.session.add(ModelCohort(model_id=model.id, cohort_id=cohort_id))
    job = jobs.add(tx, tenant_id, jobs.TRAIN_CORE, lock_key=f"public:{model.id}", model_id=model.id)
    events.append(tx, tenant_id, "model.registered", model.id, core_cohort=plan.core_cohort_id)
    return model, job.id


def user_cohorts(tx: Transaction, model_id: str) -> list[str]:
    """Return the ids of the cohorts that a model learns from."""
    return list(tx.session.execute(select(ModelCohort.cohort_id).where(ModelCohort.model_id == model_id)).scalars())


def models_over(tx: Transaction, cohort_ids: list[str], *, states: tuple[str, ...] | None = None) -> Sequence[Model]:
    """Return the models that learn from any of these cohorts, in a fixed order."""
    over = select(ModelCohort.model_id).where(ModelCohort.cohort_id.in_(cohort_ids))
    query = select(Model).where(Model.id.in_(over)).order_by(Model.id)
    if states is not None:
        query = query.where(Model.state.in_(states))
    return tx.session.execute(query).scalars().all()


def get_version(tx: Transaction, tenant_id: str, model_id: str, number: int) -> ModelVersion:
    """Return a version of any generation of a model's line: numbers are unique there. Raises NotFound."""
    model = get_model(tx, tenant_id, model_id)
    query = select(ModelVersion).join(Generation, Generation.model_id == ModelVersion.model_id)
    line_id = generations.of(tx, model.id).line_id
    found = tx.session.execute(query.where(Generation.line_id == line_id, ModelVersion.number == number))
    version = found.scalar_one_or_none()
    if version is None:
        raise NotFound("version", str(number))
    return version


def list_versions(
    tx: Transaction,
    tenant_id: str,
    model_id: str,
    *,
    limit: int | None = None,
    after: paging.Position | None = None,
) -> Sequence[tuple[ModelVersion, int]]:
    """Return the versions of a model's line with the numbers of their generations, newest first. Raises NotFound.

    `after`: the number of the last one before.
    """
    line_id = generations.of(tx, get_model(tx, tenant_id, model_id).id).line_id
    query = select(ModelVersion, Generation.number).join(Generation, Generation.model_id == ModelVersion.model_id)
    query = query.where(Generation.line_id == line_id)
    query = paging.ordered(query, (ModelVersion.number, True), after=after, limit=limit)
    return [(row[0], row[1]) for row in tx.session.execute(query)]
