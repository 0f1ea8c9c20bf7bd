"""Pure ASGI middleware: request ids, the access log, security headers and the size of bodies.

Starlette's BaseHTTPMiddleware is not used: it hands answers over through a queue, so that time would pass between
checking that a prediction may be sent and sending it.
"""

from __future__ import annotations

import time
from typing import Any

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

from service.context import context_of
from service.errors import respond
from service.refusals import BodyTooLarge

log = structlog.get_logger(__name__)

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
"""Sent with every answer that does not set them itself."""


_RECORDS = ("/records", "/corrections")  # where the addresses below /v1/cohorts end that take uploads


class RequestLog:
    """Gives every request an id, logs it by its route when it ends, and adds the security headers.

    The id is ours and random: one sent by a client could carry anything into the log.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Wrap `app`."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = context_of(scope).ledger.database.random(8).hex()
        scope.setdefault("state", {})["request_id"] = request_id
        started_ns = time.monotonic_ns()
        status = 500

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                add_headers(message, request_id)
            await send(message)

        try:
            with bound_contextvars(request_id=request_id):  # in all that is logged on the way, in threads too
                await self._app(scope, receive, send_with_headers)
        finally:
            log.info(
                "request",
                request_id=request_id,
                method=scope["method"] if scope["method"] in KNOWN_METHODS else "other",
                route=getattr(scope.get("route"), "path", "none"),
                status=status,
                ms=round((time.monotonic_ns() - started_ns) / 1e6, 1),
            )


KNOWN_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def add_headers(message: Message, request_id: str) -> None:
    """Add the request's id and the security headers to the start of an answer."""
    headers = MutableHeaders(scope=message)
    headers["X-Request-Id"] = request_id
    for name, value in SECURITY_HEADERS.items():
        headers.setdefault(name, value)


class BodyLimit:
    """Refuses bodies above `max_body_bytes`, declared or counted. Uploads have a limit of their own."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap `app`."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or is_upload(scope):
            await self._app(scope, receive, send)
            return
        limit = context_of(scope).settings.max_body_bytes
        if declared_length(scope) > limit:
            await respond(BodyTooLarge(limit), scope)(scope, receive, send)
            return
        received = 0

        async def receive_counting() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                # FastAPI lets only this class through while it reads a body.
                raise HTTPException(413, str(BodyTooLarge(limit)))
            return message

        await self._app(scope, receive_counting, send)


def declared_length(scope: Any) -> int:
    """Return the Content-Length, 0 when there is none or it is no number."""
    value = Headers(scope=scope).get("content-length", "")
    return int(value) if value.isascii() and value.isdigit() and len(value) < 20 else 0


def is_upload(scope: Any) -> bool:
    """Whether this request brings records, a part of them, or a core."""
    path = str(scope["path"])
    if scope["method"] == "PATCH" and path.startswith("/v1/uploads/"):
        return True
    return path == "/v1/core-imports" or (path.startswith("/v1/cohorts/") and path.endswith(_RECORDS))
