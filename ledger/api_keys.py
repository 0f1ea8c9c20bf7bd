"""The API keys of a tenant: made, listed, replaced, revoked. Only the SHA-256 of a key is kept."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence

from sqlalchemy import or_, select, update

from ledger.database import Transaction
from ledger.errors import NotFound, WrongState
from ledger.tables import ApiKey

ACTIVE, EXPIRED, REVOKED = "active", "expired", "revoked"


def create(
    tx: Transaction, tenant_id: str, label: str, scopes: Sequence[str], *, expires_at: int | None = None
) -> tuple[ApiKey, str]:
    """Add a key of 256 random bits. Returns its row and the key itself, which cannot be had again.

    expires_at: UTC microseconds from which it opens nothing; None: it does until it is revoked.
    """
    secret = "lacuna_" + base64.urlsafe_b64encode(tx.random(32)).decode().rstrip("=")
    row = ApiKey(
        id=tx.new_id(),
        tenant_id=tenant_id,
        sha256=digest(secret),
        label=label,
        scopes=list(scopes),
        created_at=tx.now,
        expires_at=expires_at,
    )
    tx.session.add(row)
    tx.session.flush()
    return row, secret


def digest(secret: str) -> bytes:
    """Return what is kept of a key. It carries 256 random bits, so a plain hash cannot be guessed backwards."""
    return hashlib.sha256(secret.encode()).digest()


def get(tx: Transaction, tenant_id: str, key_id: str, *, lock: bool = False) -> ApiKey:
    """Return a key of this tenant. Raises NotFound, also for another tenant's."""
    query = select(ApiKey).where(ApiKey.id == key_id, ApiKey.tenant_id == tenant_id)
    row = tx.session.execute(query.with_for_update() if lock else query).scalar_one_or_none()
    if row is None:
        raise NotFound("API key", key_id)
    return row


def list_all(tx: Transaction, tenant_id: str) -> Sequence[ApiKey]:
    """Return all keys of the tenant, oldest first; also those that open nothing any more."""
    query = select(ApiKey).where(ApiKey.tenant_id == tenant_id).order_by(ApiKey.created_at, ApiKey.id)
    return tx.session.execute(query).scalars().all()


def state(key: ApiKey, now: int) -> str:
    """Return active, expired or revoked."""
    if key.revoked_at is not None:
        return REVOKED
    return EXPIRED if key.expires_at is not None and key.expires_at <= now else ACTIVE


def rotate(tx: Transaction, tenant_id: str, key_id: str, *, overlap_us: int) -> tuple[ApiKey, str]:
    """Make a key with the label and the scopes of another, which ends after `overlap_us`, or earlier if it would have.

    The new one lasts as long as the old one was to last. Raises NotFound, WrongState: the old one has ended already.
    """
    old = get(tx, tenant_id, key_id, lock=True)
    if (found := state(old, tx.now)) != ACTIVE:
        raise WrongState("API key", found, ACTIVE)
    lasts_us = None if old.expires_at is None else old.expires_at - old.created_at
    ends = tx.now + overlap_us
    old.expires_at = ends if old.expires_at is None else min(old.expires_at, ends)
    expires_at = None if lasts_us is None else tx.now + lasts_us
    return create(tx, tenant_id, old.label, old.scopes, expires_at=expires_at)


def revoke(tx: Transaction, tenant_id: str, key_id: str) -> ApiKey:
    """Let a key open nothing from now on. Revoking it again changes nothing. Raises NotFound."""
    row = get(tx, tenant_id, key_id, lock=True)
    if row.revoked_at is None:
        row.revoked_at = tx.now
    return row


def note_uses(tx: Transaction, used_at: Mapping[str, int]) -> None:
    """Write when keys, by their ids, were used last; an earlier time than the written one changes nothing."""
    for key_id, moment in sorted(used_at.items()):  # in one order: two processes must not lock each other out
        later = or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at < moment)
        tx.session.execute(update(ApiKey).where(ApiKey.id == key_id, later).values(last_used_at=moment))
