"""Who is asking: API keys as Bearer token or as the password of HTTP Basic, sessions of browsers, and what each may do.

Keys carry 256 random bits, so a plain SHA-256 keeps them, and looking up that hash leaks nothing through its timing.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from functools import partial
from typing import Any

from fastapi import Request, Security
from fastapi.security import HTTPBasic, HTTPBearer
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from ledger import people, sessions, tenants
from ledger.ledger import Ledger
from ledger.sessions import SignedIn
from service import browser_sessions
from service.context import context_of
from service.errors import EXPECTED, respond
from service.refusals import CrossSite, NotAuthenticated, ScopeMissing
from service.remembered_keys import RememberedKeys
from service.serving.clock import boottime_ns

GUARDED = ("/v1", "/dashboard", "/metrics")
OPEN = ("/dashboard/static", "/dashboard/sign-in")
"""Addresses below the guarded ones that everybody may see."""
ADMIN = "admin"
_READING = ("GET", "HEAD", "OPTIONS")


@dataclass(frozen=True, slots=True)
class Principal:
    """A key that was recognised: its tenant, its id, its label and its scopes.

    Or a session of the dashboard; then `signed_in` says whose, and id and label are the person's or the key's.
    """

    tenant_id: str
    key_id: str
    tenant: str
    key: str
    scopes: frozenset[str]
    signed_in: SignedIn | None = None


class Authentication:
    """ASGI middleware: lets a guarded request in only with a valid key, before its body is read."""

    def __init__(self, app: ASGIApp) -> None:
        """Guard `app`."""
        self._app = app
        self._remembered = RememberedKeys[Principal](monotonic_ns=boottime_ns)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401 or 403, or put the `Principal` into the request's state and go on."""
        if scope["type"] != "http" or not is_guarded(scope["path"]):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            if scope["method"] not in _READING and headers.get("sec-fetch-site") in ("cross-site", "same-site"):
                raise CrossSite  # a browser adds remembered Basic passwords to other sites' forms
            context = context_of(scope)
            if (token := session_token(scope["path"], headers)) is not None:
                principal = await run_in_threadpool(recognise_session, context.ledger, token)
                scope["state"]["form_token"] = browser_sessions.form_token(token)
            else:
                secret = presented_key(headers.get("authorization"))
                principal = await self._remembered.owner(
                    secret, partial(recognise, context.ledger, secret), for_ms=context.settings.lease_ttl_ms
                )
        except EXPECTED as problem:
            await respond(problem, scope)(scope, receive, send)
            return
        scope["state"]["principal"] = principal
        signed_in = principal.signed_in
        if signed_in is not None:
            context.sign_ins.used(signed_in.session_id, context.ledger.database.clock())
        if signed_in is None or not signed_in.of_person:
            context.housekeeping.used(principal.key_id)
        await self._app(scope, receive, send)


def is_guarded(path: str) -> bool:
    """Whether a path needs a key."""
    return _below(path, GUARDED) and not _below(path, OPEN)


def _below(path: str, prefixes: tuple[str, ...]) -> bool:
    return any(path == prefix or path.startswith(prefix + "/") for prefix in prefixes)


def session_token(path: str, headers: Headers) -> str | None:
    """Return the token of a browser's session. The API has no use for one, nor has a request that brings a key."""
    if not _below(path, (browser_sessions.PATH,)) or "authorization" in headers:
        return None
    return browser_sessions.cookie(headers, browser_sessions.SESSION)


def presented_key(header: str | None) -> str:
    """Return the key in an Authorization header. Raises NotAuthenticated."""
    scheme, _, value = (header or "").partition(" ")
    value = value.strip()
    if scheme.lower() == "bearer" and value:
        return value
    if scheme.lower() == "basic":
        try:
            _, colon, password = base64.b64decode(value, validate=True).decode().partition(":")
        except ValueError:  # no base64, or no UTF-8 in it
            raise NotAuthenticated from None
        if colon and password:
            return password
    raise NotAuthenticated


def recognise(ledger: Ledger, secret: str) -> Principal:
    """Return whose key this is. Raises KeyRefused."""
    with ledger.database.read() as tx:
        key = tenants.authenticate(tx, secret)
        tenant = tenants.tenant_name(tx, key.tenant_id)
        return Principal(key.tenant_id, key.id, tenant, key.label, frozenset(key.scopes))


def recognise_session(ledger: Ledger, token: str) -> Principal:
    """Return whose session this is; it is looked up every time. Raises NotAuthenticated."""
    with ledger.database.read() as tx:
        found = sessions.find(tx, token)
        if found is None:
            raise NotAuthenticated
        scopes = frozenset({ADMIN if found.role == people.ADMIN else "audit:read"})
        tenant = tenants.tenant_name(tx, found.tenant_id)
        return Principal(found.tenant_id, found.actor, tenant, found.label, scopes, found)


_bearer = HTTPBearer(auto_error=False, description="An API key: `Authorization: Bearer lacuna_...`")
_basic = HTTPBasic(auto_error=False, description="Any user name, and an API key as the password.")


def needs(*any_of: str) -> Any:
    """Return a dependency: the principal, if its key has one of these scopes (none named: any valid key will do).

    It raises ScopeMissing otherwise.
    """

    async def check(request: Request, _b: Any = Security(_bearer), _p: Any = Security(_basic)) -> Principal:
        principal: Principal = request.state.principal
        if any_of and not principal.scopes & {ADMIN, *any_of}:
            raise ScopeMissing(any_of)
        return principal

    return Security(check)
