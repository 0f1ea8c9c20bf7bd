"""Models: registering them and looking at them."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from annotated_types import Len
from fastapi import APIRouter, Request, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from ledger import catalog, core_imports, generations, jobs, quotas, tables, versions
from ledger.database import Transaction
from ledger.errors import ModelRetired, NameTaken, NotFound, QuotaExceeded, StoreFull, WrongCohortKind
from service.api.conditional import TAGGED, tag
from service.api.network_plan import network_plan
from service.api.paging import NEXT_PAGE, Paged
from service.api.schemas import Body, Id, Items, ModelId, Name
from service.auth import ADMIN, Principal, needs
from service.context import context_of
from service.errors import documented
from service.idempotency import REFUSALS, Retryable
from service.moments import when
from service.refusals import CursorRefused, PlanRefused
from unlearning.architectures import Architectures
from unlearning.choose_map import AUTO
from unlearning.core_training import EPOCHS
from unlearning.errors import ArchitectureRefused, UnknownArchitecture
from unlearning.feature_maps import FEATURE_MAPS, map_options
from unlearning.gcv import DEFAULT_GRID
from unlearning.public_model import DEFAULT_ALPHA
from unlearning.quantization import DEFAULT_CAPACITY

router = APIRouter(prefix="/v1/models", tags=["models"])

DEFAULT_MU = 0.01
DEFAULT_KAPPA = 1e-3
_READERS = ("models:write", "data:write", "forget:write", "predict", "audit:read")
MAP_NAMES = (*FEATURE_MAPS, AUTO)


def known_map(name: str) -> str:
    """Return the name of a registered feature map or `auto`. Raises ValueError."""
    if name not in MAP_NAMES:
        raise ValueError(f"known feature maps: {', '.join(MAP_NAMES)}")
    return name


FeatureMapName = Annotated[str, AfterValidator(known_map), Field(json_schema_extra={"enum": list(MAP_NAMES)})]
Positive = Annotated[float, Field(gt=0, le=1e12, allow_inf_nan=False)]


class Configuration(Body):
    """How a model learns. Nothing of it can be changed later; a successor may have another."""

    evaluation_cohort: Id | None = Field(None, description="A core cohort on which accuracy is measured.")
    architecture: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")] | None = Field(
        None,
        description="The core network: small-cnn, mlp, all-cnn, cifar-resnet-20, resnet18, resnet50, or one that the "
        "operator allows. By default that of the imported core, else small-cnn for images and mlp for tables.",
    )
    leaky: bool = Field(False, description="Leaky-ReLU (slope 0.01) in the place of ReLU. An import has its own.")
    input_size: Annotated[list[Annotated[int, Field(ge=1, le=4096)]], Len(2, 2)] | None = Field(
        None, description="Height and width that images are brought to. An imported core's are taken anyway."
    )
    core_import: Id | None = Field(None, description="The core is not trained but imported.")
    head: Literal["keep", "retrain"] | None = Field(
        None,
        description="The imported core's output layer: `keep` (the default) needs as many classes as the cohort has; "
        "`retrain` replaces it by a ridge regression on the core cohort.",
    )
    feature_map: FeatureMapName = Field(
        "pooled",
        description="What the user weights see: the last layer (`head`), all layers (`pooled`), a kernel on core "
        "landmarks (`nystrom`), or the network's Jacobian along directions in its parameters, which are those of the "
        "core's Fisher information (`tangent`) or random (`tangent-random`). `auto`: whichever of the first three is "
        "best by cross-validation on the core cohort, whose name then stands here.",
    )
    width: Annotated[int, Field(ge=2, le=65536)] | None = Field(
        None,
        description="Features of `nystrom`; directions of tangent maps, 256 by default, which is few: thousands were "
        "needed to come near `pooled` (docs/results.md).",
    )
    bandwidth: Annotated[float, Field(ge=0.01, le=100)] | None = Field(
        None, description="Of the kernel of `nystrom`, as a share of the median distance between core records; 1."
    )
    alpha: Positive = Field(DEFAULT_ALPHA, description="Target of the right class.")
    mu: Positive | Literal["gcv"] = Field(
        DEFAULT_MU,
        description="Ridge of the mean loss. `gcv`: chosen for every version anew, from its retained records alone, by "
        "generalized cross-validation over a fixed list of candidates.",
    )
    solver: Literal["exact", "krylov", "sgd"] = Field(
        "exact",
        description="How weights are found from the statistics, which are exact under every solver. krylov and sgd "
        "start at the last published weights and need noise; what misses kappa is solved exactly instead.",
    )
    noise: Literal["none", "isotropic", "inverse_hessian"] = Field(
        "none", description="Added once to every version's weights before they are published."
    )
    sigma: Positive | None = Field(None, description="Scale of the noise. By default planned from core records.")
    kappa: Positive | None = Field(
        None, description="With noise: nats that one version's solve may tell about the forgotten; 0.001."
    )
    exposure_budget: Positive | None = Field(
        None,
        description="With noise: nats that all versions together may tell about a record that is in them. What would "
        "exceed it is not published.",
    )
    residual_budget: Positive | None = Field(
        None, description="Largest norm of the loss's gradient, float error included, at which weights are published."
    )
    capacity: int = Field(DEFAULT_CAPACITY, ge=1, le=2**40, description="Most records it will ever hold.")
    epochs: int = Field(EPOCHS, ge=1, le=10_000, description="Epochs of the core network's training.")
    seed: int = Field(0, ge=0, le=2**63 - 1, description="Fixes all randomness of the training.")


class NewModel(Configuration):
    """A model to be made."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "scans", "core_cohort": "0" * 32, "user_cohorts": ["1" * 32]}]}
    )
    name: Name = Field(description="Any name that the tenant has not used.")
    core_cohort: Id = Field(description="Public records that the core network is trained on.")
    user_cohorts: Annotated[list[Id], Len(1, 1000)] = Field(description="Whose records it learns, and can forget.")


class Model(BaseModel):
    """A model and how far it is."""

    id: str = Field(description="Stays, whichever generation answers. A successor beside it has an id of its own.")
    name: str
    state: str = Field(description="training, ingesting, ready, failed, retiring or destroyed.")
    generation: int = Field(description="Which configuration of the model this is, counted from 1.")
    cut_over: str | None = Field(description="Of a successor: manual, or when_ready. null: it answers under its id.")
    successor: str | None = Field(description="The id of the generation that is being made beside this one.")
    core_cohort: str
    user_cohorts: list[str]
    evaluation_cohort: str | None
    architecture: str
    leaky: bool
    input_size: list[int] | None = Field(description="Height and width that images are brought to; null: as stored.")
    core_import: str | None = Field(description="null: the core was trained here.")
    head: str | None = Field(description="Of an imported core: keep or retrain.")
    feature_map: str
    width: int | None
    bandwidth: float | None
    alpha: float
    mu: float | Literal["gcv"]
    mu_grid: list[float] | None = Field(description="With `gcv`: the candidates. The chosen one is in `measured`.")
    solver: str
    noise: str
    sigma: float | None = Field(description="null without noise, and until it is planned from core records.")
    kappa: float | None
    exposure_budget: float | None
    residual_budget: float | None
    capacity: int
    epochs: int
    seed: int
    applied_seq: int | None = Field(description="How far in the sequence of changes the active version is.")
    active_version: int | None
    public_digest: str | None = Field(description="SHA-256 of everything public about the model.")
    error: str | None
    created_at: str


class Registered(BaseModel):
    """A model that was registered, and the job that trains its core."""

    model: Model
    job: int


class JobStarted(BaseModel):
    """The job that was started."""

    job: int


def shown(tx: Transaction, model: tables.Model) -> Model:
    """Return a model as it is answered."""
    active = versions.active(tx, model.id)
    place = generations.of(tx, model.id)
    beside = generations.successor(tx, place.line_id) if place.is_current else None
    return Model(
        id=generations.public_id(place),
        name=model.name,
        state=model.state,
        generation=place.number,
        cut_over=place.cut_over,
        successor=None if beside is None else beside[1].id,
        core_cohort=model.core_cohort_id,
        user_cohorts=catalog.user_cohorts(tx, model.id),
        evaluation_cohort=model.evaluation_cohort_id,
        architecture=model.architecture,
        leaky=bool(model.leaky),
        input_size=model.input_size,
        core_import=model.core_import_id,
        head=model.core_head,
        feature_map=model.feature_map,
        width=model.width,
        bandwidth=model.bandwidth,
        alpha=model.alpha,
        mu="gcv" if model.mu is None else model.mu,
        mu_grid=model.mu_grid,
        solver=model.solver,
        noise=model.noise or "none",
        sigma=model.sigma,
        kappa=model.kappa,
        exposure_budget=model.exposure_budget,
        residual_budget=model.residual_budget,
        capacity=model.capacity,
        epochs=model.epochs,
        seed=model.seed,
        applied_seq=model.applied_seq,
        active_version=None if active is None else active.number,
        public_digest=model.public_digest,
        error=model.error,
        created_at=when(model.created_at),
    )


@router.post(
    "",
    status_code=202,
    summary="Register a model",
    responses=documented(
        NotFound,
        NameTaken,
        WrongCohortKind,
        PlanRefused,
        UnknownArchitecture,
        ArchitectureRefused,
        StoreFull,
        *REFUSALS,
        QuotaExceeded,
    ),
)
def create(
    body: NewModel, request: Request, principal: Annotated[Principal, needs("models:write")], once: Retryable
) -> Registered:
    """A worker trains the core, or reads the imported one, adds the user records and publishes the first version."""
    context = context_of(request.scope)
    once.look(context.ledger, principal.tenant_id)
    with context.ledger.database.read() as tx:
        core = catalog.get_cohort(tx, principal.tenant_id, body.core_cohort)
        imported = core_imports.get(tx, principal.tenant_id, body.core_import) if body.core_import else None
    planned = plan(body, core, imported, context.architectures)  # outside: trying a network takes a while
    with once.begin(context.ledger, principal.tenant_id) as tx:
        quotas.require_room_for_model(tx, principal.tenant_id, context.settings.max_models)
        model, job_id = catalog.register_model(tx, principal.tenant_id, planned)
        registered = Registered(model=shown(tx, model), job=job_id)
        once.answer(tx, registered, 202, Location=f"/v1/jobs/{job_id}")
    context.on_accepted()
    return registered


def plan(
    body: NewModel, core: tables.Cohort, imported: tables.CoreImport | None, architectures: Architectures
) -> catalog.ModelPlan:
    """Return what is to be registered, tried out as far as that is quick.

    Raises PlanRefused, OutOfRange, UnknownArchitecture, ArchitectureRefused.
    """
    chosen = network_plan(body, core, imported)
    choices = frozenset[str]() if body.feature_map == AUTO else map_options(body.feature_map)
    if body.width is not None and "width" not in choices:
        raise PlanRefused("width", f"the feature map {body.feature_map} has the width that its network gives it")
    if body.bandwidth is not None and "bandwidth" not in choices:
        raise PlanRefused("bandwidth", f"the feature map {body.feature_map} leaves no choice of it")
    _check_noise(body)
    classes = len(core.class_names)
    architectures.build(chosen.architecture, chosen.input_shape, classes, torch.Generator(), leaky=chosen.leaky)
    return catalog.ModelPlan(
        name=body.name,
        core_cohort_id=body.core_cohort,
        user_cohort_ids=tuple(body.user_cohorts),
        evaluation_cohort_id=body.evaluation_cohort,
        architecture=chosen.architecture,
        leaky=chosen.leaky,
        input_size=chosen.input_size,
        core_import_id=body.core_import,
        core_head=chosen.head,
        feature_map=body.feature_map,
        width=body.width,
        bandwidth=body.bandwidth,
        alpha=body.alpha,
        mu=None if body.mu == "gcv" else body.mu,
        mu_grid=DEFAULT_GRID if body.mu == "gcv" else None,
        residual_budget=body.residual_budget,
        capacity=body.capacity,
        epochs=body.epochs,
        seed=body.seed,
        solver=body.solver,
        noise=None if body.noise == "none" else body.noise,
        sigma=body.sigma,
        kappa=None if body.noise == "none" else body.kappa or DEFAULT_KAPPA,
        exposure_budget=body.exposure_budget,
    )


def _check_noise(body: Configuration) -> None:
    """Raise PlanRefused: a solver that needs noise and has none, or what does not go with or without noise."""
    if body.noise != "none":
        if body.mu == "gcv":
            raise PlanRefused("mu", "with noise everything that fixes its size must be public, so mu must be a number")
        return
    if body.solver != "exact":
        raise PlanRefused(
            "noise", f"{body.solver} stops near the optimum, and only noise bounds what the rest of the way would tell"
        )
    for name in ("sigma", "kappa", "exposure_budget"):
        if getattr(body, name) is not None:
            raise PlanRefused(name, f"{name} describes noise, and the model has none")


@router.get("", summary="List the models", responses=NEXT_PAGE | documented(CursorRefused))
def list_all(request: Request, principal: Annotated[Principal, needs(*_READERS)], page: Paged) -> Items[Model]:
    """The models of the tenant, oldest first."""
    with context_of(request.scope).ledger.database.read() as tx:
        found = catalog.list_models(tx, principal.tenant_id, limit=page.limit, after=page.after(int, str))
        return Items(items=[shown(tx, model) for model in page.cut(found, lambda row: (row.created_at, row.id))])


@router.get("/{model_id}", summary="Show a model", responses=TAGGED | documented(NotFound))
def show(
    model_id: ModelId, request: Request, response: Response, principal: Annotated[Principal, needs(*_READERS)]
) -> Model:
    """One model. It answers predictions once it has an active version. Its ETag changes with every version."""
    with context_of(request.scope).ledger.database.read() as tx:
        found = shown(tx, catalog.get_model(tx, principal.tenant_id, model_id))
    tag(response, found)
    return found


@router.post(
    "/{model_id}/rebuild",
    status_code=202,
    summary="Compute everything anew",
    responses=documented(NotFound, ModelRetired),
)
def rebuild(
    model_id: ModelId, request: Request, response: Response, principal: Annotated[Principal, needs(ADMIN)]
) -> JobStarted:
    """The statistics are summed up anew from the stored records and compared, byte for byte, with those in use.

    The job's result says whether they are equal. Only for `admin`: it reads every record.
    """
    context = context_of(request.scope)
    with context.ledger.database.begin() as tx:
        model = generations.require_alive(tx, catalog.get_model(tx, principal.tenant_id, model_id).id)
        lock = f"rebuild:{model.id}"
        job_id = jobs.add(tx, principal.tenant_id, jobs.REBUILD, lock_key=lock, model_id=model.id).id
    context.on_accepted()
    response.headers["Location"] = f"/v1/jobs/{job_id}"
    return JobStarted(job=job_id)
