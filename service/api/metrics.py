"""`/metrics` for Prometheus. One key, one tenant: a service of several has one scrape job for each."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from ledger.figures import figures
from service import metrics
from service.auth import Principal, needs
from service.context import context_of
from service.errors import documented

router = APIRouter()


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    tags=["operations"],
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **documented()},
)
def show(request: Request, principal: Annotated[Principal, needs("audit:read")]) -> Response:
    """Requests by state, age of the queue, time to the nearest deadline, durations, checks, prediction times.

    They are those of the key's tenant; the prediction times are those of this process alone. They name nobody.
    """
    context = context_of(request.scope)
    with context.ledger.database.read() as tx:
        found = figures(tx, principal.tenant_id)
    page = metrics.render(found, context.predictions, principal.tenant_id)
    return Response(page, media_type=CONTENT_TYPE_PLAIN_0_0_4)
