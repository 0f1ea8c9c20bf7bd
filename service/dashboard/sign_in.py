"""Signing in and out."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.concurrency import run_in_threadpool

from ledger import sessions
from service import browser_sessions
from service.browser_sessions import FORM, SESSION
from service.context import context_of
from service.dashboard.forms import CHANGES_NOTHING, onwards, require_same_origin, sent_token
from service.dashboard.pages import Visitor, page_router, render
from service.sign_ins import Refused

WRONG = "That name and password do not belong together, or may not sign in."
WRONG_KEY = "No key like this may look at the dashboard: it needs the scope audit:read or admin."
STALE = "The form was too old. Please sign in again."

router = page_router()
public = APIRouter(prefix="/dashboard", include_in_schema=False)
"""Addresses without `guard`: there is no session yet."""
Field = Annotated[str, Form(max_length=1000)]


@public.get("/sign-in")
def form(request: Request, next: str = "") -> HTMLResponse:
    """The form."""
    return _form(request, onwards(next))


@public.post("/sign-in")
async def sign_in(
    request: Request,
    name: Field = "",
    password: Field = "",
    key: Field = "",
    next: Field = "",
) -> Response:
    """Begin a session, with a token that did not exist before; that of the browser ends. Raises CrossSite."""
    require_same_origin(request)
    secret = browser_sessions.cookie(request.headers, FORM)
    if secret is None or not browser_sessions.is_form_token(secret, await sent_token(request)):
        return _form(request, onwards(next), STALE, status=403)
    context = context_of(request.scope)
    address = request.client.host if request.client is not None else ""
    if key:
        begun = await run_in_threadpool(context.sign_ins.with_key, context.ledger.database, key, address)
    else:
        begun = await run_in_threadpool(
            context.sign_ins.with_password, context.ledger.database, name, password, address
        )
    if isinstance(begun, Refused):
        return _refusal(request, onwards(next), begun, WRONG_KEY if key else WRONG)
    await run_in_threadpool(_end, request)
    answer = RedirectResponse(onwards(next), 303)
    browser_sessions.give(answer, SESSION, begun, secure=_secure(request))
    browser_sessions.take_back(answer, FORM, secure=_secure(request))
    return answer


@router.post("/sign-out", openapi_extra=CHANGES_NOTHING)
def sign_out(request: Request, _: Visitor) -> Response:
    """End the session."""
    _end(request)
    answer = RedirectResponse("/dashboard/sign-in", 303)
    browser_sessions.take_back(answer, SESSION, secure=_secure(request))
    return answer


def _form(request: Request, next: str, error: str | None = None, *, status: int = 200) -> HTMLResponse:
    """Return the form with a token that fits a cookie which is set with it."""
    database = context_of(request.scope).ledger.database
    secret = browser_sessions.cookie(request.headers, FORM) or database.random(sessions.TOKEN_BYTES).hex()
    request.state.form_token = browser_sessions.form_token(secret)
    page = render(request, "sign_in.html", None, status=status, now=database.clock(), next=next, error=error)
    browser_sessions.give(page, FORM, secret, secure=_secure(request))
    return page


def _refusal(request: Request, next: str, refused: Refused, wrong: str) -> Response:
    if refused.wait_s is None:
        return _form(request, next, wrong, status=403)
    minutes = -(-refused.wait_s // 60)
    page = _form(request, next, f"Too many attempts. Try again in {minutes} minutes.", status=429)
    page.headers["Retry-After"] = str(refused.wait_s)
    return page


def _end(request: Request) -> None:
    token = browser_sessions.cookie(request.headers, SESSION)
    if token is not None:
        with context_of(request.scope).ledger.database.begin() as tx:
            sessions.end(tx, token)


def _secure(request: Request) -> bool:
    return request.url.scheme == "https"
