"""Problems for people: a page in the place of a problem document, and the way to the sign-in."""

from __future__ import annotations

import json
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import browser_sessions
from service.context import context_of
from service.dashboard.pages import HEADERS, environment
from service.errors import PROBLEM_JSON

SIGN_IN = "/dashboard/sign-in"


class ProblemPages:
    """ASGI middleware outside `Authentication`. Programs, which ask for no HTML, get the problem document as ever."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap `app`."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or not is_for_people(scope):
            await self._app(scope, receive, send)
            return
        start: Message = {}
        body = b""

        async def send_page(message: Message) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start" and is_problem(message):
                start = message
            elif start:
                body += message.get("body", b"")
                if not message.get("more_body", False):
                    await page_of(scope, start, json.loads(body))(scope, receive, send)
            else:
                await send(message)

        await self._app(scope, receive, send_page)


def is_for_people(scope: Scope) -> bool:
    """Whether a browser asks for a page, or one of its pages for a part of itself."""
    headers = Headers(scope=scope)
    path = str(scope["path"])
    below = path == browser_sessions.PATH or path.startswith(browser_sessions.PATH + "/")
    return below and ("text/html" in headers.get("accept", "") or "hx-request" in headers)


def is_problem(start: Message) -> bool:
    """Whether an answer that begins like this is a problem document."""
    return Headers(raw=start["headers"]).get("content-type", "").startswith(PROBLEM_JSON)


def page_of(scope: Scope, start: Message, problem: dict[str, str]) -> Response:
    """Return what a person sees of a problem: the sign-in if nobody is signed in, else a page that says it."""
    status = int(start["status"])
    if status == 401:
        answer = _to_sign_in(scope)
    else:
        page = environment().get_template("problem.html")
        text = page.render(who=None, places=[], csrf="", problem=problem, now=context_of(scope).ledger.database.clock())
        answer = HTMLResponse(text, status, headers=HEADERS)
    given = MutableHeaders(raw=start["headers"])
    for name in ("retry-after", "allow"):
        if name in given:
            answer.headers[name] = given[name]
    return answer


def _to_sign_in(scope: Scope) -> Response:
    headers = Headers(scope=scope)
    if "hx-request" in headers:  # a part of a page: the whole of it has to go
        return Response(status_code=401, headers={"HX-Redirect": SIGN_IN})
    wanted = str(scope["path"]) + (f"?{scope['query_string'].decode('latin-1')}" if scope["query_string"] else "")
    onwards = f"?next={quote(wanted, safe='/')}" if scope["method"] == "GET" else ""
    answer = RedirectResponse(SIGN_IN + onwards, 303)
    if browser_sessions.cookie(headers, browser_sessions.SESSION) is not None:
        browser_sessions.take_back(answer, browser_sessions.SESSION, secure=scope["scheme"] == "https")
    return answer
