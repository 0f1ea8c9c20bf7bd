"""Appending what happened: canonical bytes and their leaf hash."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from ledger.database import Transaction
from ledger.tables import Event


def canonical_bytes(body: dict[str, Any]) -> bytes:
    """Return one fixed JSON spelling of `body`: sorted keys, no spaces, UTF-8. Floats are refused by their absence."""
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def leaf_hash(body: bytes) -> bytes:
    """Return SHA-256(0x00 || body), the hash of a Merkle leaf. Source: RFC 9162, section 2.1.1."""
    return hashlib.sha256(b"\x00" + body).digest()


def append(tx: Transaction, tenant_id: str, kind: str, subject: str, **facts: Any) -> Event:
    """Append an event about `subject` (a random id of ours, never an identity).

    Facts are strings, whole numbers, booleans, or lists of them. The meaning of an existing kind must not change.
    """
    body = canonical_bytes({"v": 1, "tenant": tenant_id, "kind": kind, "subject": subject, "at": tx.now, **facts})
    event = Event(tenant_id=tenant_id, kind=kind, subject=subject, at=tx.now, body=body, leaf_hash=leaf_hash(body))
    tx.session.add(event)
    return event
