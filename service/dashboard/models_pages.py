"""Pages about models: where each came from, its generations, its versions and what they may tell."""

from __future__ import annotations

from fastapi import Request
from fastapi.responses import HTMLResponse

from ledger import catalog, cohort_overview, generations, versions
from ledger.tables import Model
from service.api.schemas import ModelId
from service.context import context_of
from service.dashboard import series, views
from service.dashboard.pages import Visitor, page_router, render

MOST_VERSIONS = 200

router = page_router()


@router.get("/models")
def list_models(request: Request, principal: Visitor) -> HTMLResponse:
    """All models, each with what answers for it now."""
    with context_of(request.scope).ledger.database.read() as tx:
        found = catalog.list_models(tx, principal.tenant_id)
        return render(
            request, "models.html", principal, now=tx.now, cards=[views.model_card(tx, model) for model in found]
        )


@router.get("/models/{model_id}")
def one_model(model_id: ModelId, request: Request, principal: Visitor) -> HTMLResponse:
    """A model: its lineage, its constants, its generations and its versions, the destroyed ones too."""
    with context_of(request.scope).ledger.database.read() as tx:
        model = catalog.get_model(tx, principal.tenant_id, model_id)
        line_id = generations.of(tx, model.id).line_id
        found = catalog.list_versions(tx, principal.tenant_id, model_id, limit=MOST_VERSIONS)
        return render(
            request,
            "model.html",
            principal,
            now=tx.now,
            card=views.model_card(tx, model),
            active=versions.active(tx, model.id),
            constants=views.constants(model),
            noise=_noise(model),
            lineage=cohort_overview.cohorts_of(tx, model),
            generations=generations.all_of(tx, line_id),
            versions=found,
            points=series.points(tx, principal.tenant_id, model_id),
        )


@router.get("/models/{model_id}/versions.json")
def drawn(model_id: ModelId, request: Request, principal: Visitor) -> dict[str, list[float | None]]:
    """What the script draws over a model's versions."""
    with context_of(request.scope).ledger.database.read() as tx:
        return series.for_chart(series.points(tx, principal.tenant_id, model_id))


def _noise(model: Model) -> list[tuple[str, str]]:
    """Return the constants of a model's noise, in words; empty without noise."""
    if model.noise is None:
        return []
    said = [("noise", model.noise.replace("_", " "))]
    said += [] if model.sigma is None else [("sigma", f"{model.sigma:g}")]
    return said if model.kappa is None else [*said, ("kappa", f"{model.kappa:g} nats a version")]
