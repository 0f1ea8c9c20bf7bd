"""A model's versions: what their rows say, what the log's events say, and that both are the same chain."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select

from ledger.database import Transaction
from ledger.tables import Event, FeatureShard, Model, ModelVersion, RecordShard, StoredObject

Published = Mapping[str, dict[str, Any]]
"""By version id: the body of its event `version.published`."""
REFERRED = ("weights", "statistics", "features", "records")
"""Kinds of objects that exist only as long as a row of the ledger refers to them."""


def published(tx: Transaction, tenant_id: str) -> dict[str, dict[str, Any]]:
    """Return what the events say about every version of a tenant that was ever published."""
    query = select(Event.subject, Event.body).where(Event.tenant_id == tenant_id, Event.kind == "version.published")
    return {subject: json.loads(body) for subject, body in tx.session.execute(query.order_by(Event.id))}


def differs(row: ModelVersion | None, event: dict[str, Any] | None) -> list[str]:
    """Return what a version's row and event do not agree on; a row without an event, or the reverse, on everything."""
    if row is None or event is None:
        return ["row" if row is None else "event"]
    said = {
        "model": row.model_id,
        "number": row.number,
        "seq": row.applied_seq,
        "anchor": row.anchor_number,
        "weights": row.weights_commitment,
        "statistics": row.statistics_commitment,
        "checks": row.checks,
    }
    return [name for name, value in said.items() if event.get(name) != value]


def problems(tx: Transaction, model: Model, events: Published) -> list[str]:
    """Say where a model's chain of versions is broken."""
    query = select(ModelVersion).where(ModelVersion.model_id == model.id).order_by(ModelVersion.number)
    rows = list(tx.session.execute(query).scalars())
    found = []
    for row in rows:
        if apart := differs(row, events.get(row.id)):
            found.append(f"version {row.number} is not the one that was published: {', '.join(apart)} differ")
        if row.state == "destroyed" and (row.weights_object or row.statistics_object or row.measured):
            found.append(f"version {row.number} is called destroyed and still refers to objects")
    ids = {row.id for row in rows}
    lost = [event for subject, event in events.items() if event.get("model") == model.id and subject not in ids]
    found += [f"version {event['number']} was published and has no row any more" for event in lost]
    active = [row for row in rows if row.state == "active"]
    if len(active) != 1 or active[0].id != model.active_version_id or active[0] is not rows[-1]:
        found.append("the active version is not the newest one, or there are several")
    return found


def strays(tx: Transaction, tenant_id: str, stored: Sequence[str]) -> list[str]:
    """Say which objects lie in the store or the inventory without belonging to anything. `stored`: names, read before.

    An object is booked before it is written, and its row deleted after it, so a name without a row belongs to nothing.
    """
    rows = {name: (kind, state) for name, kind, state in tx.session.execute(_OBJECTS)}
    found = [f"object {name} lies in the store and no row knows it" for name in stored if name not in rows]
    used: set[str | None] = set()
    for query in (
        select(ModelVersion.weights_object),
        select(ModelVersion.statistics_object),
        select(FeatureShard.object_name),
        select(RecordShard.object_name),
    ):
        used |= set(tx.session.execute(query).scalars())
    mine = select(StoredObject.name).where(StoredObject.tenant_id == tenant_id)
    for name in tx.session.execute(mine).scalars():
        kind, state = rows[name]
        if kind in REFERRED and state == "live" and name not in used:
            found.append(f"object {name} holds {kind} that nothing refers to")
    return found


_OBJECTS = select(StoredObject.name, StoredObject.kind, StoredObject.state)
