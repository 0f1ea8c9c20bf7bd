"""Clients that send slowly, by accident or on purpose, hold a connection for a while only, and nothing else.

uvicorn itself waits for ever for the rest of a request, and reads headers of any size.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.context import context_of
from service.middleware import is_upload
from service.refusals import BodyTooSlow

MOST_HEADER_BYTES = 64 * 1024
_ANSWER = b"HTTP/1.1 %s\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_TOO_SLOW, _TOO_LARGE = _ANSWER % b"408 Request Timeout", _ANSWER % b"431 Request Header Fields Too Large"


class PatientProtocol(HttpToolsProtocol):
    """HTTP/1.1 in which a request's headers must be complete after `headers_s` seconds, and within 64 KiB."""

    headers_s = 10.0
    _timer: asyncio.TimerHandle | None = None
    _header_bytes = 0
    _reading_headers = True

    @classmethod
    def waiting(cls, headers_s: float) -> type[PatientProtocol]:
        """Return the protocol for this patience. uvicorn wants a class, not an instance."""
        return type("PatientProtocol", (cls,), {"headers_s": headers_s})

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Begin to wait for a first request."""
        super().connection_made(transport)
        self._begin()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._end()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, unless the headers have become too large."""
        if self._reading_headers:
            self._header_bytes += len(data)
        super().data_received(data)
        if self._reading_headers and self._header_bytes > MOST_HEADER_BYTES:
            self._refuse(_TOO_LARGE)

    def on_message_begin(self) -> None:
        """Begin to wait for the headers of one more request."""
        super().on_message_begin()
        if not self._reading_headers:
            self._begin()

    def on_headers_complete(self) -> None:
        """Wait no more."""
        self._end()
        super().on_headers_complete()

    def _begin(self) -> None:
        self._reading_headers, self._header_bytes = True, 0
        self._timer = self.loop.call_later(self.headers_s, self._refuse, _TOO_SLOW)

    def _end(self) -> None:
        self._reading_headers = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, answer: bytes) -> None:
        self._end()
        if not self.transport.is_closing():
            self.transport.write(answer)
            self.transport.close()


class PatientBodies:
    """ASGI middleware: a body must go on arriving; one that is no upload must be complete after four times as long."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap `app`."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        pause_s = context_of(scope).settings.slow_body_s
        until = float("inf") if is_upload(scope) else time.monotonic() + 4 * pause_s
        complete = False

        async def receive_in_time() -> Message:
            nonlocal complete
            if complete:
                return await receive()  # it tells when the client goes away
            try:
                async with asyncio.timeout(min(pause_s, max(0.0, until - time.monotonic()))):
                    message = await receive()
            except TimeoutError:
                # FastAPI lets only this class through while it reads a body.
                raise HTTPException(408, str(BodyTooSlow())) from None
            complete = not message.get("more_body", False)
            return message

        await self._app(scope, receive_in_time, send)


def uvicorn_options(headers_s: float) -> dict[str, Any]:
    """Return what uvicorn is told: this protocol, and no WebSockets, which nobody here speaks."""
    return {"http": PatientProtocol.waiting(headers_s), "ws": "none"}
