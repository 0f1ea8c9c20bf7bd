"""The page to begin with: what is open, how the models are, what is being worked on, who answers."""

from __future__ import annotations

from fastapi import Request, Response
from fastapi.responses import HTMLResponse

from ledger.database import Transaction
from service.auth import Principal
from service.context import context_of
from service.dashboard import live, situation
from service.dashboard.pages import Visitor, page_router, render

router = page_router()


def _part(tx: Transaction, request: Request, principal: Principal) -> tuple[live.Part, situation.Situation]:
    found = situation.situation(tx, principal.tenant_id)
    return live.make(request, principal, "overview_part.html", "/dashboard/live/overview", s=found), found


@router.get("")
def overview(request: Request, principal: Visitor) -> HTMLResponse:
    """Requests by state and deadline, models, jobs, workers, leases."""
    with context_of(request.scope).ledger.database.read() as tx:
        part, found = _part(tx, request, principal)
        return render(request, "overview.html", principal, now=tx.now, part=part, s=found)


@router.get("/live/overview")
def overview_part(request: Request, principal: Visitor) -> Response:
    """What of the overview changes."""
    with context_of(request.scope).ledger.database.read() as tx:
        part, _ = _part(tx, request, principal)
    return live.answer(request, part)
