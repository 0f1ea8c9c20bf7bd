"""What clients have learned about forgotten records from the versions that answered them, and how much they may."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from ledger import api_keys, catalog, generations, leakage, recipients, sightings
from ledger.database import Transaction
from ledger.errors import NotFound
from service.api.keys import KeyId
from service.api.schemas import ID_PATTERN, Body, Items, ModelId, RequestId
from service.auth import ADMIN, Principal, needs
from service.context import context_of
from service.errors import documented
from service.moments import when

router = APIRouter(tags=["leakage"])

Then = Literal["warn", "coarsen", "refuse"]
NATS = "In nats; null: no finite bound holds."


class Budget(Body):
    """How much a client may learn of what a model has forgotten."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"nats": 0.5, "then": "refuse"}]})
    nats: float = Field(ge=0, le=1e9, allow_inf_nan=False, description="The most, in nats, about any forgotten cohort.")
    then: Then = Field(
        description="What becomes of an answer that goes beyond it: warn (X-Leakage-Budget: spent), coarsen (that, and "
        "labels alone), refuse (403)."
    )


class Leakage(BaseModel):
    """What one client has learned of one model. Constants of the registration only; nothing is measured for it."""

    client: str = Field(description="The id of the client's first key; keys that replaced it count with it.")
    model: str
    versions: list[int] = Field(description="The versions that it was answered from.")
    nats: float | None = Field(description=f"About the forgotten cohort that is exposed most. {NATS}")
    bound: float = Field(description="Of it: what versions after the removal tell, in nats.")
    differencing: float | None = Field(description=f"Of it: what versions with the records tell. {NATS}")
    pairs: int = Field(description="Pairs of a version with these records and one without them that were seen.")
    why: list[str] = Field(description="Why the numbers are what they are.")
    budget: Budget | None
    spent: bool = Field(description="Whether the numbers are beyond the budget.")


class OfClient(Leakage):
    """What one client has learned, as an auditor sees it."""

    request: str | None = Field(description="The forget request whose records are exposed most.")


class Recipient(BaseModel):
    """A key that was answered from versions that held a request's records."""

    key: str
    label: str
    model: str
    first_version: int = Field(description="The first version with the records that it was answered from.")
    last_version: int = Field(description="The last one.")
    versions: int = Field(description="How many of them it was answered from.")
    first_at: str = Field(description="When it was answered first.")
    last_at: str = Field(description="When it was answered last; noted about once a minute.")
    queries: int = Field(description="How many answers it got; noted about once a minute.")


def _shown(tx: Transaction, client_id: str, line_id: str) -> OfClient:
    found, row = leakage.of_client(tx, client_id, line_id), leakage.budget_of(tx, client_id, line_id)
    return OfClient.model_validate(
        {
            "client": client_id,
            "model": line_id,
            "versions": list(found.versions),
            "nats": _finite(found.nats),
            "bound": found.bound,
            "differencing": _finite(found.differencing),
            "pairs": found.pairs,
            "why": list(found.why),
            "budget": None if row is None else {"nats": row.nats, "then": row.then},
            "spent": row is not None and found.nats > row.nats,
            "request": found.request_id,
        }
    )


def _finite(nats: float) -> float | None:
    return nats if math.isfinite(nats) else None


def _line(tx: Transaction, tenant_id: str, model_id: str) -> str:
    """Return the line of a model. Raises NotFound."""
    return generations.of(tx, catalog.get_model(tx, tenant_id, model_id).id).line_id


def _place(tx: Transaction, tenant_id: str, key_id: str, model_id: str) -> tuple[str, str]:
    """Return the client that a key belongs to, and the line of a model. Raises NotFound."""
    return api_keys.client_of(api_keys.get(tx, tenant_id, key_id)), _line(tx, tenant_id, model_id)


@router.get("/v1/models/{model_id}/leakage", summary="What each client has learned", responses=documented(NotFound))
def of_model(
    model_id: ModelId, request: Request, principal: Annotated[Principal, needs("audit:read")]
) -> Items[OfClient]:
    """Every client that was answered by the model, or has a budget for it. Clients that are not listed know 0 nats."""
    with context_of(request.scope).ledger.database.read() as tx:
        line_id = _line(tx, principal.tenant_id, model_id)
        clients = {
            *sightings.clients_of(tx, principal.tenant_id, line_id),
            *leakage.clients_with_budget(tx, principal.tenant_id, line_id),
        }
        return Items(items=[_shown(tx, client_id, line_id) for client_id in sorted(clients)])


@router.get("/v1/keys/self/leakage", summary="What this key has learned", responses=documented(NotFound))
def of_self(
    request: Request,
    principal: Annotated[Principal, needs()],
    model: Annotated[str | None, Query(pattern=ID_PATTERN, description="Of this model only.")] = None,
) -> Items[Leakage]:
    """What the key that asks, with those that it replaced, has learned of each model that it was answered by."""
    with context_of(request.scope).ledger.database.read() as tx:
        if model is not None:
            lines: Sequence[str] = [_line(tx, principal.tenant_id, model)]
        else:
            lines = sightings.lines_of(tx, principal.client_id)
        found = [_shown(tx, principal.client_id, line_id) for line_id in lines]
        return Items(items=[Leakage.model_validate(one.model_dump(exclude={"request"})) for one in found])


@router.get(
    "/v1/keys/{key_id}/budgets/{model_id}", summary="Show a key's budget and meter", responses=documented(NotFound)
)
def show_budget(
    key_id: KeyId, model_id: ModelId, request: Request, principal: Annotated[Principal, needs("audit:read")]
) -> OfClient:
    """What the key's client has learned of the model, and its budget, if it has one."""
    with context_of(request.scope).ledger.database.read() as tx:
        return _shown(tx, *_place(tx, principal.tenant_id, key_id, model_id))


@router.put("/v1/keys/{key_id}/budgets/{model_id}", summary="Give a key a budget", responses=documented(NotFound))
def set_budget(
    body: Budget, key_id: KeyId, model_id: ModelId, request: Request, principal: Annotated[Principal, needs(ADMIN)]
) -> OfClient:
    """The budget is the client's: it stays when the key is replaced. This process heeds it at once; others within three
    seconds, and always before a version that the client has not seen.
    """
    context = context_of(request.scope)
    with context.ledger.database.begin() as tx:
        place = _place(tx, principal.tenant_id, key_id, model_id)
        leakage.set_budget(tx, principal.tenant_id, *place, nats=body.nats, then=body.then)
        shown = _shown(tx, *place)
    context.meter.forget()
    return shown


@router.delete(
    "/v1/keys/{key_id}/budgets/{model_id}",
    status_code=204,
    summary="Take a key's budget away",
    responses=documented(NotFound),
)
def drop_budget(
    key_id: KeyId, model_id: ModelId, request: Request, principal: Annotated[Principal, needs(ADMIN)]
) -> Response:
    """The key may learn any number of nats then. Nothing of what it has seen is forgotten."""
    context = context_of(request.scope)
    with context.ledger.database.begin() as tx:
        leakage.drop_budget(tx, *_place(tx, principal.tenant_id, key_id, model_id))
    context.meter.forget()
    return Response(status_code=204)


@router.get(
    "/v1/forget-requests/{request_id}/recipients",
    summary="Who was answered from versions with the records",
    responses=documented(NotFound),
)
def of_request(
    request_id: RequestId, request: Request, principal: Annotated[Principal, needs("audit:read")]
) -> Items[Recipient]:
    """For the duty to tell recipients (GDPR, Art. 19): keys that were answered from versions that held the records.

    Answers are listed, not recalled. Empty until a worker has resolved the request.
    """
    with context_of(request.scope).ledger.database.read() as tx:
        found = recipients.of_request(tx, principal.tenant_id, request_id)
    return Items(
        items=[
            Recipient(
                key=one.key_id,
                label=one.label,
                model=one.line_id,
                first_version=one.first_version,
                last_version=one.last_version,
                versions=one.versions,
                first_at=when(one.first_at),
                last_at=when(one.last_at),
                queries=one.queries,
            )
            for one in found
        ]
    )
