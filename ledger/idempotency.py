"""Answers that were given to idempotency keys, so that a request that is sent again is not done again.

The answer is kept in the transaction that did what it tells of: after a crash both are there, or neither. A second
request with the same key waits in the database for the first one's end. Neither key nor request is kept, only HMACs of
them under the tenant's key.
Source: draft-ietf-httpapi-idempotency-key-header-07.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, text, update
from sqlalchemy.exc import OperationalError

from ledger.database import Database, Transaction
from ledger.errors import IdempotencyKeyReused, StillInProgress
from ledger.identity import AliasHasher
from ledger.tables import IdempotencyEntry

KEPT_US = 24 * 3600 * 1_000_000
PATIENCE_MS = 5_000
"""How long PostgreSQL lets a request wait for another one with the same key."""

_CLAIM = text(
    "INSERT INTO idempotency (tenant_id, key_hmac, fingerprint, expires_at, in_flight) "
    "VALUES (:tenant_id, :key_hmac, :fingerprint, :expires_at, :in_flight) ON CONFLICT DO NOTHING"
)
_LOCK_NOT_AVAILABLE = "55P03"


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer that was given: its status, its headers and its body."""

    status: int
    headers: Mapping[str, str]
    body: Any


def fingerprint(hasher: AliasHasher, method: str, target: str, body: bytes) -> bytes:
    """Return 32 bytes that are equal for equal requests of this tenant. `target` is the path with its query."""
    return hasher.retry_key("request", method, target, hashlib.sha256(body).hexdigest())


def find(tx: Transaction, tenant_id: str, key_hmac: bytes, request: bytes) -> Kept | None:
    """Return the answer that was kept for this request, None if it was not done. Raises as `claim`."""
    entry = tx.session.get(IdempotencyEntry, (tenant_id, key_hmac), populate_existing=True)
    if entry is None or entry.expires_at <= tx.now:
        return None
    if entry.fingerprint != request:
        raise IdempotencyKeyReused
    if entry.in_flight or entry.status is None or entry.response is None:
        raise StillInProgress
    return Kept(entry.status, entry.response["headers"], entry.response["body"])


def claim(tx: Transaction, tenant_id: str, key_hmac: bytes, request: bytes) -> Kept | None:
    """Take the key for a request with this fingerprint, or return the answer that was kept for it.

    Whoever gets None does the work and calls `keep` in the same transaction.
    Raises IdempotencyKeyReused: another request had this key. Raises StillInProgress: the first one takes long.
    """
    _drop_expired(tx, IdempotencyEntry.tenant_id == tenant_id, IdempotencyEntry.key_hmac == key_hmac)
    row = {"tenant_id": tenant_id, "key_hmac": key_hmac, "fingerprint": request}
    if _insert(tx, {**row, "expires_at": tx.now + KEPT_US, "in_flight": True}):
        return None
    kept = find(tx, tenant_id, key_hmac, request)
    if kept is None:  # it was taken back while we looked
        raise StillInProgress
    return kept


def _insert(tx: Transaction, row: dict[str, Any]) -> bool:
    connection = tx.session.connection()
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT set_config('lock_timeout', :wait, true)"), {"wait": f"{PATIENCE_MS}ms"})
    try:
        return connection.execute(_CLAIM, row).rowcount == 1
    except OperationalError as problem:
        if getattr(problem.orig, "sqlstate", None) == _LOCK_NOT_AVAILABLE:
            raise StillInProgress from problem
        raise


def keep(tx: Transaction, tenant_id: str, key_hmac: bytes, answer: Kept) -> None:
    """Keep the answer to a request whose key this transaction has claimed."""
    kept = update(IdempotencyEntry).where(
        IdempotencyEntry.tenant_id == tenant_id, IdempotencyEntry.key_hmac == key_hmac
    )
    response = {"headers": dict(answer.headers), "body": answer.body}
    tx.session.execute(kept.values(status=answer.status, response=response, in_flight=False))


def sweep(database: Database) -> int:
    """Delete the answers that were kept long enough; return how many."""
    with database.begin() as tx:
        return _drop_expired(tx)


def _drop_expired(tx: Transaction, *only: Any) -> int:
    expired = delete(IdempotencyEntry).where(IdempotencyEntry.expires_at <= tx.now, *only)
    return tx.session.connection().execute(expired).rowcount
