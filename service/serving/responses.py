"""The answer to a prediction, which is looked at once more at the moment of sending."""

from __future__ import annotations

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.errors import respond
from service.refusals import NotServing
from service.serving.inference import Answer, Inference, Prepare
from service.serving.registry import Registry

TRIES = 2


class PredictionResponse(Response):
    """Sends an answer only if its version is, at that moment, the one this process serves under a living lease.

    A prediction takes a while, and the version may be replaced meanwhile. Then it is computed once more, from the new
    version; if that too is outdated, or the lease is gone, the answer is 503.

    Nothing is awaited between the check and handing the answer to the server. Bytes that a server or the network holds
    back for a slow reader count as sent.
    """

    media_type = "application/json"

    def __init__(
        self, registry: Registry, inference: Inference, model_id: str, prepare: Prepare, first: Answer
    ) -> None:
        """`first` is what has been computed; `prepare` is kept in case it must be computed again."""
        super().__init__()
        self._registry = registry
        self._inference = inference
        self._model_id = model_id
        self._prepare = prepare
        self._first = first

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check and send."""
        answer = self._first
        for attempt in range(1, TRIES + 1):
            model = self._registry.current(self._model_id)
            if model is None:
                break
            if model.number == answer.number:
                self.body = answer.body
                self.init_headers({"X-Model-Version": str(answer.number)})
                await super().__call__(scope, receive, send)
                return
            if attempt < TRIES:
                answer = await self._inference.answer(model, self._prepare)
        await respond(NotServing(), scope)(scope, receive, send)
