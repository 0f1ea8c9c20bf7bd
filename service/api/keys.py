"""API keys: made, listed, rotated and revoked by a key with the scope `admin`, for its own tenant."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Len
from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, ConfigDict, Field

from ledger import api_keys, tables
from ledger.errors import NotFound, OutputsInvalid, StoreFull, WrongState
from ledger.tenants import SCOPES
from service.api.schemas import ID_PATTERN, Body, Items, Name
from service.auth import ADMIN, Principal, needs
from service.context import context_of
from service.errors import documented
from service.idempotency import REFUSALS, Retryable
from service.moments import rfc3339, when

router = APIRouter(prefix="/v1/keys", tags=["keys"])

KeyId = Annotated[str, Path(pattern=ID_PATTERN, description="The key's id, which is no secret.")]
KeyScope = Literal["forget:write", "predict", "data:write", "models:write", "audit:read", "admin"]
LONGEST_LIFE_S, LONGEST_OVERLAP_S, USUAL_OVERLAP_S = 10 * 366 * 86_400, 30 * 86_400, 86_400


Mode = Literal["probabilities", "rounded", "label"]
Digits = Annotated[int, Field(ge=api_keys.FEWEST_DIGITS, le=api_keys.MOST_DIGITS)]
HOW = "How its predictions are answered: with probabilities, with rounded ones, or with labels alone."


class NewKey(Body):
    """A key to be made."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"label": "auditor", "scopes": ["audit:read"]},
                {"label": "web shop", "scopes": ["predict"], "expires_in_s": 7_776_000},
                {"label": "partner", "scopes": ["predict"], "outputs": "rounded", "digits": 2},
            ]
        }
    )
    label: Name = Field(description="What it is for. Not an identity: it is shown.")
    scopes: Annotated[list[KeyScope], Len(1, len(SCOPES))] = Field(description="What it may do; admin: everything.")
    expires_in_s: Annotated[int, Field(ge=1, le=LONGEST_LIFE_S)] | None = Field(
        None, description="After how many seconds it opens nothing any more; null: only once it is revoked."
    )
    outputs: Mode = Field("probabilities", description=HOW)
    digits: Digits | None = Field(None, description="Of rounded ones: how many stand behind the point; null: 2.")


class KeyChange(Body):
    """How a key is to be answered from now on."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"outputs": "label"}]})
    outputs: Mode = Field(description=HOW)
    digits: Digits | None = Field(None, description="Of rounded ones: how many stand behind the point; null: 2.")


class Rotation(Body):
    """How a key is replaced."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"overlap_s": 3600}]})
    overlap_s: int = Field(
        USUAL_OVERLAP_S, ge=0, le=LONGEST_OVERLAP_S, description="How long the old key still opens, in seconds."
    )


class Key(BaseModel):
    """A key as it is kept, without the key itself."""

    id: str
    label: str
    scopes: list[str]
    state: Literal["active", "expired", "revoked"]
    created_at: str
    expires_at: str | None
    revoked_at: str | None
    last_used_at: str | None = Field(description="Noted about once a minute.")
    outputs: Mode = Field(description=HOW)
    digits: int | None = Field(description="Of rounded ones: how many stand behind the point.")
    client: str = Field(description="The first of the keys that this one replaces, or its own id: the same client.")


class MadeKey(Key):
    """A key that was made."""

    key: str | None = Field(
        description="The key itself, shown this once. Null when the answer is repeated for an `Idempotency-Key`: if it "
        "was lost on the way, rotate the key."
    )


def _facts(row: tables.ApiKey, now: int) -> dict[str, object]:
    return {
        "id": row.id,
        "label": row.label,
        "scopes": row.scopes,
        "state": api_keys.state(row, now),
        "created_at": when(row.created_at),
        "expires_at": rfc3339(row.expires_at),
        "revoked_at": rfc3339(row.revoked_at),
        "last_used_at": rfc3339(row.last_used_at),
        "outputs": api_keys.outputs_of(row).mode,
        "digits": row.digits,
        "client": api_keys.client_of(row),
    }


@router.post("", status_code=201, summary="Make a key", responses=documented(StoreFull, OutputsInvalid, *REFUSALS))
def create(body: NewKey, request: Request, principal: Annotated[Principal, needs(ADMIN)], once: Retryable) -> MadeKey:
    """The key is shown in this answer and never again: the service keeps only its SHA-256."""
    scopes = list(dict.fromkeys(body.scopes))
    outputs = api_keys.chosen(body.outputs, body.digits)
    with once.begin(context_of(request.scope).ledger, principal.tenant_id, left_out={"key": None}) as tx:
        expires_at = None if body.expires_in_s is None else tx.now + body.expires_in_s * 1_000_000
        row, secret = api_keys.create(
            tx, principal.tenant_id, body.label, scopes, expires_at=expires_at, outputs=outputs
        )
        made = MadeKey.model_validate({**_facts(row, tx.now), "key": secret})
        once.answer(tx, made, 201, Location=f"/v1/keys/{made.id}")
    return made


@router.get("", summary="List the keys", responses=documented())
def list_all(request: Request, principal: Annotated[Principal, needs(ADMIN)]) -> Items[Key]:
    """All keys of the tenant, oldest first, also those that have ended. The keys themselves cannot be read."""
    with context_of(request.scope).ledger.database.read() as tx:
        found = api_keys.list_all(tx, principal.tenant_id)
        return Items(items=[Key.model_validate(_facts(row, tx.now)) for row in found])


@router.get("/{key_id}", summary="Show a key", responses=documented(NotFound))
def show(key_id: KeyId, request: Request, principal: Annotated[Principal, needs(ADMIN)]) -> Key:
    """One key, without the key itself."""
    with context_of(request.scope).ledger.database.read() as tx:
        return Key.model_validate(_facts(api_keys.get(tx, principal.tenant_id, key_id), tx.now))


@router.patch("/{key_id}", summary="Change how a key is answered", responses=documented(NotFound, OutputsInvalid))
def change(body: KeyChange, key_id: KeyId, request: Request, principal: Annotated[Principal, needs(ADMIN)]) -> Key:
    """Its predictions are answered in that way from now on; other API processes follow within a second."""
    context = context_of(request.scope)
    outputs = api_keys.chosen(body.outputs, body.digits)
    with context.ledger.database.begin() as tx:
        changed = Key.model_validate(_facts(api_keys.change_outputs(tx, principal.tenant_id, key_id, outputs), tx.now))
    context.recognised.forget()
    return changed


@router.post(
    "/{key_id}/rotate",
    status_code=201,
    summary="Replace a key",
    responses=documented(NotFound, WrongState, StoreFull, *REFUSALS),
)
def rotate(
    body: Rotation, key_id: KeyId, request: Request, principal: Annotated[Principal, needs(ADMIN)], once: Retryable
) -> MadeKey:
    """Makes a key with the same label, scopes and length of life. The old one opens for `overlap_s` more, then never.

    It is answered in the same way, and is the same client: budgets stay, and what the old one has seen counts for it.
    Only an active key can be replaced.
    """
    context = context_of(request.scope)
    with once.begin(context.ledger, principal.tenant_id, left_out={"key": None}) as tx:
        overlap_us = body.overlap_s * 1_000_000
        row, secret = api_keys.rotate(tx, principal.tenant_id, key_id, overlap_us=overlap_us)
        made = MadeKey.model_validate({**_facts(row, tx.now), "key": secret})
        once.answer(tx, made, 201, Location=f"/v1/keys/{made.id}")
    context.recognised.forget()
    return made


@router.delete("/{key_id}", summary="Revoke a key", responses=documented(NotFound))
def revoke(key_id: KeyId, request: Request, principal: Annotated[Principal, needs(ADMIN)]) -> Key:
    """From the next request on it opens nothing. Only predictions of other API processes may recognise it a bit longer:
    for `LACUNA_KEY_FRESH_MS`, a second if nothing is said. A key may revoke itself; `lacuna key create` makes another.
    """
    context = context_of(request.scope)
    with context.ledger.database.begin() as tx:
        revoked = Key.model_validate(_facts(api_keys.revoke(tx, principal.tenant_id, key_id), tx.now))
    context.recognised.forget()
    return revoked
