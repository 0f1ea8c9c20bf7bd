"""How often a key may ask, told in every answer.

Source of the headers: draft-ietf-httpapi-ratelimit-headers-11, structured fields of RFC 9651.
"""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.context import context_of
from service.errors import respond
from service.limiter import POLICY
from service.refusals import AskedTooOften


class RateLimits:
    """ASGI middleware behind `Authentication`: answers 429 to a key that asks too often."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap `app`."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request; those without a key are not counted."""
        principal = scope.get("state", {}).get("principal")
        limiter = context_of(scope).limiter if principal is not None else None
        if limiter is None:
            await self._app(scope, receive, send)
            return
        allowed, left, reset_s = limiter.count(principal.key_id)

        async def send_with_limits(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["RateLimit-Policy"] = limiter.policy
                headers["RateLimit"] = f'"{POLICY}";r={left};t={reset_s}'
            await send(message)

        answer = self._app if allowed else respond(AskedTooOften(reset_s), scope)
        await answer(scope, receive, send_with_limits)
