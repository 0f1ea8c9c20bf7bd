"""The page to begin with: what is open, how the models are, what is being worked on."""

from __future__ import annotations

from fastapi import Request
from fastapi.responses import HTMLResponse

from ledger import catalog, jobs, requests
from service.context import context_of
from service.dashboard import views
from service.dashboard.pages import Visitor, page_router, render

REQUESTS, JOBS = 50, 12

router = page_router()


@router.get("")
def overview(request: Request, principal: Visitor) -> HTMLResponse:
    """Requests with their deadlines, models, jobs."""
    with context_of(request.scope).ledger.database.read() as tx:
        shown = [
            views.request_row(row, tx.now) for row in requests.list_newest(tx, principal.tenant_id, limit=REQUESTS)
        ]
        return render(
            request,
            "overview.html",
            principal,
            now=tx.now,
            summary=views.summary(shown),
            requests=shown,
            models=[views.model_card(tx, model) for model in catalog.list_models(tx, principal.tenant_id)],
            jobs=jobs.list_newest(tx, principal.tenant_id, limit=JOBS),
        )
