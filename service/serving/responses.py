"""The answer to a prediction, which is looked at once more at the moment of sending."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.errors import respond
from service.refusals import NotServing
from service.serving.model import ServedModel
from service.serving.outputs import Answer
from service.serving.registry import Registry

TRIES = 2
Compute = Callable[[ServedModel], Awaitable[Answer]]
"""Computes an answer from a version, once it is noted that it is seen."""


class PredictionResponse(Response):
    """Sends an answer only if its version is, at that moment, the one this process serves under a living lease.

    A prediction takes a while, and the version may be replaced meanwhile. Then it is computed once more, from the new
    version; if that too is outdated, or the lease is gone, the answer is 503.

    Nothing is awaited between the check and handing the answer to the server. Bytes that a server or the network holds
    back for a slow reader count as sent.
    """

    def __init__(
        self, registry: Registry, line_id: str, compute: Compute, first: Answer, on_sent: Callable[[Answer], None]
    ) -> None:
        """`first` is what has been computed; `compute` is kept in case it must be computed again.

        `on_sent` is told of the answer when it is handed over.
        """
        super().__init__()
        self._registry = registry
        self._line_id = line_id
        self._compute = compute
        self._first = first
        self._on_sent = on_sent

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check and send."""
        answer = self._first
        for attempt in range(1, TRIES + 1):
            model = self._registry.current(self._line_id)
            if model is None:
                break
            if model.number == answer.number:
                self.body = answer.body
                self.media_type = answer.media_type
                self.init_headers({"X-Model-Version": str(answer.number), **dict(answer.headers)})
                self._on_sent(answer)
                await super().__call__(scope, receive, send)
                return
            if attempt < TRIES:
                answer = await self._compute(model)
        await respond(NotServing(), scope)(scope, receive, send)
