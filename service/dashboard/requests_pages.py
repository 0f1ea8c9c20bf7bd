"""Pages about forget requests and their certificates."""

from __future__ import annotations

from fastapi import Request, Response
from fastapi.responses import HTMLResponse, StreamingResponse

from ledger import requests
from ledger.database import Transaction
from ledger.log import proofs
from service.api.certificates import certificate_of
from service.api.schemas import RequestId
from service.auth import Principal
from service.certificate_page import page as certificate_page
from service.context import context_of
from service.dashboard import live, verification
from service.dashboard.pages import Visitor, page_router, render
from service.dashboard.requests_list import ADDRESS, MOST_FOLLOWED, SIZES, Asked, Wanted, as_csv, choices, listed
from service.dashboard.story import Story, story

router = page_router()


def _list_part(tx: Transaction, request: Request, principal: Principal, wanted: Wanted) -> live.Part:
    return live.make(
        request,
        principal,
        "requests_part.html",
        f"/dashboard/live/requests{wanted.query(place=True)}",
        follow=wanted.limit <= MOST_FOLLOWED,
        found=listed(tx, principal.tenant_id, wanted),
    )


@router.get("/requests")
def list_requests(request: Request, principal: Visitor, wanted: Asked) -> HTMLResponse:
    """The requests that are looked for, a page of them."""
    with context_of(request.scope).ledger.database.read() as tx:
        return render(
            request,
            "requests.html",
            principal,
            now=tx.now,
            part=_list_part(tx, request, principal, wanted),
            wanted=wanted,
            choices=choices(),
            sizes=SIZES,
            csv=f"{ADDRESS}.csv{wanted.query(place=False)}",
        )


@router.get("/live/requests")
def requests_part(request: Request, principal: Visitor, wanted: Asked) -> Response:
    """The list alone."""
    with context_of(request.scope).ledger.database.read() as tx:
        part = _list_part(tx, request, principal, wanted)
    return live.answer(request, part)


@router.get("/requests.csv")
def download_requests(request: Request, principal: Visitor, wanted: Asked) -> Response:
    """All requests that are looked for, for a spreadsheet."""
    lines = as_csv(context_of(request.scope).ledger.database, principal.tenant_id, wanted.search)
    headers = {"Content-Disposition": 'attachment; filename="forget-requests.csv"'}
    return StreamingResponse(lines, media_type="text/csv; charset=utf-8", headers=headers)


def _request_part(request: Request, principal: Principal, told: Story) -> live.Part:
    address = f"/dashboard/live/requests/{told.row.row.id}"
    return live.make(request, principal, "request_part.html", address, follow=told.follow, s=told)


@router.get("/requests/{request_id}")
def one_request(request_id: RequestId, request: Request, principal: Visitor) -> HTMLResponse:
    """A request: how far it is, what it changed, and what its certificate states."""
    ledger = context_of(request.scope).ledger
    with ledger.database.read() as tx:
        told = story(tx, ledger.ring, principal.tenant_id, request_id)
        return render(
            request,
            "request.html",
            principal,
            now=tx.now,
            s=told,
            part=_request_part(request, principal, told),
            checks=None,
        )


@router.get("/live/requests/{request_id}")
def request_part(request_id: RequestId, request: Request, principal: Visitor) -> Response:
    """What of a request's page changes."""
    ledger = context_of(request.scope).ledger
    with ledger.database.read() as tx:
        part = _request_part(request, principal, story(tx, ledger.ring, principal.tenant_id, request_id))
    return live.answer(request, part)


@router.get("/requests/{request_id}/verify")
def verify(request_id: RequestId, request: Request, principal: Visitor) -> HTMLResponse:
    """The certificate, checked now: each check with its end. A script gets the checks alone, to put into the page."""
    context = context_of(request.scope)
    ledger = context.ledger
    with ledger.database.read() as tx:
        told = story(tx, ledger.ring, principal.tenant_id, request_id)
        certificate_of(tx, principal.tenant_id, request_id)  # 404 and why, if there is none
        given = verification.material(tx, ledger, principal.tenant_id, request_id)
        now = tx.now
    assert given is not None
    checks = verification.checks(given, ledger, context.registry, now)
    template = "checks.html" if "hx-request" in request.headers else "request.html"
    return render(
        request, template, principal, now=now, s=told, part=_request_part(request, principal, told), checks=checks
    )


@router.get("/requests/{request_id}/certificate.json")
def certificate(request_id: RequestId, request: Request, principal: Visitor) -> Response:
    """The signed envelope, to be saved. Browsers show who they are to addresses below /dashboard only."""
    with context_of(request.scope).ledger.database.read() as tx:
        envelope = certificate_of(tx, principal.tenant_id, request_id)
    return _saved(envelope, f"certificate-{request_id}.json", "application/json")


@router.get("/requests/{request_id}/certificate.html")
def certificate_to_read(request_id: RequestId, request: Request, principal: Visitor) -> Response:
    """The certificate on a page that can be printed and filed."""
    with context_of(request.scope).ledger.database.read() as tx:
        envelope = certificate_of(tx, principal.tenant_id, request_id)
    return HTMLResponse(certificate_page.render(envelope), headers=certificate_page.HEADERS)


@router.get("/requests/{request_id}/certificate.tlog-proof")
def proof(request_id: RequestId, request: Request, principal: Visitor) -> Response:
    """The certificate's place in the log, to be saved beside it."""
    with context_of(request.scope).ledger.database.read() as tx:
        requests.get(tx, principal.tenant_id, request_id)
        text = proofs.of_event(tx, principal.tenant_id, "forget.completed", request_id).text()
    return _saved(text, f"certificate-{request_id}.tlog-proof", "text/plain")


def _saved(content: bytes | str, name: str, media_type: str) -> Response:
    return Response(content, media_type=media_type, headers={"Content-Disposition": f'attachment; filename="{name}"'})
