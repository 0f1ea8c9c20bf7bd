"""What the service answers, for type checkers. The whole of it stands in /openapi.json."""

from __future__ import annotations

from typing import Literal, TypedDict


class Covered(TypedDict):
    """A model that a forget request covers, and the first version that no longer knows the records."""

    model: str
    version: int | None


class ForgetRequest(TypedDict):
    """A forget request and how far it is."""

    id: str
    state: Literal["accepted", "scrubbing", "published", "purging", "completed", "failed", "cancelled"]
    outcome: str | None
    selector: str
    records: int | None
    regulation: str
    received_at: str
    due_at: str
    days_left: int
    published_at: str | None
    completed_at: str | None
    models: list[Covered]
    certificate_url: str | None
    error: str | None


class Webhook(TypedDict):
    """An address that is told what happens."""

    id: str
    url: str
    label: str
    events: list[str]
    state: Literal["active", "disabled"]
    why: str | None
    failing_since: str | None
    old_secret_until: str | None
    created_at: str


class MadeWebhook(Webhook):
    """An address with its secret, which is shown once."""

    secret: str | None


class Delivery(TypedDict):
    """A message that an address is owed, or was sent."""

    id: str
    type: str
    state: Literal["pending", "delivered", "failed"]
    attempts: int
    last_status: int | None
    last_error: str | None
    next_attempt_at: str | None
    created_at: str
    delivered_at: str | None
