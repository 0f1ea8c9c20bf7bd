"""One query from its model to its answer: seen, allowed, computed, checked, sent."""

from __future__ import annotations

from collections.abc import Callable

from ledger import catalog, generations
from ledger.errors import LeakageSpent, NotFound, WrongState
from ledger.ledger import Ledger
from service.context import Context
from service.principal import Principal
from service.refusals import (
    BodyNotOfType,
    BodyTooLarge,
    BodyUnreadable,
    InstancesRefused,
    NotServing,
    TooManyWaiting,
    VersionNotServed,
)
from service.serving.model import ServedModel
from service.serving.outputs import Allowed, Answer, Render
from service.serving.passes import Prepare
from service.serving.responses import PredictionResponse

SMALL = 16 * 1024
"""Bytes of a body that is read in no time."""
REFUSALS = (
    NotFound,
    WrongState,
    NotServing,
    TooManyWaiting,
    LeakageSpent,
    InstancesRefused,
    BodyUnreadable,
    BodyTooLarge,
    BodyNotOfType,
)
"""Why a query may get no prediction."""


async def respond_from(
    context: Context,
    principal: Principal,
    model: ServedModel,
    prepare: Prepare,
    render: Callable[[Allowed], Render],
    *,
    small: bool,
    only: int | None = None,
) -> PredictionResponse:
    """Compute an answer from a version that is served, and return what sends it if it still is.

    small: what was sent is read in no time. only: the one version that was asked for.
    Raises LeakageSpent, InstancesRefused, BodyUnreadable, TooManyWaiting, VersionNotServed.
    """

    async def compute(version: ServedModel) -> Answer:
        if only not in (None, version.number):
            raise VersionNotServed
        allowed = await context.meter.admit(principal, version)  # before anything is computed, so before it is sent
        return await context.inference.answer(version, prepare, render(allowed), small=small)

    return PredictionResponse(
        context.registry,
        model.line_id,
        compute,
        await compute(model),
        lambda answer: context.meter.count(principal, answer),
    )


def why_not(ledger: Ledger, tenant_id: str, model_id: str) -> Exception:
    """Return why no version answers for this id. Raises NotFound."""
    with ledger.database.read() as tx:
        model = catalog.get_model(tx, tenant_id, model_id)
        place = generations.of(tx, model.id)
    if model_id != place.line_id:
        return WrongState("model", "a generation beside or behind another", "asked by the id of the model itself")
    answers = model.state not in ("failed", *generations.GONE)
    return NotServing() if answers else WrongState("model", model.state, "ready")
