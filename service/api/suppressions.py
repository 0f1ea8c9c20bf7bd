"""Suppressions: people who asked to be forgotten are not uploaded again, until that is withdrawn."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Len
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from ledger import requests, suppressions, tenants
from ledger.errors import InvalidIdentifier
from ledger.selectors import MOST_NAMED, SubjectName, forms_of
from service.api.forget_requests import Subject
from service.api.schemas import Body
from service.auth import Principal, needs
from service.context import context_of
from service.errors import documented

router = APIRouter(prefix="/v1/suppressions", tags=["suppressions"])


class Withdrawal(Body):
    """Who may be uploaded again."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"subjects": [{"value": "customer-1047"}]}]})
    subjects: Annotated[list[Subject], Len(1, MOST_NAMED)] = Field(description="As in a forget request.")


class Withdrawn(BaseModel):
    """What a withdrawal changed."""

    withdrawn: int = Field(description="How many of the named people were suppressed until now.")


class Suppressions(BaseModel):
    """How many people are suppressed. Who they are is not kept readable."""

    active: int = Field(description="People whose records are refused.")
    withdrawn: int = Field(description="People of whom it was withdrawn.")


@router.get("", summary="Count the suppressions", responses=documented())
def count(request: Request, principal: Annotated[Principal, needs("forget:write", "audit:read")]) -> Suppressions:
    """A person who asked to be forgotten is suppressed from then on, known or not. Only counts can be read."""
    with context_of(request.scope).ledger.database.read() as tx:
        counts = suppressions.count(tx, principal.tenant_id)
    return Suppressions(active=counts.active, withdrawn=counts.withdrawn)


@router.post("/withdrawals", summary="Withdraw suppressions", responses=documented(InvalidIdentifier))
def withdraw(body: Withdrawal, request: Request, principal: Annotated[Principal, needs("forget:write")]) -> Withdrawn:
    """Let these people's records be uploaded again, for example because they have become customers again.

    What was forgotten stays forgotten. A person who was suppressed by a hash alone is found by that hash, or by the
    identifier itself. Doing it twice changes nothing more; another forget request suppresses them again.
    """
    context = context_of(request.scope)
    named = [SubjectName(one.type, one.format, one.value) for one in body.subjects]
    with context.ledger.database.begin() as tx:
        hasher = tenants.alias_hasher(tx, context.ledger.ring, principal.tenant_id)
        people = [forms_of(subject, hasher) for subject in named]
        requests.resolve_accepted(tx, principal.tenant_id)  # else one that was accepted before would suppress them anew
        return Withdrawn(withdrawn=suppressions.withdraw(tx, principal.tenant_id, people))
