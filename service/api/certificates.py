"""Certificates of forget requests: as they were signed, decoded, and as a page to be read."""

from __future__ import annotations

import base64
import json
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import HTMLResponse

from ledger import requests, tables
from ledger.database import Transaction
from ledger.errors import NotFound
from service.api.schemas import RequestId
from service.auth import Principal, needs
from service.certificate_page import page
from service.context import context_of
from service.errors import documented
from service.refusals import CertificateMissing

router = APIRouter(prefix="/v1/forget-requests/{request_id}", tags=["forget requests"])

Reader = Annotated[Principal, needs("forget:write", "audit:read")]


@router.get(
    "/certificate",
    summary="The certificate of a forget request",
    responses=documented(NotFound, CertificateMissing),
)
def certificate(
    request_id: RequestId,
    request: Request,
    principal: Reader,
    decoded: Annotated[bool, Query(description="Return the statement itself, without its signature.")] = False,
) -> Response:
    """A signed statement (DSSE envelope) of what was removed and how that was checked.

    It can be checked without this service, with a key from `/v1/signing-keys` that was fetched before.
    """
    with context_of(request.scope).ledger.database.read() as tx:
        envelope = certificate_of(tx, principal.tenant_id, request_id)
    if decoded:
        envelope = base64.b64decode(_field(json.loads(envelope), "payload"))
    return Response(envelope, media_type="application/json")


@router.get(
    "/certificate.html",
    summary="The certificate, to be read",
    response_class=HTMLResponse,
    responses=documented(NotFound, CertificateMissing),
)
def certificate_to_read(request_id: RequestId, request: Request, principal: Reader) -> Response:
    """The same facts in plain words, on one page that can be printed and filed. What is signed is the certificate."""
    with context_of(request.scope).ledger.database.read() as tx:
        envelope = certificate_of(tx, principal.tenant_id, request_id)
    return HTMLResponse(page.render(envelope), headers=page.HEADERS)


def certificate_of(tx: Transaction, tenant_id: str, request_id: str) -> bytes:
    """Return a request's certificate (a DSSE envelope). Raises NotFound, CertificateMissing: and says why."""
    row = requests.get(tx, tenant_id, request_id)
    envelope = requests.certificate(tx, tenant_id, request_id)
    if envelope is None:
        raise CertificateMissing(_why_missing(row))
    return envelope


def _why_missing(row: tables.ForgetRequest) -> str:
    if row.outcome == "no_match":
        return "the request matched no record, so there was nothing to remove. The request itself says so"
    if row.outcome == "on_hold":
        return "a legal hold keeps every record that the request selects. It is filed again when the hold is released"
    if row.state == "cancelled":
        return "the request was withdrawn"
    return f"the request is {row.state}. Ask again once it is completed"


def _field(envelope: dict[str, Any], name: str) -> str:
    return str(envelope[name])
