"""The description of the interface, and what FastAPI leaves out of it."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from fastapi import FastAPI

from service import errors, refusals
from service.auth import is_guarded
from service.errors import Problem

DESCRIPTION = """\
Every error is an RFC 9457 document (`application/problem+json`); its `type` is stable and explained at `/problems`.

Keys are sent as `Authorization: Bearer lacuna_...` or as the password of HTTP Basic. Times are UTC, RFC 3339.
Nothing that is sent is ever repeated in an error, except the names of networks and of their tensors.
"""


EVERYWHERE = (errors.UNEXPECTED, errors.UNAVAILABLE)
WITH_A_KEY = (
    errors.NO_KEY,
    errors.KINDS[refusals.ScopeMissing],
    errors.KINDS[refusals.CrossSite],
    errors.TOO_OFTEN,
)
WITH_A_BODY = (errors.UNREADABLE, errors.TOO_LARGE, errors.INVALID_REQUEST)
"""What the middleware, and the reading of a request, may answer before an address is asked anything."""

METHODS = ("get", "head", "post", "put", "patch", "delete")
EVENT = {
    "type": "object",
    "required": ["data"],
    "properties": {
        "id": {"type": "string", "description": "Where to go on: the next connection sends it as `Last-Event-ID`."},
        "event": {"type": "string", "description": "What happened."},
        "data": {"type": "string", "description": "A JSON object that tells more."},
        "retry": {"type": "integer", "description": "Milliseconds to wait before connecting again."},
    },
}
"""One event of a stream, as the HTML standard reads it."""


_IN_THE_PROTOCOLS_FORM = {"application/json": {"schema": {"$ref": "#/components/schemas/ProtocolError"}}}
_OF_FASTAPI = "HTTPValidationError"


def describe(app: FastAPI) -> None:
    """Complete the OpenAPI description, also for addresses that are added later: problem documents and what every
    address may answer.
    """
    plain = app.openapi

    def with_problems() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = deepcopy(plain())  # the routes share what they say about errors
            schemas = schema.setdefault("components", {}).setdefault("schemas", {})
            problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas.update(problem.pop("$defs", {}))
            schemas["Problem"] = problem
            for name in (_OF_FASTAPI, "ValidationError"):
                schemas.pop(name, None)
            for path, verbs in schema.get("paths", {}).items():
                for verb in METHODS:
                    if verb in verbs:
                        complete(path, verb, verbs[verb])
            app.openapi_schema = schema
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = with_problems  # type: ignore[method-assign]  # FastAPI's documented way to extend the description


def complete(path: str, verb: str, operation: dict[str, Any]) -> None:
    """Add to one operation's description what FastAPI does not know of it."""
    responses = operation["responses"]
    if _OF_FASTAPI in str(responses.get("422")):  # FastAPI's own form; service/errors.py answers in another
        del responses["422"]
    kinds = [*EVERYWHERE]
    if is_guarded(path):
        kinds += WITH_A_KEY
    if "requestBody" in operation:
        kinds += WITH_A_BODY
    parameters = operation.get("parameters", [])
    if any(parameter["in"] == "path" for parameter in parameters):
        kinds.append(errors.NOT_FOUND)
    if any(parameter["in"] != "path" for parameter in parameters):
        kinds.append(errors.INVALID_REQUEST)
    if errors.is_open_inference(path):
        for kind in kinds:
            responses.setdefault(str(kind.status), {"description": kind.title, "content": _IN_THE_PROTOCOLS_FORM})
    else:
        errors.document(responses, kinds, status=str)
    for status, response in responses.items():
        if verb == "head" and status < "400":
            response.pop("content", None)
        if "text/event-stream" in response.get("content", {}):
            response["content"]["text/event-stream"] = {"schema": EVENT}
