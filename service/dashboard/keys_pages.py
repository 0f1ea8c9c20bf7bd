"""Who and what may come in: API keys, the keys that sign, and people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Form, Path, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from ledger import api_keys, people, signing_keys
from ledger.database import Transaction
from ledger.tables import ApiKey
from ledger.tenants import SCOPES
from service.api.schemas import ID_PATTERN
from service.auth import Principal
from service.context import context_of
from service.dashboard.changes import noted
from service.dashboard.pages import Visitor, page_router, render

DAY_US = 86_400_000_000
NO_SCOPE = "A key that may do nothing opens nothing. Tick what it may do."
NO_LABEL = "Say what the key is for, in 1 to 200 characters."
NO_DAYS = "It must end after 1 to 3660 days, or not by itself."
AT = "/dashboard/keys"

router = page_router()
Id = Annotated[str, Path(pattern=ID_PATTERN)]


@dataclass(frozen=True, slots=True)
class ShownKey:
    """An API key's row and its state: active, expired or revoked."""

    row: ApiKey
    state: str


@router.get("/keys")
def keys(request: Request, principal: Visitor) -> HTMLResponse:
    """API keys, signing keys and people."""
    return _page(request, principal)


@router.post("/keys")
def create(
    request: Request,
    principal: Visitor,
    label: Annotated[str, Form()] = "",
    scopes: Annotated[list[str], Form()] = [],  # noqa: B006 (FastAPI copies it)
    days: Annotated[str, Form()] = "",
) -> Response:
    """Make a key and show it, this once."""
    wrong = NO_LABEL if not 0 < len(label.strip()) <= 200 else NO_SCOPE if not set(scopes) & set(SCOPES) else None
    if days and not (days.isascii() and days.isdigit() and len(days) < 5 and 1 <= int(days) <= 3660):
        wrong = NO_DAYS
    if wrong is not None:
        return _page(request, principal, error=wrong, status=422)
    made: list[str] = []

    def make(tx: Transaction) -> str:
        expires_at = tx.now + int(days) * DAY_US if days else None
        may = [scope for scope in SCOPES if scope in scopes]
        row, secret = api_keys.create(tx, principal.tenant_id, label.strip(), may, expires_at=expires_at)
        made.append(secret)
        return row.id

    noted(request, principal, "key.made", make)
    return _page(request, principal, made=made[0])


@router.post("/keys/{key_id}/revoke")
def revoke(key_id: Id, request: Request, principal: Visitor) -> Response:
    """Let a key open nothing from now on. Raises NotFound."""
    noted(request, principal, "key.revoked", lambda tx: api_keys.revoke(tx, principal.tenant_id, key_id).id)
    context_of(request.scope).recognised.forget()
    return RedirectResponse(AT, 303)


@router.post("/people/{person_id}/disable")
def disable(person_id: Id, request: Request, principal: Visitor) -> Response:
    """Let somebody in no more and end their sessions. Raises NotFound."""

    def end(tx: Transaction) -> str:
        person = people.get(tx, principal.tenant_id, person_id)
        people.disable(tx, person)
        return person.id

    noted(request, principal, "person.disabled", end)
    return RedirectResponse(AT, 303)


def _page(
    request: Request, principal: Principal, *, status: int = 200, error: str | None = None, made: str | None = None
) -> HTMLResponse:
    ledger = context_of(request.scope).ledger
    with ledger.database.read() as tx:
        return render(
            request,
            "keys.html",
            principal,
            status=status,
            now=tx.now,
            error=error,
            made=made,
            scopes=SCOPES,
            keys=[ShownKey(row, api_keys.state(row, tx.now)) for row in api_keys.list_all(tx, principal.tenant_id)],
            signing=signing_keys.known(tx, ledger.ring),
            people=people.list_all(tx, principal.tenant_id),
        )
