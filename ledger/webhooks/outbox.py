"""Owing a message: the rows are written in the transaction of what they tell of, so both exist, or neither."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select

from ledger.database import Transaction
from ledger.tables import WebhookDelivery, WebhookEndpoint
from ledger.webhooks import messages
from ledger.webhooks.messages import Message


def events_happened(
    tx: Transaction, tenant_id: str, kind: str, facts_by_subject: Sequence[tuple[str, dict[str, Any]]]
) -> None:
    """Owe messages about events of one kind to every address of the tenant that wants to know of such events."""
    found = (messages.of_event(kind, subject, facts) for subject, facts in facts_by_subject)
    told = [message for message in found if message is not None]
    if told:
        _owe_all(tx, tenant_id, *told)


def job_failed(tx: Transaction, tenant_id: str, job_id: int, kind: str, model_id: str | None) -> None:
    """Owe a message about a job that was given up."""
    _owe_all(tx, tenant_id, messages.of_dead_job(job_id, kind, model_id))


def owe(tx: Transaction, tenant_id: str, endpoint_id: str, message: Message) -> WebhookDelivery:
    """Owe a message to one address."""
    delivery = WebhookDelivery(
        id=tx.new_id(),
        tenant_id=tenant_id,
        endpoint_id=endpoint_id,
        type=message.type,
        body=message.body(tx.now),
        state="pending",
        attempts=0,
        not_before=tx.now,
        created_at=tx.now,
    )
    tx.session.add(delivery)
    return delivery


def _owe_all(tx: Transaction, tenant_id: str, *told: Message) -> None:
    query = select(WebhookEndpoint.id, WebhookEndpoint.events)
    query = query.where(WebhookEndpoint.tenant_id == tenant_id, WebhookEndpoint.state == "active")
    with tx.session.no_autoflush:  # whoever appends an event decides when its own rows are written
        found = tx.session.execute(query).all()
    for endpoint_id, wanted in found:
        for message in told:
            if not wanted or message.type in wanted:
                owe(tx, tenant_id, endpoint_id, message)
