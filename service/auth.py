"""Who is asking: API keys as Bearer token or as the password of HTTP Basic, sessions of browsers, and what each may do.

Keys carry 256 random bits, so a plain SHA-256 keeps them, and looking up that hash leaks nothing through its timing.
"""

from __future__ import annotations

import base64
from functools import partial
from typing import Any

from fastapi import Request, Security
from fastapi.security import HTTPBasic, HTTPBearer
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from ledger import api_keys, people, sessions, tenants
from ledger.errors import KeyRefused
from ledger.ledger import Ledger
from service import browser_sessions
from service.context import context_of
from service.errors import EXPECTED, respond
from service.principal import Principal as Principal  # who asks is known where it is found out
from service.refusals import CrossSite, NotAuthenticated, ScopeMissing

GUARDED = ("/v1", "/v2", "/dashboard", "/metrics")
OPEN = ("/dashboard/static", "/dashboard/sign-in", "/v2/health")
"""Addresses below the guarded ones that everybody may see."""
ADMIN = "admin"
_READING = ("GET", "HEAD", "OPTIONS")


class Authentication:
    """ASGI middleware: lets a guarded request in only with a valid key, before its body is read."""

    def __init__(self, app: ASGIApp) -> None:
        """Guard `app`."""
        self._app = app

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
                principal = await context.recognised.owner(
                    secret,
                    partial(recognise, context.ledger, secret),
                    for_ms=context.settings.lease_ttl_ms,
                    fresh_ms=context.settings.key_fresh_ms if is_prediction(scope) else 0,
                )
                if principal.expires_at is not None and principal.expires_at <= context.ledger.database.clock():
                    raise KeyRefused  # it was remembered
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


def is_prediction(scope: Scope) -> bool:
    """Whether a request asks for predictions, of which there may be many in a second."""
    return bool(scope["method"] == "POST" and scope["path"].endswith(("/predict", "/infer")))


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
        return Principal(
            key.tenant_id,
            key.id,
            tenant,
            key.label,
            frozenset(key.scopes),
            client_id=api_keys.client_of(key),
            outputs=api_keys.outputs_of(key),
            expires_at=key.expires_at,
        )


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
