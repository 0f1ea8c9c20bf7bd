"""How a model collects forget requests before it is scrubbed."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import Field

from ledger import batching, catalog, generations
from ledger.errors import ModelRetired, NotFound
from service.api.conditional import TAGGED, IfMatch, tag
from service.api.schemas import Body, ModelId
from service.auth import Principal, needs
from service.context import context_of
from service.errors import documented
from service.refusals import PreconditionFailed, PreconditionRequired

router = APIRouter(prefix="/v1/models/{model_id}/batching", tags=["models"])

_READERS = ("models:write", "forget:write", "audit:read")
LONGEST_S = batching.LONGEST_WINDOW_US / 1e6


class Batching(Body):
    """One new version may serve several requests. By default each is begun at once."""

    window_s: float = Field(0.0, ge=0, le=LONGEST_S, description="How long requests are collected, in seconds.")
    minimum: int = Field(1, ge=1, le=10_000, description="How many requests are waited for beyond that.")
    latest_s: float = Field(
        batching.LATEST_US / 1e6,
        ge=0,
        le=LONGEST_S,
        description="So long before the nearest legal deadline a batch is begun, however few there are.",
    )


def shown(policy: batching.Policy) -> Batching:
    """Return a policy as it is answered."""
    return Batching(window_s=policy.window_us / 1e6, minimum=policy.minimum, latest_s=policy.latest_us / 1e6)


@router.get("", summary="Show how requests are collected", responses=TAGGED | documented(NotFound))
def show(
    model_id: ModelId, request: Request, response: Response, principal: Annotated[Principal, needs(*_READERS)]
) -> Batching:
    """How long, and how many. The answer's ETag is what a change must send in `If-Match`."""
    with context_of(request.scope).ledger.database.read() as tx:
        found = shown(batching.policy_of(catalog.get_model(tx, principal.tenant_id, model_id)))
    tag(response, found)
    return found


@router.put(
    "",
    summary="Change how requests are collected",
    responses=TAGGED | documented(NotFound, ModelRetired, PreconditionFailed, PreconditionRequired),
)
def change(
    body: Batching,
    model_id: ModelId,
    request: Request,
    response: Response,
    principal: Annotated[Principal, needs("models:write")],
    expected: IfMatch,
) -> Batching:
    """`If-Match` must name the policy that is to be changed, or be `*`: two people must not undo each other's change.

    Requests that wait already are begun earlier if the new policy says so, never later.

    Of a successor it is set under the successor's own id.
    """
    context = context_of(request.scope)
    policy = batching.Policy(round(body.window_s * 1e6), body.minimum, round(body.latest_s * 1e6))
    with context.ledger.database.begin() as tx:
        model = generations.require_alive(tx, catalog.get_model(tx, principal.tenant_id, model_id).id)
        expected.check(shown(batching.policy_of(model)), required=True)
        batching.set_policy(tx, model, policy)
    context.on_accepted()
    changed = shown(policy)
    tag(response, changed)
    return changed
