"""The description of the interface, and what FastAPI leaves out of it."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from service.errors import Problem

DESCRIPTION = """\
Every error is an RFC 9457 document (`application/problem+json`); its `type` is stable and explained at `/problems`.

Keys are sent as `Authorization: Bearer lacuna_...` or as the password of HTTP Basic. Times are UTC, RFC 3339.
Nothing that is sent is ever repeated in an error, except the names of networks and of their tensors.
"""


def describe(app: FastAPI) -> None:
    """Add the problem document to the OpenAPI description."""
    plain = app.openapi

    def with_problems() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = plain()
            schemas = schema.setdefault("components", {}).setdefault("schemas", {})
            problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas.update(problem.pop("$defs", {}))
            schemas["Problem"] = problem
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = with_problems  # type: ignore[method-assign]  # FastAPI's documented way to extend the description
