"""Pages about models and their versions."""

from __future__ import annotations

from fastapi import Request
from fastapi.responses import HTMLResponse

from ledger import catalog
from service.api.schemas import ModelId
from service.context import context_of
from service.dashboard import views
from service.dashboard.pages import Visitor, page_router, render

router = page_router()


@router.get("/models/{model_id}")
def one_model(model_id: ModelId, request: Request, principal: Visitor) -> HTMLResponse:
    """A model: its constants and its versions, the destroyed ones too."""
    with context_of(request.scope).ledger.database.read() as tx:
        model = catalog.get_model(tx, principal.tenant_id, model_id)
        return render(
            request,
            "model.html",
            principal,
            now=tx.now,
            card=views.model_card(tx, model),
            constants=views.constants(model),
            versions=[version for version, _ in catalog.list_versions(tx, principal.tenant_id, model_id)],
        )
