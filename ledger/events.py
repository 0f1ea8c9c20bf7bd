"""Appending what happened: canonical bytes and their leaf hash."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from evidence.merkle import leaf_hash
from ledger.database import Transaction
from ledger.tables import Event
from ledger.webhooks import outbox


def canonical_bytes(body: dict[str, Any]) -> bytes:
    """Return one fixed JSON spelling of `body`: sorted keys, no spaces, UTF-8. Floats are refused by their absence."""
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def append(tx: Transaction, tenant_id: str, kind: str, subject: str, **facts: Any) -> Event:
    """Append an event about `subject` (a random id of ours, never an identity).

    Facts are strings, whole numbers, booleans, or lists of them. The meaning of an existing kind must not change.
    """
    (event,) = append_all(tx, tenant_id, kind, [(subject, facts)])
    return event


def append_all(
    tx: Transaction, tenant_id: str, kind: str, facts_by_subject: Sequence[tuple[str, dict[str, Any]]]
) -> list[Event]:
    """Append events of one kind, each as `append` does; the database is asked no more often for many than for one."""
    appended = []
    for subject, facts in facts_by_subject:
        body = canonical_bytes({"v": 1, "tenant": tenant_id, "kind": kind, "subject": subject, "at": tx.now, **facts})
        event = Event(tenant_id=tenant_id, kind=kind, subject=subject, at=tx.now, body=body, leaf_hash=leaf_hash(body))
        appended.append(event)
    tx.session.add_all(appended)
    outbox.events_happened(tx, tenant_id, kind, facts_by_subject)
    return appended
