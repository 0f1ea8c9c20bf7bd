"""The transparency log: what is signed about it, and proofs for outsiders."""

from __future__ import annotations

import base64
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, Field

from ledger import requests
from ledger.errors import NotFound
from ledger.log import proofs
from service.api.schemas import Items, Limit, RequestId
from service.auth import Principal, needs
from service.context import context_of
from service.errors import documented
from service.moments import when

router = APIRouter(tags=["transparency log"])

_READERS = ("audit:read", "forget:write")
TEXT: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}
Size = Annotated[int, Query(ge=1, le=2**53)]


class CheckpointShown(BaseModel):
    """A signed statement of the log's size and root."""

    size: int = Field(description="How many entries the log had.")
    note: str = Field(description="The signed note (C2SP tlog-checkpoint).")
    created_at: str


class ConsistencyPath(BaseModel):
    """The hashes that lead from an old log to a newer one (RFC 9162, section 2.1.4)."""

    old: int
    new: int
    path: list[str] = Field(description="Base64, 32 bytes each.")


@router.get(
    "/v1/log/checkpoint",
    summary="The newest checkpoint",
    response_class=PlainTextResponse,
    responses={**documented(NotFound), **TEXT},
)
def newest(request: Request, _: Annotated[Principal, needs(*_READERS)]) -> Response:
    """The log's name, size and root, signed. Keep it: with it, `lacuna verify log --since` catches any rewriting.

    One log holds the events of all tenants; of others it shows hashes only.
    """
    with context_of(request.scope).ledger.database.read() as tx:
        return PlainTextResponse(proofs.newest_checkpoint(tx).note)


@router.get("/v1/log/checkpoints", summary="Checkpoints", responses=documented())
def listed(request: Request, _: Annotated[Principal, needs(*_READERS)], limit: Limit = 100) -> Items[CheckpointShown]:
    """The newest checkpoints, largest first."""
    with context_of(request.scope).ledger.database.read() as tx:
        rows = proofs.checkpoints(tx, limit=limit)
        return Items(items=[CheckpointShown(size=r.size, note=r.note, created_at=when(r.created_at)) for r in rows])


@router.get("/v1/log/consistency", summary="Proof that the log only grew", responses=documented(NotFound))
def consistency(request: Request, _: Annotated[Principal, needs(*_READERS)], old: Size, new: Size) -> ConsistencyPath:
    """From the log of `old` entries to that of `new`: both sizes as in checkpoints that you hold."""
    with context_of(request.scope).ledger.database.read() as tx:
        path = proofs.consistency(tx, old, new)
    return ConsistencyPath(old=old, new=new, path=[base64.b64encode(step).decode() for step in path])


@router.get(
    "/v1/forget-requests/{request_id}/proof",
    summary="A certificate's place in the log",
    response_class=PlainTextResponse,
    responses={**documented(NotFound), **TEXT},
)
def proof(
    request_id: RequestId,
    request: Request,
    principal: Annotated[Principal, needs(*_READERS)],
    size: Annotated[int | None, Query(ge=1, le=2**53, description="Of a checkpoint that you keep.")] = None,
) -> Response:
    """A file (C2SP tlog-proof) for `lacuna verify certificate --proof`. It is there a moment after the certificate.

    It leads to the newest checkpoint, or with `size` to an older one: what a certificate of a revoked key needs.
    """
    with context_of(request.scope).ledger.database.read() as tx:
        requests.get(tx, principal.tenant_id, request_id)
        text = proofs.of_event(tx, principal.tenant_id, "forget.completed", request_id, size=size).text()
    return PlainTextResponse(text)
