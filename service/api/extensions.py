"""The legal clock: extending a forget request's deadline, and the time zone in which days are counted."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from ledger import deadlines, extensions, requests, tables
from ledger.errors import NotFound, ReasonRefused, StoreFull, UnknownTimeZone, WrongState
from ledger.keys import KeyRing
from service.api.schemas import Body, RequestId
from service.auth import ADMIN, Principal, needs
from service.context import context_of
from service.errors import documented
from service.moments import when

router = APIRouter(prefix="/v1", tags=["forget requests"])

_READERS = ("forget:write", "audit:read")
Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]


class NewExtension(Body):
    """Why a request takes longer."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "a backup of 2019 must be searched by hand"}]})
    reason: Reason = Field(description="For people, without naming the person. Kept encrypted, never logged.")


class Extension(BaseModel):
    """An extension of a deadline."""

    reason: str
    extended_at: str
    first_due_at: str = Field(description="The deadline before; until then the person must be told.")
    due_at: str


class TenantSettings(Body):
    """What holds for all of a tenant's requests."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"time_zone": "Europe/Berlin"}]})
    time_zone: Annotated[str, StringConstraints(min_length=1, max_length=64)] = Field(
        description="A name of the IANA database. Deadlines end at the end of a day there."
    )


def _shown(request: tables.ForgetRequest, ring: KeyRing) -> Extension:
    reason = extensions.reason_of(request, ring)
    if reason is None or request.extended_at is None or request.first_due_at is None:
        raise NotFound("extension", request.id)
    return Extension(
        reason=reason,
        extended_at=when(request.extended_at),
        first_due_at=when(request.first_due_at),
        due_at=when(request.due_at),
    )


@router.post(
    "/forget-requests/{request_id}/extension",
    status_code=201,
    summary="Extend a request's deadline",
    responses=documented(NotFound, ReasonRefused, WrongState, StoreFull),
)
def extend(
    body: NewExtension, request_id: RequestId, request: Request, principal: Annotated[Principal, needs("forget:write")]
) -> Extension:
    """To the latest that the law allows: three months after receipt (GDPR, Art. 12(3)), or 90 days (CCPA).

    Possible once, before the first deadline, while the request has not ended. Tell the person why before that, too.
    """
    ledger = context_of(request.scope).ledger
    with ledger.database.begin() as tx:
        found = extensions.extend(tx, ledger.ring, principal.tenant_id, request_id, body.reason)
        return _shown(found, ledger.ring)


@router.get(
    "/forget-requests/{request_id}/extension",
    summary="Show the extension of a deadline",
    responses=documented(NotFound),
)
def show(request_id: RequestId, request: Request, principal: Annotated[Principal, needs(*_READERS)]) -> Extension:
    """Why and until when. 404 if the deadline was not extended."""
    ledger = context_of(request.scope).ledger
    with ledger.database.read() as tx:
        return _shown(requests.get(tx, principal.tenant_id, request_id), ledger.ring)


@router.get("/tenant", summary="Show the tenant's settings", tags=["keys"], responses=documented())
def tenant(request: Request, principal: Annotated[Principal, needs()]) -> TenantSettings:
    """The time zone in which deadlines are counted. Any valid key may ask."""
    with context_of(request.scope).ledger.database.read() as tx:
        row = tx.session.get_one(tables.Tenant, principal.tenant_id)
        return TenantSettings(time_zone=row.time_zone or deadlines.UTC_NAME)


@router.put("/tenant", summary="Change the tenant's settings", tags=["keys"], responses=documented(UnknownTimeZone))
def change(body: TenantSettings, request: Request, principal: Annotated[Principal, needs(ADMIN)]) -> TenantSettings:
    """It holds for requests that come from now on; deadlines that are set stay."""
    deadlines.require_zone(body.time_zone)
    with context_of(request.scope).ledger.database.begin() as tx:
        tx.session.get_one(tables.Tenant, principal.tenant_id).time_zone = body.time_zone
    return body
