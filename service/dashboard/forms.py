"""What every form must prove before anything is changed: whose it is, where it comes from, and that they may.

Every router of pages has `guard`, so no page can forget it. It refuses whatever is not a plain reading, unless
the session's own page sent it and an admin is signed in; what changes nothing says so with CHANGES_NOTHING.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from fastapi import Request

from service import browser_sessions
from service.auth import ADMIN, Principal
from service.refusals import CrossSite, FormRefused, OnlyLooking

CHANGES_NOTHING: dict[str, Any] = {"x-changes": "nothing"}
"""The `openapi_extra` of an address that an auditor may send a form to."""
FIELD, HEADER = "csrf", "X-CSRF-Token"
_READING = ("GET", "HEAD")


async def guard(request: Request) -> None:
    """Let readings pass, and forms that prove all of it. Raises CrossSite, FormRefused, OnlyLooking."""
    if request.method in _READING:
        return
    principal: Principal = request.state.principal
    require_same_origin(request)
    token = browser_sessions.cookie(request.headers, browser_sessions.SESSION)
    if principal.signed_in is None or token is None:  # a key in a header: that is what the API is for
        raise FormRefused
    if not browser_sessions.is_form_token(token, await sent_token(request)):
        raise FormRefused
    if ADMIN not in principal.scopes and request.scope["route"].openapi_extra != CHANGES_NOTHING:
        raise OnlyLooking


def require_same_origin(request: Request) -> None:
    """Refuse what a browser says another site's page has sent. Raises CrossSite."""
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise CrossSite


async def sent_token(request: Request) -> object:
    """Return the token that came with a form, in its field or, from a script, in the header."""
    return request.headers.get(HEADER) or (await request.form()).get(FIELD)


def onwards(wanted: str) -> str:
    """Return where to go after a form: an address of the dashboard and no other, or the overview."""
    inside = wanted == "/dashboard" or wanted.startswith(("/dashboard/", "/dashboard?"))
    return wanted if inside and wanted.isprintable() and "\\" not in wanted else "/dashboard"
