"""Whether the process lives and can work, and whose key this is."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from ledger import jobs
from ledger.migrate import require_current
from service.auth import Principal, needs
from service.context import context_of
from service.errors import documented

router = APIRouter()


class Alive(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Ready(BaseModel):
    """The process can do its work."""

    status: Literal["ok", "degraded"] = Field(description="degraded: predictions are not being renewed.")
    database: Literal["ok"] = Field("ok", description="Reachable, and its tables are this program's.")
    serving: bool = Field(description="Whether new versions are being watched and leases renewed.")
    oldest_waiting_job_s: float = Field(description="If this grows, no worker is at work.", examples=[0.0])


class Me(BaseModel):
    """Whose key this is."""

    tenant: str = Field(examples=["default"])
    key: str = Field(description="The key's label.", examples=["first key"])
    scopes: list[str] = Field(examples=[["forget:write", "predict"]])


@router.get("/healthz", summary="Does the process live?", tags=["operations"])
async def health() -> Alive:
    """Answers as long as the process can answer at all. Needs no key."""
    return Alive()


@router.get("/readyz", summary="Can the process work?", tags=["operations"], responses=documented())
def readiness(request: Request, response: Response) -> Ready:
    """503 while the database cannot be reached or has other tables, or no version is in service yet or any more.

    Needs no key.
    """
    context = context_of(request.scope)
    require_current(context.ledger.database.engine)
    with context.ledger.database.read() as tx:
        waiting_us = jobs.longest_wait(tx)
    draining = getattr(request.app.state, "draining", None)
    serving = context.registry.ready and not (draining is not None and draining.begun)
    if not serving:
        response.status_code = 503
    return Ready(
        status="ok" if serving else "degraded", serving=serving, oldest_waiting_job_s=round(waiting_us / 1e6, 3)
    )


@router.get("/v1/me", summary="Whose key is this?", tags=["keys"], responses=documented())
async def me(principal: Annotated[Principal, needs()]) -> Me:
    """The tenant, label and scopes of the key that was sent. Any valid key may ask."""
    return Me(tenant=principal.tenant, key=principal.key, scopes=sorted(principal.scopes))
