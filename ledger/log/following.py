"""Following what happens: events in the order of their places in the log, which never changes and has no gaps.

An event's number is of no use for this: on PostgreSQL one with a lower number may be committed after one with a higher.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import select

from ledger.database import Transaction
from ledger.tables import Event, Leaf, LogState
from ledger.webhooks import messages

ENDINGS = ("request.completed", "request.cancelled")


@dataclass(frozen=True, slots=True)
class Step:
    """Something that happened and that a tenant is told. position: its place in the log, from 0."""

    position: int
    tenant_id: str
    subject: str
    type: str
    body: bytes

    @property
    def is_ending(self) -> bool:
        """Whether nothing more happens to the forget request that it is about."""
        return self.type in ENDINGS


def size(tx: Transaction) -> int:
    """Return how many places are taken: the next event gets this one."""
    state = tx.session.get(LogState, 1, populate_existing=True)
    return 0 if state is None else state.size


def steps(
    tx: Transaction, tenant_ids: Collection[str], *, start: int, end: int, limit: int | None, subject: str | None = None
) -> list[Step]:
    """Return what happened to these tenants at the places from `start` to before `end`, in order, at most `limit`.

    subject: of one forget request only. The bodies are those that webhooks get: ids and states.
    """
    query = select(Leaf.position, Event).join(Event, Event.id == Leaf.event_id)
    query = query.where(Leaf.position >= start, Leaf.position < end)
    query = query.where(Event.tenant_id.in_(list(tenant_ids)), Event.kind.in_(messages.KINDS))
    if subject is not None:
        query = query.where(Event.subject == subject)
    found = tx.session.execute(query.order_by(Leaf.position).limit(limit)).all()
    return [step for position, event in found if (step := _step(position, event)) is not None]


def _step(position: int, event: Event) -> Step | None:
    message = messages.of_event(event.kind, event.subject, json.loads(event.body))
    if message is None:
        return None
    return Step(position, event.tenant_id, event.subject, message.type, message.body(event.at))
