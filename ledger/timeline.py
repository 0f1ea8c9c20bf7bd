"""What happened to a request: its events, those of the versions that it changed, and their places in the log."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import aliased

from ledger.database import Transaction
from ledger.tables import Event, Leaf, Model, ModelVersion, RequestModel

_ALWAYS = frozenset({"v", "tenant", "kind", "subject", "at"})


@dataclass(frozen=True, slots=True)
class Entry:
    """An event: its number, its facts, and its place in the transparency log, None until it has one."""

    event_id: int
    kind: str
    subject: str
    at: int
    facts: dict[str, Any]
    position: int | None


@dataclass(frozen=True, slots=True)
class Transition:
    """A model that a request covers: the version that no longer knows the records, and the one before it.

    `after` is None while the model has not passed the request; `before` is None if the model had published none.
    """

    model: Model
    before: ModelVersion | None
    after: ModelVersion | None


def about(tx: Transaction, tenant_id: str, subjects: Iterable[str]) -> Sequence[Entry]:
    """Return the tenant's events about these ids, oldest first."""
    query = (
        select(Event, Leaf.position)
        .outerjoin(Leaf, Leaf.event_id == Event.id)
        .where(Event.tenant_id == tenant_id, Event.subject.in_(list(subjects)))
        .order_by(Event.id)
    )
    return [entry(event, position) for event, position in tx.session.execute(query)]


def entry(event: Event, position: int | None) -> Entry:
    """Return an event as it is shown. What its bytes say counts; if they cannot be read, there are no facts."""
    try:
        body = json.loads(event.body)
    except ValueError:  # somebody has tampered with it: the check of the log names it
        body = {}
    facts = {name: value for name, value in body.items() if name not in _ALWAYS} if isinstance(body, dict) else {}
    return Entry(event.id, event.kind, event.subject, event.at, facts, position)


def transitions(tx: Transaction, request_id: str) -> Sequence[Transition]:
    """Return what a request did to each model that it covers, by model. Of a version not made yet, the newest counts
    as the one before."""
    later = aliased(ModelVersion)
    query = (
        select(Model, later)
        .join(RequestModel, RequestModel.model_id == Model.id)
        .outerjoin(later, later.id == RequestModel.version_id)
        .where(RequestModel.request_id == request_id)
        .order_by(Model.id)
    )
    return [Transition(model, _before(tx, model, after), after) for model, after in tx.session.execute(query)]


def _before(tx: Transaction, model: Model, after: ModelVersion | None) -> ModelVersion | None:
    query = select(ModelVersion).where(ModelVersion.model_id == model.id)
    if after is not None:
        query = query.where(ModelVersion.number < after.number)
    return tx.session.execute(query.order_by(ModelVersion.number.desc()).limit(1)).scalar_one_or_none()
