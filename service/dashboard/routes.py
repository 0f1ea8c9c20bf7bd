"""The dashboard's addresses. A browser asks for the key: any user name, the key as password."""

from __future__ import annotations

from importlib.resources import files
from typing import Annotated

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from ledger import catalog, jobs, requests
from service.api.schemas import ModelId, RequestId
from service.auth import Principal, needs
from service.context import context_of
from service.dashboard import views
from service.refusals import CertificateMissing

router = APIRouter(prefix="/dashboard", include_in_schema=False)

Auditor = Annotated[Principal, needs("audit:read")]
REQUESTS, JOBS = 50, 12
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
}


def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("service.dashboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        moment=views.moment, day=views.day, duration=views.duration, short=views.short, percent=views.percent
    )
    return made


_pages = _environment()


def _page(name: str, principal: Principal, **content: object) -> HTMLResponse:
    return HTMLResponse(_pages.get_template(name).render(who=principal, **content), headers=HEADERS)


@router.get("")
def overview(request: Request, principal: Auditor) -> HTMLResponse:
    """Requests with their deadlines, models, jobs."""
    with context_of(request.scope).ledger.database.read() as tx:
        shown = [
            views.request_row(row, tx.now) for row in requests.list_newest(tx, principal.tenant_id, limit=REQUESTS)
        ]
        return _page(
            "overview.html",
            principal,
            now=tx.now,
            summary=views.summary(shown),
            requests=shown,
            models=[views.model_card(tx, model) for model in catalog.list_models(tx, principal.tenant_id)],
            jobs=jobs.list_newest(tx, principal.tenant_id, limit=JOBS),
        )


@router.get("/requests/{request_id}")
def one_request(request_id: RequestId, request: Request, principal: Auditor) -> HTMLResponse:
    """A request: how far it is, and what its certificate states."""
    with context_of(request.scope).ledger.database.read() as tx:
        row = requests.get(tx, principal.tenant_id, request_id)
        names = {model.id: model.name for model in catalog.list_models(tx, principal.tenant_id)}
        return _page(
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
def certificate(request_id: RequestId, request: Request, principal: Auditor) -> Response:
    """The signed envelope, to be saved. Browsers send the key to addresses below /dashboard only."""
    with context_of(request.scope).ledger.database.read() as tx:
        row = requests.get(tx, principal.tenant_id, request_id)
        envelope = requests.certificate(tx, principal.tenant_id, request_id)
    if envelope is None:
        raise CertificateMissing(f"the request is {row.state}, outcome {row.outcome or 'open'}")
    name = f"certificate-{row.id}.json"
    return Response(
        envelope, media_type="application/json", headers={"Content-Disposition": f'attachment; filename="{name}"'}
    )


@router.get("/models/{model_id}")
def one_model(model_id: ModelId, request: Request, principal: Auditor) -> HTMLResponse:
    """A model: its constants and its versions, the destroyed ones too."""
    with context_of(request.scope).ledger.database.read() as tx:
        model = catalog.get_model(tx, principal.tenant_id, model_id)
        return _page(
            "model.html",
            principal,
            now=tx.now,
            card=views.model_card(tx, model),
            constants=views.constants(model),
            versions=[version for version, _ in catalog.list_versions(tx, principal.tenant_id, model_id)],
        )


@router.get("/style.css")
def style(_: Auditor) -> Response:
    """The only asset."""
    return Response(
        files("service.dashboard").joinpath("static/style.css").read_bytes(),
        media_type="text/css",
        headers={"Cache-Control": "private, max-age=300"},
    )
