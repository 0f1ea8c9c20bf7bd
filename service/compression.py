"""Answers in gzip, for clients that accept it: what is read, never predictions or anything that is answered once."""

from __future__ import annotations

import re

from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

SMALLEST = 1024
LEVEL = 5
_TAGGED = re.compile(r"/v1/models/[0-9a-f]{32}(/batching)?")


class Compression:
    """ASGI middleware. Answers with a strong ETag stay as they are: it names one encoding only (RFC 9110, 8.8.1)."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap `app`."""
        self._app = app
        self._compressed = GZipMiddleware(app, minimum_size=SMALLEST, compresslevel=LEVEL)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        reads = scope["type"] == "http" and scope["method"] == "GET" and not _TAGGED.fullmatch(scope["path"])
        await (self._compressed if reads else self._app)(scope, receive, send)
