"""Cores that were trained elsewhere: weights come in, programs never do."""

from __future__ import annotations

import math
from pathlib import Path
from typing import IO, Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi import Path as PathParameter
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from ledger import core_imports, tables
from ledger.errors import NotFound, StoreFull
from service.api.schemas import ID_PATTERN, Items
from service.auth import Principal, needs
from service.context import Context, context_of
from service.errors import documented
from service.middleware import declared_length
from service.moments import when
from service.refusals import BodyNotOfType, BodyTooLarge
from service.uploads.receive import nameless_file, receive
from unlearning.architectures import parameter_count
from unlearning.errors import ArchitectureRefused, CoreRefused, OutOfRange, UnknownArchitecture
from unlearning.imported_core import check_core

router = APIRouter(prefix="/v1/core-imports", tags=["core imports"])

OCTETS = "application/octet-stream"
LARGEST_SIDE, MOST_COLUMNS = 512, 65_536
"""Of a network's input: what is tried here must fit into the memory of a process that answers others too."""
_READERS = ("models:write", "audit:read")
_NUMBER = r"-?\d{1,9}(\.\d{1,9})?([eE][+-]?\d{1,2})?"
_NUMBERS = rf"^{_NUMBER}(,{_NUMBER})*$"
BODY = {
    "requestBody": {
        "required": True,
        "description": "A safetensors file: the network's state dict in float32. BatchNorm's counters may miss.",
        "content": {OCTETS: {"schema": {"type": "string", "format": "binary"}}},
    }
}

Architecture = Annotated[
    str,
    Query(
        pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$",
        description="The network that the weights belong to: one of Lacuna's, or one that the operator allows.",
    ),
]
Role = Annotated[
    str,
    Query(
        pattern=r"^\p{L}[\p{L} '/&-]{1,63}$",
        description="Who attests that the training data were public: a role such as `data protection officer`, never "
        "a person's name or address. It stands in certificates.",
    ),
]
Shape = Annotated[
    str,
    Query(
        pattern=r"^\d{1,6}(,\d{1,6},\d{1,6})?$",
        description="Of one input of the network: `channels,height,width`, or `columns`.",
    ),
]
Numbers = Annotated[
    str | None,
    Query(
        pattern=_NUMBERS,
        max_length=4096,
        description="One number per channel or column, separated by commas, in the units of the stored records (an "
        "image of bytes: 0 to 255). Without it the core cohort decides. Give mean and deviation, or neither.",
    ),
]


class CoreImport(BaseModel):
    """An imported core."""

    id: str
    architecture: str
    leaky: bool
    shape: list[int]
    classes: int
    mean: list[float] | None
    deviation: list[float] | None
    parameters: int = Field(description="How many numbers were learned.")
    digest: str = Field(description="SHA-256 of the file.")
    attested_by: str
    created_at: str


def _shown(row: tables.CoreImport) -> CoreImport:
    return CoreImport(
        id=row.id,
        architecture=row.architecture,
        leaky=row.leaky,
        shape=row.shape,
        classes=row.outputs,
        mean=row.mean,
        deviation=row.deviation,
        parameters=row.parameters,
        digest=row.digest,
        attested_by=row.attested_by,
        created_at=when(row.created_at),
    )


@router.post(
    "",
    status_code=201,
    summary="Import a core",
    openapi_extra=BODY,
    responses=documented(
        CoreRefused, UnknownArchitecture, ArchitectureRefused, OutOfRange, BodyTooLarge, BodyNotOfType, StoreFull
    ),
)
async def create(
    request: Request,
    response: Response,
    principal: Annotated[Principal, needs("models:write")],
    architecture: Architecture,
    classes: Annotated[int, Query(ge=2, le=65_536, description="How many outputs the network has.")],
    shape: Shape,
    attested_by: Role,
    leaky: Annotated[bool, Query(description="Leaky-ReLU (slope 0.01) in the place of ReLU.")] = False,
    mean: Numbers = None,
    deviation: Numbers = None,
) -> CoreImport:
    """The file is checked against the architecture, tried once, and stored. Nothing in it is executed.

    Whether the core is public is attested, not verified: certificates say so.
    """
    context = context_of(request.scope)
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != OCTETS:
        raise BodyNotOfType([OCTETS])
    limit = context.settings.max_core_bytes
    if declared_length(request.scope) > limit:
        raise BodyTooLarge(limit)
    said = core_imports.NewCore(
        architecture=architecture,
        leaky=leaky,
        shape=_shape(shape),
        outputs=classes,
        attested_by=attested_by,
        mean=_numbers(mean),
        deviation=_numbers(deviation),
    )
    _check_scales(said)
    with nameless_file(Path(context.settings.data_dir)) as file:
        await receive(request.stream(), file, limit=limit)
        stored = await run_in_threadpool(_check_and_store, context, principal.tenant_id, said, file)
    response.headers["Location"] = f"/v1/core-imports/{stored.id}"
    return _shown(stored)


def _shape(text: str) -> tuple[int, ...]:
    shape = tuple(int(side) for side in text.split(","))
    largest = MOST_COLUMNS if len(shape) == 1 else LARGEST_SIDE
    if min(shape) < 1 or max(shape) > largest:
        raise OutOfRange("shape", shape, f"1 to {largest} in every place")
    return shape


def _numbers(text: str | None) -> tuple[float, ...] | None:
    return None if text is None else tuple(float(number) for number in text.split(","))


def _check_scales(said: core_imports.NewCore) -> None:
    """Raises OutOfRange: mean or deviation alone, of another length, or a deviation that nothing can be divided by."""
    if said.mean is None and said.deviation is None:
        return
    mean, deviation = said.mean or (), said.deviation or ()
    if not len(mean) == len(deviation) == said.shape[0]:
        raise OutOfRange("numbers in mean, deviation", (len(mean), len(deviation)), f"{said.shape[0]} in both")
    if min(deviation) <= 0 or not all(math.isfinite(number) for number in (*mean, *deviation)):
        raise OutOfRange("the smallest deviation", min(deviation), "> 0, and every number finite")


def _check_and_store(
    context: Context, tenant_id: str, said: core_imports.NewCore, file: IO[bytes]
) -> tables.CoreImport:
    file.seek(0)
    data = file.read()
    network = check_core(data, context.architectures, said.architecture, said.shape, said.outputs, leaky=said.leaky)
    return core_imports.store(context.ledger, tenant_id, said, data, parameters=parameter_count(network))


@router.get("", summary="List the imported cores", responses=documented())
def list_all(request: Request, principal: Annotated[Principal, needs(*_READERS)]) -> Items[CoreImport]:
    """All imported cores of the tenant, oldest first."""
    with context_of(request.scope).ledger.database.read() as tx:
        return Items(items=[_shown(row) for row in core_imports.list_all(tx, principal.tenant_id)])


@router.get("/{import_id}", summary="Show an imported core", responses=documented(NotFound))
def show(
    import_id: Annotated[str, PathParameter(pattern=ID_PATTERN, description="The imported core's id.")],
    request: Request,
    principal: Annotated[Principal, needs(*_READERS)],
) -> CoreImport:
    """One imported core. The file itself is not handed out again."""
    with context_of(request.scope).ledger.database.read() as tx:
        return _shown(core_imports.get(tx, principal.tenant_id, import_id))
