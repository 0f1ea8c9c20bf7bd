"""A model's generations: another configuration beside it, the moment when that takes over, and the way back."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from ledger import catalog, core_imports, generations, lines, quotas
from ledger.errors import (
    ModelRetired,
    NotFound,
    QuotaExceeded,
    StoreFull,
    SuccessorNotReady,
    SuccessorPending,
    WrongCohortKind,
)
from service.api.models import Configuration, Model, NewModel, Registered, plan, shown
from service.api.schemas import Body, Id, Items, ModelId
from service.auth import Principal, needs
from service.context import context_of
from service.errors import documented
from service.idempotency import REFUSALS, Retryable
from service.moments import when
from service.refusals import PlanRefused
from unlearning.errors import ArchitectureRefused, UnknownArchitecture

router = APIRouter(prefix="/v1/models", tags=["generations"])

_READERS = ("models:write", "audit:read")
PLANS_SIGMA = frozenset(
    ("core_cohort", "core_import", "head", "architecture", "leaky", "input_size", "feature_map", "width", "bandwidth",
     "alpha", "mu", "kappa", "exposure_budget", "epochs", "seed")
)  # fmt: skip
"""What a planned sigma follows from."""
CutOver = Annotated[
    Literal["manual", "when_ready"],
    Field(
        description="`when_ready`: it takes over by itself as soon as it has passed every change that the model has."
    ),
]


def _without_defaults(schema: dict[str, Any]) -> None:
    """Describe what is left out as what it is: unchanged."""
    for name, one in schema["properties"].items():
        if name != "cut_over":
            one.pop("default", None)


class NewSuccessor(Configuration):
    """What the next generation has otherwise. Whatever is left out stays as it is, but for `residual_budget`.

    `sigma` stays as long as everything stays that it could have been planned for.
    """

    model_config = ConfigDict(json_schema_extra=_without_defaults)
    core_cohort: Id | None = Field(None, description="Public records that the core network is trained on.")
    cut_over: CutOver = "manual"


class Rollback(Body):
    """Which configuration to go back to."""

    to: int = Field(ge=1, le=2**31 - 1, description="The number of an earlier generation.")
    cut_over: CutOver = "when_ready"


class Generation(BaseModel):
    """A configuration that the model has, had, or is to have."""

    number: int
    id: str
    state: str = Field(description="training, ingesting, ready, failed, retiring or destroyed.")
    current: bool = Field(description="Whether the model's id and name stand for it.")
    restores: int | None = Field(description="After a rollback: the generation whose configuration this one has.")
    feature_map: str
    architecture: str
    created_at: str


class CutOverDone(BaseModel):
    """The model as it is from now on, and the job that destroys the old generation."""

    model: Model
    job: int


@router.get("/{model_id}/generations", summary="List a model's generations", responses=documented(NotFound))
def list_all(
    model_id: ModelId, request: Request, principal: Annotated[Principal, needs(*_READERS)]
) -> Items[Generation]:
    """All generations, newest first, destroyed ones too."""
    with context_of(request.scope).ledger.database.read() as tx:
        model = catalog.get_model(tx, principal.tenant_id, model_id)
        found = generations.all_of(tx, generations.of(tx, model.id).line_id)
    return Items(
        items=[
            Generation(
                number=place.number,
                id=one.id,
                state=one.state,
                current=place.is_current,
                restores=place.restores,
                feature_map=one.feature_map,
                architecture=one.architecture,
                created_at=when(one.created_at),
            )
            for place, one in reversed(found)
        ]
    )


@router.post(
    "/{model_id}/successor",
    status_code=202,
    summary="Register a model's next generation",
    responses=documented(
        NotFound,
        ModelRetired,
        SuccessorPending,
        WrongCohortKind,
        PlanRefused,
        UnknownArchitecture,
        ArchitectureRefused,
        StoreFull,
        *REFUSALS,
        QuotaExceeded,
    ),
)
def succeed(
    body: NewSuccessor,
    model_id: ModelId,
    request: Request,
    principal: Annotated[Principal, needs("models:write")],
    once: Retryable,
) -> Registered:
    """It trains and learns beside the model, over the same user cohorts; both obey every forget request.

    Queries go on being answered by the current generation until the successor takes over.
    """
    context = context_of(request.scope)
    once.look(context.ledger, principal.tenant_id)
    with context.ledger.database.read() as tx:
        model = catalog.get_model(tx, principal.tenant_id, model_id)
        line_id = generations.of(tx, model.id).line_id
        wanted = merged(body, lines.plan_of(tx, model))
        core = catalog.get_cohort(tx, principal.tenant_id, wanted.core_cohort)
        imported = core_imports.get(tx, principal.tenant_id, wanted.core_import) if wanted.core_import else None
    planned = plan(wanted, core, imported, context.architectures)  # outside: trying a network takes a while
    with once.begin(context.ledger, principal.tenant_id) as tx:
        quotas.require_room_for_model(tx, principal.tenant_id, context.settings.max_models)
        made = lines.register_successor(tx, line_id, planned, cut_over=body.cut_over)
        registered = Registered(model=shown(tx, made[0]), job=made[1])
        once.answer(tx, registered, 202, Location=f"/v1/jobs/{registered.job}")
    context.on_accepted()
    return registered


@router.post(
    "/{model_id}/rollback",
    status_code=202,
    summary="Go back to an earlier configuration",
    responses=documented(
        NotFound, ModelRetired, SuccessorPending, WrongCohortKind, StoreFull, *REFUSALS, QuotaExceeded
    ),
)
def roll_back(
    body: Rollback,
    model_id: ModelId,
    request: Request,
    principal: Annotated[Principal, needs("models:write")],
    once: Retryable,
) -> Registered:
    """A new generation gets the old configuration and learns the records that are stored today.

    Old weights are never used again: they may know people who were forgotten since.
    """
    context = context_of(request.scope)
    with once.begin(context.ledger, principal.tenant_id) as tx:
        model = catalog.get_model(tx, principal.tenant_id, model_id)
        line_id = generations.of(tx, model.id).line_id
        quotas.require_room_for_model(tx, principal.tenant_id, context.settings.max_models)
        made = lines.roll_back(tx, line_id, to=body.to, cut_over=body.cut_over)
        registered = Registered(model=shown(tx, made[0]), job=made[1])
        once.answer(tx, registered, 202, Location=f"/v1/jobs/{registered.job}")
    context.on_accepted()
    return registered


@router.post(
    "/{model_id}/cut-over",
    status_code=202,
    summary="Let the successor take over",
    responses=documented(NotFound, ModelRetired, SuccessorNotReady, StoreFull),
)
def cut_over(
    model_id: ModelId, request: Request, response: Response, principal: Annotated[Principal, needs("models:write")]
) -> CutOverDone:
    """From now on the model's id and name mean the successor, and the old generation is destroyed.

    Once the job is done, no answer comes from the old generation any more, and nothing is left of it. 409 while the
    successor is behind.
    """
    context = context_of(request.scope)
    with context.ledger.database.begin() as tx:
        model = catalog.get_model(tx, principal.tenant_id, model_id)
        new, job = lines.cut_over(tx, generations.of(tx, model.id).line_id)
        done = CutOverDone(model=shown(tx, new), job=job.id)
    context.on_accepted()
    response.headers["Location"] = f"/v1/jobs/{done.job}"
    return done


def merged(body: NewSuccessor, now: catalog.ModelPlan) -> NewModel:
    """Return the current configuration with what the body changes; what depended on a changed part is left out."""
    said = body.model_dump(exclude_unset=True, exclude={"cut_over"})
    kept: dict[str, Any] = {
        "core_cohort": now.core_cohort_id,
        "evaluation_cohort": now.evaluation_cohort_id,
        "alpha": now.alpha,
        "mu": "gcv" if now.mu is None else now.mu,
        "capacity": now.capacity,
        "epochs": now.epochs,
        "seed": now.seed,
        "solver": now.solver,
    }
    noise = now.noise or "none"
    if said.get("noise", noise) == noise != "none":
        kept |= {"noise": noise, "kappa": now.kappa, "exposure_budget": now.exposure_budget}
        if not said.keys() & PLANS_SIGMA:
            kept["sigma"] = now.sigma
    if said.get("core_import") is None and ("core_import" in said or "architecture" in said or not now.core_import_id):
        kept |= {
            "architecture": now.architecture,
            "leaky": now.leaky,
            "input_size": None if now.input_size is None else list(now.input_size),
        }
    elif "core_import" not in said:  # an imported core brings its own architecture
        kept |= {"core_import": now.core_import_id, "head": now.core_head}
    if said.get("feature_map", now.feature_map) == now.feature_map:
        kept |= {"feature_map": now.feature_map, "width": now.width, "bandwidth": now.bandwidth}
    if said.get("core_cohort", "") is None:
        del said["core_cohort"]
    fixed = {"name": now.name, "user_cohorts": list(now.user_cohort_ids)}
    return NewModel.model_validate(kept | said | fixed)
