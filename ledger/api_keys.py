"""The API keys of a tenant: made, listed, replaced, revoked. Only the SHA-256 of a key is kept."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import or_, select, update

from ledger.database import Transaction
from ledger.errors import NotFound, OutputsInvalid, WrongState
from ledger.tables import ApiKey

ACTIVE, EXPIRED, REVOKED = "active", "expired", "revoked"
PROBABILITIES, ROUNDED, LABEL = "probabilities", "rounded", "label"
FEWEST_DIGITS, MOST_DIGITS, USUAL_DIGITS = 1, 6, 2


@dataclass(frozen=True, slots=True)
class Outputs:
    """How a key's predictions are answered: PROBABILITIES, ROUNDED to so many `digits` behind the point, or LABEL."""

    mode: str = PROBABILITIES
    digits: int | None = None

    def __post_init__(self) -> None:
        """Raise OutputsInvalid: no such mode, or digits with another mode than ROUNDED, or none with it."""
        if self.mode not in (PROBABILITIES, ROUNDED, LABEL):
            raise OutputsInvalid(f"there is no mode of that name; the modes are {PROBABILITIES}, {ROUNDED}, {LABEL}")
        if (self.mode == ROUNDED) != (self.digits is not None):
            raise OutputsInvalid(f"digits belong to the mode {ROUNDED}, and to no other")
        if self.digits is not None and not FEWEST_DIGITS <= self.digits <= MOST_DIGITS:
            raise OutputsInvalid(f"there may be {FEWEST_DIGITS} to {MOST_DIGITS} digits")


FULL = Outputs()


def chosen(mode: str, digits: int | None) -> Outputs:
    """Return the outputs of these names; ROUNDED without digits has USUAL_DIGITS. Raises OutputsInvalid."""
    return Outputs(mode, USUAL_DIGITS if mode == ROUNDED and digits is None else digits)


def create(
    tx: Transaction,
    tenant_id: str,
    label: str,
    scopes: Sequence[str],
    *,
    expires_at: int | None = None,
    outputs: Outputs = FULL,
    client_id: str | None = None,
) -> tuple[ApiKey, str]:
    """Add a key of 256 random bits. Returns its row and the key itself, which cannot be had again.

    expires_at: UTC microseconds from which it opens nothing; None: it does until it is revoked. client_id: the first of
    the keys that it replaces, None if it replaces none.
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
        outputs=None if outputs.mode == PROBABILITIES else outputs.mode,
        digits=outputs.digits,
        client_id=client_id,
    )
    tx.session.add(row)
    tx.session.flush()
    return row, secret


def digest(secret: str) -> bytes:
    """Return what is kept of a key. It carries 256 random bits, so a plain hash cannot be guessed backwards."""
    return hashlib.sha256(secret.encode()).digest()


def outputs_of(key: ApiKey) -> Outputs:
    """Return how a key's predictions are answered."""
    return Outputs(key.outputs or PROBABILITIES, key.digits)


def client_of(key: ApiKey) -> str:
    """Return the id of the first of the keys that this one replaces, or its own: whoever has one of them had all."""
    return key.client_id or key.id


def change_outputs(tx: Transaction, tenant_id: str, key_id: str, outputs: Outputs) -> ApiKey:
    """Have a key's predictions answered in another way from now on. Raises NotFound."""
    row = get(tx, tenant_id, key_id, lock=True)
    row.outputs = None if outputs.mode == PROBABILITIES else outputs.mode
    row.digits = outputs.digits
    return row


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

    The new one lasts as long as the old one was to last, is answered in the same way, and is the same client: what the
    old one has seen of a model counts for it. Raises NotFound, WrongState: the old one has ended already.
    """
    old = get(tx, tenant_id, key_id, lock=True)
    if (found := state(old, tx.now)) != ACTIVE:
        raise WrongState("API key", found, ACTIVE)
    lasts_us = None if old.expires_at is None else old.expires_at - old.created_at
    ends = tx.now + overlap_us
    old.expires_at = ends if old.expires_at is None else min(old.expires_at, ends)
    expires_at = None if lasts_us is None else tx.now + lasts_us
    return create(
        tx,
        tenant_id,
        old.label,
        old.scopes,
        expires_at=expires_at,
        outputs=outputs_of(old),
        client_id=client_of(old),
    )


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
