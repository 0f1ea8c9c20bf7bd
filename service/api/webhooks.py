"""Webhooks: a tenant's own systems, told what happens. Signed by Standard Webhooks 1.0.0."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from annotated_types import Len
from fastapi import APIRouter, Path, Request, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from ledger import tables
from ledger.errors import NotFound, QuotaExceeded, StoreFull, WebhookRefused, WrongState
from ledger.keys import KeyRing
from ledger.webhooks import deliveries, endpoints, outbox
from ledger.webhooks.messages import PING, TYPES, Message
from ledger.webhooks.targets import LONGEST_URL
from service.api.paging import NEXT_PAGE, Paged
from service.api.schemas import ID_PATTERN, Body, Items, Name
from service.auth import ADMIN, Principal, needs
from service.context import context_of
from service.errors import documented
from service.idempotency import REFUSALS, Retryable
from service.moments import rfc3339, when
from service.refusals import CursorRefused

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"])

LONGEST_OVERLAP_S, USUAL_OVERLAP_S = 30 * 86_400, 86_400
_READER = "audit:read"
WebhookId = Annotated[str, Path(pattern=ID_PATTERN, description="The webhook's id.")]
DeliveryId = Annotated[str, Path(pattern=ID_PATTERN, description="The delivery's id; `webhook-id` is `msg_` and it.")]
Type = Literal[
    "job.failed",
    "model.destroyed",
    "request.accepted",
    "request.cancelled",
    "request.completed",
    "request.due_soon",
    "request.extended",
    "request.failed",
    "request.published",
    "request.purging",
    "request.scrubbing",
    "version.published",
]
Types = Annotated[list[Type], Len(0, len(TYPES))]
Address = Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_URL)]
DeliveryState = Literal["pending", "delivered", "failed"]


class NewWebhook(Body):
    """An address that is to be told."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"url": "https://hooks.example.org/lacuna", "label": "privacy desk", "events": ["request.completed"]}
            ]
        }
    )
    url: Address = Field(description="https://, on a public address unless the operator allows others.")
    label: Name = Field(description="What it is for. Not an identity: it is shown.")
    events: Types = Field([], description="What it wants to be told of; empty: everything.")


class WebhookChange(Body):
    """What is to be different. What is not said stays as it is."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"state": "active"}]})
    url: Address | None = None
    label: Name | None = None
    events: Types | None = None
    state: Literal["active", "disabled"] | None = Field(
        None, description="Made active again, it is told what happens from then on; replay what it missed."
    )


class SecretRotation(Body):
    """How a secret is replaced."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"overlap_s": 3600}]})
    overlap_s: int = Field(
        USUAL_OVERLAP_S, ge=0, le=LONGEST_OVERLAP_S, description="How long the old secret signs beside the new one."
    )


class ReplaySince(Body):
    """What is to be sent again."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"since": "2026-11-01T00:00:00Z"}]}, strict=False)
    since: AwareDatetime = Field(description="Everything that failed since then, at most 1,000 messages.")


class Webhook(BaseModel):
    """An address that is told."""

    id: str
    url: str
    label: str
    events: list[str]
    state: Literal["active", "disabled"]
    why: str | None = Field(
        description="Of a disabled one: operator; gone, if it answered 410; failing, if nothing arrived for five days."
    )
    failing_since: str | None = Field(description="When the first attempt after the last success failed.")
    old_secret_until: str | None = Field(description="Until when a replaced secret signs too.")
    created_at: str


class MadeWebhook(Webhook):
    """An address with its secret."""

    secret: str | None = Field(
        description="Shown this once. Null when the answer is repeated for an `Idempotency-Key`: if it was lost on "
        "the way, rotate it."
    )


class Delivery(BaseModel):
    """A message that an address is owed, or was sent. It holds ids and states, and no identity."""

    id: str
    type: str
    state: DeliveryState
    attempts: int = Field(description="Ten attempts are made, within 75 hours.")
    last_status: int | None = Field(description="HTTP status of the last answer.")
    last_error: str | None = Field(description="Why there was no answer, or none that counts.")
    next_attempt_at: str | None
    created_at: str
    delivered_at: str | None


class Replayed(BaseModel):
    """How many messages are sent again."""

    replayed: int


def _facts(row: tables.WebhookEndpoint, ring: KeyRing, now: int) -> dict[str, object]:
    overlaps = row.old_secret_until is not None and row.old_secret_until > now
    return {
        "id": row.id,
        "url": endpoints.url_of(row, ring),
        "label": row.label,
        "events": row.events,
        "state": row.state,
        "why": row.why,
        "failing_since": rfc3339(row.failing_since),
        "old_secret_until": rfc3339(row.old_secret_until) if overlaps else None,
        "created_at": when(row.created_at),
    }


def _delivery(row: tables.WebhookDelivery) -> Delivery:
    return Delivery(
        id=row.id,
        type=row.type,
        state=row.state,
        attempts=row.attempts,
        last_status=row.last_status,
        last_error=row.last_error,
        next_attempt_at=when(row.not_before) if row.state == deliveries.PENDING else None,
        created_at=when(row.created_at),
        delivered_at=rfc3339(row.delivered_at),
    )


@router.post(
    "",
    status_code=201,
    summary="Register a webhook",
    responses=documented(WebhookRefused, QuotaExceeded, StoreFull, *REFUSALS),
)
def create(
    body: NewWebhook, request: Request, principal: Annotated[Principal, needs(ADMIN)], once: Retryable
) -> MadeWebhook:
    """Its secret is in this answer and in no other. Messages tell ids and states; ask the service for the rest."""
    context = context_of(request.scope)
    context.settings.webhook_rules().target(body.url)
    # The address is kept encrypted; the same request brings it again.
    left_out = {"secret": None, "url": body.url}
    with once.begin(context.ledger, principal.tenant_id, left_out=left_out) as tx:
        ring = context.ledger.ring
        wanted = sorted(set(body.events))
        row, secret = endpoints.register(tx, ring, principal.tenant_id, url=body.url, label=body.label, events=wanted)
        made = MadeWebhook.model_validate({**_facts(row, ring, tx.now), "secret": secret})
        once.answer(tx, made, 201, Location=f"/v1/webhooks/{made.id}")
    return made


@router.get("", summary="List the webhooks", responses=documented())
def list_all(request: Request, principal: Annotated[Principal, needs(_READER)]) -> Items[Webhook]:
    """All webhooks of the tenant, oldest first, without their secrets."""
    ledger = context_of(request.scope).ledger
    with ledger.database.read() as tx:
        rows = endpoints.list_all(tx, principal.tenant_id)
        return Items(items=[Webhook.model_validate(_facts(row, ledger.ring, tx.now)) for row in rows])


@router.get("/{webhook_id}", summary="Show a webhook", responses=documented(NotFound))
def show(webhook_id: WebhookId, request: Request, principal: Annotated[Principal, needs(_READER)]) -> Webhook:
    """One webhook, without its secret."""
    ledger = context_of(request.scope).ledger
    with ledger.database.read() as tx:
        row = endpoints.get(tx, principal.tenant_id, webhook_id)
        return Webhook.model_validate(_facts(row, ledger.ring, tx.now))


@router.patch("/{webhook_id}", summary="Change a webhook", responses=documented(NotFound, WebhookRefused))
def change(
    body: WebhookChange, webhook_id: WebhookId, request: Request, principal: Annotated[Principal, needs(ADMIN)]
) -> Webhook:
    """Messages that wait go to the new address. Disabling gives up what waits; it can be replayed later."""
    context = context_of(request.scope)
    if body.url is not None:
        context.settings.webhook_rules().target(body.url)
    said = body.model_dump(exclude_none=True)
    with context.ledger.database.begin() as tx:
        row = endpoints.change(tx, context.ledger.ring, principal.tenant_id, webhook_id, **said)
        return Webhook.model_validate(_facts(row, context.ledger.ring, tx.now))


@router.delete("/{webhook_id}", status_code=204, summary="Delete a webhook", responses=documented(NotFound))
def delete(webhook_id: WebhookId, request: Request, principal: Annotated[Principal, needs(ADMIN)]) -> Response:
    """Nothing more is sent to it, and what it was sent is forgotten."""
    with context_of(request.scope).ledger.database.begin() as tx:
        endpoints.remove(tx, principal.tenant_id, webhook_id)
    return Response(status_code=204)


@router.post(
    "/{webhook_id}/rotate",
    status_code=201,
    summary="Replace a webhook's secret",
    responses=documented(NotFound, StoreFull, *REFUSALS),
)
def rotate(
    body: SecretRotation,
    webhook_id: WebhookId,
    request: Request,
    principal: Annotated[Principal, needs(ADMIN)],
    once: Retryable,
) -> MadeWebhook:
    """For `overlap_s` more every message has two signatures, so that receivers can change over in between."""
    ledger = context_of(request.scope).ledger
    with ledger.database.read() as tx:
        url = endpoints.url_of(endpoints.get(tx, principal.tenant_id, webhook_id), ledger.ring)
    with once.begin(ledger, principal.tenant_id, left_out={"secret": None, "url": url}) as tx:
        overlap_us = body.overlap_s * 1_000_000
        row, secret = endpoints.rotate(tx, ledger.ring, principal.tenant_id, webhook_id, overlap_us=overlap_us)
        made = MadeWebhook.model_validate({**_facts(row, ledger.ring, tx.now), "secret": secret})
        once.answer(tx, made, 201, Location=f"/v1/webhooks/{made.id}")
    return made


@router.post(
    "/{webhook_id}/ping",
    status_code=202,
    summary="Send a test message",
    responses=documented(NotFound, WrongState, StoreFull, *REFUSALS),
)
def ping(
    webhook_id: WebhookId, request: Request, principal: Annotated[Principal, needs(ADMIN)], once: Retryable
) -> Delivery:
    """A message of the type `ping`, sent like any other."""
    with once.begin(context_of(request.scope).ledger, principal.tenant_id) as tx:
        endpoint = endpoints.get(tx, principal.tenant_id, webhook_id)
        if endpoint.state != endpoints.ACTIVE:
            raise WrongState("webhook", endpoint.state, endpoints.ACTIVE)
        row = outbox.owe(tx, principal.tenant_id, endpoint.id, Message(PING, {"webhook": endpoint.id}))
        tx.session.flush()
        made = _delivery(row)
        once.answer(tx, made, 202, Location=f"/v1/webhooks/{endpoint.id}/deliveries/{made.id}")
    return made


@router.get(
    "/{webhook_id}/deliveries", summary="List what was sent", responses=NEXT_PAGE | documented(NotFound, CursorRefused)
)
def list_deliveries(
    webhook_id: WebhookId,
    request: Request,
    principal: Annotated[Principal, needs(_READER)],
    page: Paged,
    state: DeliveryState | None = None,
) -> Items[Delivery]:
    """What the webhook is owed and was sent within a month, newest first."""
    after = page.after(int, str)
    with context_of(request.scope).ledger.database.read() as tx:
        endpoint = endpoints.get(tx, principal.tenant_id, webhook_id)
        rows = deliveries.list_newest(tx, endpoint.id, state=state, limit=page.limit, after=after)
        rows = page.cut(rows, lambda row: (row.created_at, row.id), state=state)
        return Items(items=[_delivery(row) for row in rows])


@router.get("/{webhook_id}/deliveries/{delivery_id}", summary="Show what was sent", responses=documented(NotFound))
def show_delivery(
    webhook_id: WebhookId, delivery_id: DeliveryId, request: Request, principal: Annotated[Principal, needs(_READER)]
) -> Delivery:
    """One message and how far it is."""
    with context_of(request.scope).ledger.database.read() as tx:
        endpoint = endpoints.get(tx, principal.tenant_id, webhook_id)
        return _delivery(deliveries.get(tx, endpoint.id, delivery_id))


@router.post(
    "/{webhook_id}/deliveries/{delivery_id}/replay",
    status_code=202,
    summary="Send a message again",
    responses=documented(NotFound, WrongState),
)
def replay(
    webhook_id: WebhookId, delivery_id: DeliveryId, request: Request, principal: Annotated[Principal, needs(ADMIN)]
) -> Delivery:
    """The same bytes under the same `webhook-id`, whether or not they arrived before."""
    with context_of(request.scope).ledger.database.begin() as tx:
        endpoint = endpoints.get(tx, principal.tenant_id, webhook_id, lock=True)
        return _delivery(deliveries.replay(tx, endpoint, delivery_id))


@router.post(
    "/{webhook_id}/replay",
    status_code=202,
    summary="Send again what has failed",
    responses=documented(NotFound, WrongState),
)
def replay_since(
    body: ReplaySince, webhook_id: WebhookId, request: Request, principal: Annotated[Principal, needs(ADMIN)]
) -> Replayed:
    """Everything that was made since a moment and was given up. Repeating it sends nothing twice."""
    with context_of(request.scope).ledger.database.begin() as tx:
        endpoint = endpoints.get(tx, principal.tenant_id, webhook_id, lock=True)
        return Replayed(replayed=deliveries.replay_since(tx, endpoint, _micros(body.since)))


def _micros(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000)
