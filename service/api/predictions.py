"""Predictions."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from service.api.answering import REFUSALS, SMALL, respond_from, why_not
from service.api.schemas import ModelId
from service.auth import Principal, needs
from service.context import context_of
from service.errors import documented
from service.refusals import (
    BodyNotOfType,
)
from service.serving.instances import from_archive, from_json
from service.serving.outputs import as_predictions

router = APIRouter(prefix="/v1/models", tags=["predictions"])

JSON, OCTETS = "application/json", "application/octet-stream"
UNPACKED = 4
"""How many times larger than the largest body an unpacked archive may be."""


class Prediction(BaseModel):
    """What the model says about one record."""

    label: int = Field(description="The most probable class index.")
    class_name: str
    probabilities: list[float] | None = Field(
        None, description="One per class; they sum to one, but for rounding. Absent where only labels are told."
    )


class Predictions(BaseModel):
    """What the model says, and which version of it said so."""

    model: str
    model_version: int = Field(description="The version that answered.")
    outputs: Literal["probabilities", "rounded", "label"] = Field(description="How this key is answered.")
    digits: int | None = Field(None, description="Of rounded probabilities: how many stand behind the point.")
    leakage_budget: Literal["spent"] | None = Field(
        None, description="There if the key's budget for this model is spent, as in the header X-Leakage-Budget."
    )
    predictions: list[Prediction]


BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            JSON: {
                "schema": {
                    "type": "object",
                    "required": ["instances"],
                    "additionalProperties": False,
                    "properties": {"instances": {"type": "array", "minItems": 1, "items": {}}},
                },
                "examples": {"two rows of a table": {"value": {"instances": [[0.1, 2.0], [1.5, -3.0]]}}},
            },
            OCTETS: {"schema": {"type": "string", "format": "binary", "description": ".npz with the member x"}},
        },
    }
}


@router.post(
    "/{model_id}/predict",
    summary="Predict classes",
    openapi_extra=BODY,
    response_model=Predictions,
    responses=documented(*REFUSALS),
)
async def predict(model_id: ModelId, request: Request, principal: Annotated[Principal, needs("predict")]) -> Response:
    """The answer names the version it comes from, which is the newest this process can vouch for.

    Without one it is 503 with `Retry-After`: an answer from weights that may be forgotten is never sent.
    """
    context = context_of(request.scope)
    with context.predictions.timing(principal.tenant_id):
        return await _answer(model_id, request, principal)


async def _answer(model_id: str, request: Request, principal: Principal) -> Response:
    context = context_of(request.scope)
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type not in (JSON, OCTETS):
        raise BodyNotOfType((JSON, OCTETS))
    body = await request.body()
    largest = UNPACKED * context.settings.max_body_bytes
    prepare = from_json(body) if content_type == JSON else from_archive(body, largest=largest)
    model = context.registry.current(model_id)
    if model is None or model.tenant_id != principal.tenant_id:
        raise await run_in_threadpool(why_not, context.ledger, principal.tenant_id, model_id)
    return await respond_from(context, principal, model, prepare, as_predictions, small=len(body) <= SMALL)
