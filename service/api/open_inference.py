"""The Open Inference Protocol, version 2: what any of its clients needs to find models and to ask them."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from ledger import catalog
from ledger.errors import NotFound, WrongState
from ledger.ledger import Ledger
from service.api.answering import REFUSALS, SMALL, respond_from, why_not
from service.auth import Principal, needs
from service.context import Context, context_of
from service.errors import KINDS, UNAVAILABLE, UNEXPECTED
from service.open_inference.answers import DATATYPES, HEADER, OCTETS, as_tensors, names_for
from service.open_inference.request import PROBABILITIES, InferRequest
from service.open_inference.tensors import INPUT, datatype_of
from service.refusals import (
    BodyNotOfType,
    BodyUnreadable,
    NotAuthenticated,
    NotServing,
    ScopeMissing,
    VersionNotServed,
)
from service.serving.model import ServedModel
from service.serving.outputs import JSON

router = APIRouter(prefix="/v2", tags=["open inference protocol"])

READERS = ("predict", "models:write", "data:write", "forget:write", "audit:read")
EXTENSIONS = ["binary_tensor_data"]
MODEL = "/models/{name}"
VERSIONED = "/models/{name}/versions/{number}"
NOT_READY = 400
"""The protocol tells readiness by 200 or a status from 400 to 499."""


class ProtocolError(BaseModel):
    """An error in the protocol's form."""

    error: str = Field(description="What happened, why, and what to do.")


class Server(BaseModel):
    """What answers."""

    name: str
    version: str
    extensions: list[str]


class Health(BaseModel):
    """Whether something lives and is ready. The status says it too."""

    live: bool
    ready: bool
    name: str | None = Field(None, description="Of a model: the name that was asked for.")


class Tensor(BaseModel):
    """An input or an output of a model; -1 stands for any size."""

    name: str
    datatype: str
    shape: list[int]


class Model(BaseModel):
    """What a model takes and gives, as the key that asks may see it."""

    name: str
    versions: list[str] = Field(description="The newest version: no other answers.")
    platform: str
    inputs: list[Tensor]
    outputs: list[Tensor]


def failing(*kinds: type[Exception]) -> dict[int | str, dict[str, Any]]:
    """Return OpenAPI's `responses` for these errors, and for those that any address here may answer."""
    always = (KINDS[NotAuthenticated], KINDS[ScopeMissing], UNEXPECTED, UNAVAILABLE)
    statuses = {kind.status for kind in (*always, *(KINDS[cls] for cls in kinds))} | {429}
    return {status: {"model": ProtocolError, "description": "In the protocol's form."} for status in sorted(statuses)}


@router.get("", summary="What answers here", responses=failing())
async def server(_: Annotated[Principal, needs()]) -> Server:
    """Name, version and extensions of the server. Any valid key may ask."""
    return Server(name="lacuna", version=version("lacuna"), extensions=EXTENSIONS)


@router.get("/health/live", summary="Does the process live?", response_model=Health)
async def live() -> Response:
    """Answers as long as the process can answer at all. Needs no key."""
    return _health(Health(live=True, ready=True))


_NOT_READY: dict[int | str, dict[str, Any]] = {
    NOT_READY: {"model": Health, "description": "It is not ready, or the request is not what it must be."}
}


@router.get("/health/ready", summary="Can the process predict?", response_model=Health, responses=_NOT_READY)
async def ready(request: Request) -> Response:
    """400 while no leases are renewed, so that nothing can be predicted. Needs no key."""
    return _health(Health(live=True, ready=context_of(request.scope).registry.ready))


def _health(health: Health) -> Response:
    return JSONResponse(health.model_dump(exclude_none=True), status_code=200 if health.ready else NOT_READY)


_MODEL_READY = _NOT_READY | failing(NotFound, WrongState)


@router.get(f"{MODEL}/ready", summary="Is a model ready?", response_model=Health, responses=_MODEL_READY)
@router.get(f"{VERSIONED}/ready", summary="Is a version ready?", response_model=Health, responses=_MODEL_READY)
async def model_ready(
    name: str, request: Request, principal: Annotated[Principal, needs(*READERS)], number: str | None = None
) -> Response:
    """200 if it answers now, 400 if it does not at this moment, 404 or 409 if it never will."""
    try:
        await _served(context_of(request.scope), principal, name, number)
    except NotServing:
        return _health(Health(name=name, live=True, ready=False))
    return _health(Health(name=name, live=True, ready=True))


@router.get(MODEL, summary="What a model takes and gives", responses=failing(NotFound, WrongState, NotServing))
@router.get(VERSIONED, summary="What a version takes and gives", responses=failing(NotFound, WrongState, NotServing))
async def metadata(
    name: str, request: Request, principal: Annotated[Principal, needs(*READERS)], number: str | None = None
) -> Model:
    """Input and outputs. A model goes by its id, and by its name."""
    model = await _served(context_of(request.scope), principal, name, number)
    spec = model.public.input_spec
    return Model(
        name=name,
        versions=[str(model.number)],
        platform="lacuna",
        inputs=[Tensor(name=INPUT, datatype=datatype_of(spec), shape=[-1, *spec.shape])],
        outputs=[
            Tensor(name=one, datatype=DATATYPES[one], shape=[-1, spec.classes] if one == PROBABILITIES else [-1])
            for one in names_for(principal.outputs)
        ],
    )


BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            JSON: {
                "schema": {
                    "type": "object",
                    "required": ["inputs"],
                    "properties": {"inputs": {"type": "array", "minItems": 1, "maxItems": 1, "items": {}}},
                },
                "examples": {
                    "two rows of a table": {
                        "value": {
                            "id": "42",
                            "inputs": [{"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 3, 4]}],
                            "outputs": [{"name": "probabilities"}],
                        }
                    }
                },
            },
            OCTETS: {"schema": {"type": "string", "format": "binary", "description": f"JSON, {HEADER}, then tensors."}},
        },
    },
    "parameters": [
        {
            "name": HEADER,
            "in": "header",
            "required": False,
            "schema": {"type": "integer", "minimum": 0},
            "description": "With binary data: how many bytes of the body are JSON.",
        }
    ],
}
_TENSORS: dict[int | str, dict[str, Any]] = {
    200: {"content": {JSON: {}, OCTETS: {}}, "description": "Tensors, and the version that they come from."}
}
_INFER = _TENSORS | failing(*REFUSALS)


@router.post(f"{MODEL}/infer", summary="Infer", openapi_extra=BODY, responses=_INFER)
@router.post(f"{VERSIONED}/infer", summary="Infer from a version", openapi_extra=BODY, responses=_INFER)
async def infer(
    name: str, request: Request, principal: Annotated[Principal, needs("predict")], number: str | None = None
) -> Response:
    """The same answers as /predict, as tensors. `model_version` names the version that answered."""
    context = context_of(request.scope)
    with context.predictions.timing(principal.tenant_id):
        kind = request.headers.get("content-type", JSON).partition(";")[0].strip().lower()
        if kind not in (JSON, OCTETS):
            raise BodyNotOfType((JSON, OCTETS))
        body = await request.body()
        asked = InferRequest(body, _header_bytes(request.headers.get(HEADER)))
        model = await _served(context, principal, name, number)
        return await respond_from(
            context,
            principal,
            model,
            asked.records,
            lambda allowed: as_tensors(asked, name, allowed),
            small=len(body) <= SMALL,
            only=None if number is None else model.number,
        )


def _header_bytes(said: str | None) -> int | None:
    if said is None:
        return None
    if not (said.isascii() and said.isdigit() and len(said) < 12):
        raise BodyUnreadable(f"{HEADER} is not a number")
    return int(said)


async def _served(context: Context, principal: Principal, name: str, number: str | None) -> ServedModel:
    """Return the version that answers for a name. Raises NotFound, WrongState, NotServing, VersionNotServed."""
    line_id = context.registry.line_of(principal.tenant_id, name)
    model = None if line_id is None else context.registry.current(line_id)
    if model is None:
        raise await run_in_threadpool(_why_not, context.ledger, principal.tenant_id, name)
    if number is not None and number != str(model.number):
        raise await run_in_threadpool(_why_not_version, context.ledger, principal.tenant_id, model.line_id, number)
    return model


def _why_not(ledger: Ledger, tenant_id: str, name: str) -> Exception:
    with ledger.database.read() as tx:
        model_id = catalog.id_of_name(tx, tenant_id, name)
    return why_not(ledger, tenant_id, name if model_id is None else model_id)


def _why_not_version(ledger: Ledger, tenant_id: str, line_id: str, number: str) -> Exception:
    if not (number.isascii() and number.isdigit() and len(number) < 10):
        return NotFound("model version", "")
    with ledger.database.read() as tx:
        catalog.get_version(tx, tenant_id, line_id, int(number))
    return VersionNotServed()
