"""Destroying a model, and the certificate of that."""

from __future__ import annotations

import base64
import json
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel

from ledger import catalog, destruction, generations, lines
from ledger.errors import ModelRetired, NotFound, StoreFull
from service.api.conditional import IfMatch
from service.api.models import Model, shown
from service.api.schemas import ModelId
from service.auth import ADMIN, Principal, needs
from service.context import context_of
from service.errors import documented
from service.refusals import CertificateMissing, PreconditionFailed

router = APIRouter(prefix="/v1/models", tags=["models"])

_READERS = ("models:write", "audit:read")


class Retired(BaseModel):
    """The model, which answers no more, and the job that destroys it."""

    model: Model
    job: int


@router.delete(
    "/{model_id}",
    status_code=202,
    summary="Destroy a model",
    responses=documented(NotFound, ModelRetired, StoreFull, PreconditionFailed),
)
def delete(
    model_id: ModelId,
    request: Request,
    response: Response,
    principal: Annotated[Principal, needs(ADMIN)],
    expected: IfMatch,
) -> Retired:
    """Weights, statistics, features and everything else that was made for it are destroyed; its cohorts' records stay.

    Cannot be taken back. A successor in the making goes too; deleted by its own id, it goes alone. Forget requests that
    wait for the model wait until it is destroyed. Only for `admin`. With `If-Match` only if the model is as it was.
    """
    context = context_of(request.scope)
    with context.ledger.database.begin() as tx:
        if expected.is_named:
            generations.lock_line(
                tx, generations.of(tx, catalog.get_model(tx, principal.tenant_id, model_id).id).line_id
            )
            expected.check(shown(tx, catalog.get_model(tx, principal.tenant_id, model_id)))
        model, job = lines.delete(tx, principal.tenant_id, model_id)
        retired = Retired(model=shown(tx, model), job=job.id)
    context.on_accepted()
    response.headers["Location"] = f"/v1/jobs/{retired.job}"
    return retired


@router.get(
    "/{model_id}/certificate",
    summary="The certificate of a model's destruction",
    responses=documented(NotFound, CertificateMissing),
)
def certificate(
    model_id: ModelId,
    request: Request,
    principal: Annotated[Principal, needs(*_READERS)],
    generation: Annotated[int | None, Query(ge=1, le=2**31 - 1, description="By default the current one.")] = None,
    decoded: Annotated[bool, Query(description="Return the statement itself, without its signature.")] = False,
) -> Response:
    """A signed statement (DSSE envelope) of what was destroyed and how that was checked."""
    with context_of(request.scope).ledger.database.read() as tx:
        envelope = destruction.certificate(tx, principal.tenant_id, model_id, generation=generation)
    if envelope is None:
        raise CertificateMissing("this generation of the model is not destroyed. Ask again once its job is done")
    body = base64.b64decode(json.loads(envelope)["payload"]) if decoded else envelope
    return Response(body, media_type="application/json")
