"""Pages about forget requests and their certificates."""

from __future__ import annotations

from fastapi import Request, Response
from fastapi.responses import HTMLResponse

from ledger import catalog, requests
from service.api.schemas import RequestId
from service.context import context_of
from service.dashboard import views
from service.dashboard.pages import Visitor, page_router, render
from service.refusals import CertificateMissing

router = page_router()


@router.get("/requests/{request_id}")
def one_request(request_id: RequestId, request: Request, principal: Visitor) -> HTMLResponse:
    """A request: how far it is, and what its certificate states."""
    with context_of(request.scope).ledger.database.read() as tx:
        row = requests.get(tx, principal.tenant_id, request_id)
        names = {model.id: model.name for model in catalog.list_models(tx, principal.tenant_id)}
        return render(
            request,
            "request.html",
            principal,
            now=tx.now,
            row=views.request_row(row, tx.now),
            steps=views.steps(row),
            covered=[
                (model, names.get(model, model), version) for model, version in requests.models_of(tx, [row.id])[row.id]
            ],
            certificate=views.certificate(requests.certificate(tx, principal.tenant_id, row.id)),
        )


@router.get("/requests/{request_id}/certificate.json")
def certificate(request_id: RequestId, request: Request, principal: Visitor) -> Response:
    """The signed envelope, to be saved. Browsers show who they are to addresses below /dashboard only."""
    with context_of(request.scope).ledger.database.read() as tx:
        row = requests.get(tx, principal.tenant_id, request_id)
        envelope = requests.certificate(tx, principal.tenant_id, request_id)
    if envelope is None:
        raise CertificateMissing(f"the request is {row.state}, outcome {row.outcome or 'open'}")
    name = f"certificate-{row.id}.json"
    return Response(
        envelope, media_type="application/json", headers={"Content-Disposition": f'attachment; filename="{name}"'}
    )
