"""Sessions of browsers: the cookie, who is behind it, and the token that proves a form to be one of the session's own.

The token of a form is an HMAC under the session's token, so nothing more is stored, another session's does not fit, and
whoever can read a page but not the cookie learns nothing of the cookie.
"""

from __future__ import annotations

import hashlib
import hmac
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers
from starlette.responses import Response

PATH = "/dashboard"
SESSION, FORM = "lacuna_session", "lacuna_form"
"""The cookie of a session, and that of a sign-in form, which there is no session for yet."""


def cookie(headers: Headers, name: str) -> str | None:
    """Return a cookie's value, None when there is none or the header cannot be read."""
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(name)
    except CookieError:
        return None
    return found.value or None if found is not None else None


def form_token(secret: str) -> str:
    """Return what a form sends back to prove that a page of this session made it. `secret` is the cookie's value."""
    return hmac.new(secret.encode(), b"lacuna form", hashlib.sha256).hexdigest()


def is_form_token(secret: str, sent: object) -> bool:
    """Whether this was sent by such a form."""
    return isinstance(sent, str) and hmac.compare_digest(sent.encode(), form_token(secret).encode())


def give(response: Response, name: str, value: str, *, secure: bool) -> None:
    """Set a cookie that no script reads, that other sites' pages do not send, and that ends with the browser."""
    response.set_cookie(name, value, path=PATH, httponly=True, samesite="strict", secure=secure)


def take_back(response: Response, name: str, *, secure: bool) -> None:
    """Delete a cookie."""
    response.delete_cookie(name, path=PATH, httponly=True, samesite="strict", secure=secure)
