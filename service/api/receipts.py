"""Receipts of forget requests: with one, and with nothing else, a person finds herself in the certificate."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from evidence.receipt import Receipt as ReceiptFile
from ledger import receipts, requests
from ledger.errors import NotFound, WrongState
from ledger.selectors import MOST_NAMED
from service.api.schemas import RequestId
from service.auth import Principal, needs
from service.context import context_of
from service.errors import documented

router = APIRouter(prefix="/v1/forget-requests/{request_id}/receipt", tags=["forget requests"])

Requester = Annotated[Principal, needs("forget:write")]
FILE: dict[int | str, dict[str, Any]] = {200: {"content": {"application/json": {"schema": {"type": "object"}}}}}


@router.get("", summary="The requester's receipt", responses={**documented(NotFound), **FILE})
def fetch(
    request_id: RequestId,
    request: Request,
    principal: Requester,
    place: Annotated[
        int, Query(ge=0, lt=MOST_NAMED, description="Whose: the place in the request of what it names, from 0.")
    ] = 0,
) -> Response:
    """A file for the person whom the request names, or for whoever asked for her. Give each person her own.

    It holds the salt that opens the certificate's commitment: `lacuna verify certificate --receipt FILE
    --identifier-stdin`. It does not hold the identifier. It is there as soon as the request is filed, until 30 days
    after the completion, and not if nothing was found.
    """
    context = context_of(request.scope)
    with context.ledger.database.read() as tx:
        row = requests.get(tx, principal.tenant_id, request_id)
        found = receipts.get(tx, context.ledger.ring, row, place)
    return _file(found, f"receipt-{request_id}-{place}.json")


@router.delete("", status_code=204, summary="Let go of a receipt", responses=documented(NotFound, WrongState))
def let_go(request_id: RequestId, request: Request, principal: Requester) -> None:
    """Destroy the service's copy of the salts, once the request is completed and everybody has her receipt.

    From then on only the receipts that were fetched open the certificate's commitment.
    """
    database = context_of(request.scope).ledger.database
    with database.begin() as tx:
        receipts.let_go(tx, requests.get(tx, principal.tenant_id, request_id))
    database.checkpoint()  # SQLite's log still holds them, and is cut now unless somebody reads


def _file(found: ReceiptFile, name: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(found.text(), media_type="application/json", headers=headers)
