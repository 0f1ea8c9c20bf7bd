"""Legal holds: records that must be kept for a while, whatever is asked to be forgotten."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from ledger import holds, releases, tables, tenants
from ledger.database import Transaction
from ledger.errors import InvalidIdentifier, NotFound, ReasonRefused
from ledger.keys import KeyRing
from ledger.selectors import SubjectName
from service.api.forget_requests import Subject
from service.api.schemas import ID_PATTERN, Body, Items
from service.auth import Principal, needs
from service.context import context_of
from service.errors import documented
from service.idempotency import REFUSALS, Retryable
from service.moments import when

router = APIRouter(prefix="/v1/holds", tags=["holds"])

_READERS = ("forget:write", "audit:read")
HoldId = Annotated[str, Path(pattern=ID_PATTERN, description="The hold's id.")]
Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]


class NewHold(Body):
    """Whose records are to be kept, and why."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"subject": {"value": "customer-1047"}, "reason": "case 2026/114"}]}
    )
    subject: Subject = Field(description="Known or not: records that come later are held too.")
    reason: Reason = Field(
        description="For people, without naming the person. Kept encrypted, never logged, deleted with the hold."
    )


class Hold(BaseModel):
    """A hold. Whom it is about is not kept readable, so it is not here."""

    id: str
    reason: str
    records: int = Field(description="How many records it keeps now.")
    leaving: int = Field(description="How many it came too late for: they are being forgotten or corrected already.")
    created_at: str


class Released(BaseModel):
    """A hold that was released."""

    id: str
    filed_again: list[str] = Field(description="The forget requests that took up again what the hold had stopped.")


def _shown(tx: Transaction, ring: KeyRing, hold: tables.Hold) -> Hold:
    return Hold(
        id=hold.id,
        reason=holds.reason(hold, ring),
        records=holds.records(tx, hold),
        leaving=holds.leaving(tx, hold),
        created_at=when(hold.created_at),
    )


@router.post(
    "", status_code=201, summary="Place a hold", responses=documented(InvalidIdentifier, ReasonRefused, *REFUSALS)
)
def place(
    body: NewHold, request: Request, principal: Annotated[Principal, needs("forget:write")], once: Retryable
) -> Hold:
    """Keep everything of a person. Forget requests skip it and say how many records they left.

    A request of which nothing is left to do completes with the outcome `on_hold`. That goes also for requests that no
    worker has begun yet. What is being erased already cannot be held; the answer says how many records that are.
    """
    ledger = context_of(request.scope).ledger
    subject = SubjectName(body.subject.type, body.subject.format, body.subject.value)
    # The reason is kept encrypted and goes with the hold; the same request brings it again.
    with once.begin(ledger, principal.tenant_id, left_out={"reason": body.reason}) as tx:
        hasher = tenants.alias_hasher(tx, ledger.ring, principal.tenant_id)
        hold = holds.place(tx, principal.tenant_id, subject, body.reason, hasher, ledger.ring)
        shown = _shown(tx, ledger.ring, hold)
        once.answer(tx, shown, 201, Location=f"/v1/holds/{shown.id}")
    return shown


@router.get("", summary="List the holds", responses=documented())
def list_all(request: Request, principal: Annotated[Principal, needs(*_READERS)]) -> Items[Hold]:
    """All holds that are in force, oldest first."""
    ledger = context_of(request.scope).ledger
    with ledger.database.read() as tx:
        return Items(items=[_shown(tx, ledger.ring, hold) for hold in holds.list_all(tx, principal.tenant_id)])


@router.get("/{hold_id}", summary="Show a hold", responses=documented(NotFound))
def show(hold_id: HoldId, request: Request, principal: Annotated[Principal, needs(*_READERS)]) -> Hold:
    """One hold that is in force."""
    ledger = context_of(request.scope).ledger
    with ledger.database.read() as tx:
        return _shown(tx, ledger.ring, holds.get(tx, principal.tenant_id, hold_id))


@router.delete("/{hold_id}", summary="Release a hold", responses=documented(NotFound))
def release(hold_id: HoldId, request: Request, principal: Annotated[Principal, needs("forget:write")]) -> Released:
    """Delete the hold and its reason, and file again every forget request that it stopped.

    Each new request names the one that it follows. If another hold keeps the records still, it ends as `on_hold` again.
    """
    context = context_of(request.scope)
    with context.ledger.database.begin() as tx:
        filed = releases.release(tx, principal.tenant_id, hold_id)
    if filed:
        context.on_accepted()
    return Released(id=hold_id, filed_again=filed)
