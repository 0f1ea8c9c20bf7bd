"""Which key signs now, which did before, and which are revoked. Private halves lie in files (`ledger/keys.py`).

The installation's first key gets its row with the first checkpoint that it signs; until then it signs without one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import func, select

from evidence.key_list import HANDOVER
from ledger import events
from ledger.database import Transaction
from ledger.dsse import envelope_signed_by
from ledger.errors import KeyUnavailable, NotFound, SigningKeyRefused
from ledger.events import canonical_bytes
from ledger.keys import KeyRing, Signer
from ledger.tables import LogCheckpoint, LogState, SigningKey, Tenant

ANNOUNCED, ACTIVE, RETIRED, REVOKED = "announced", "active", "retired", "revoked"
REASONS = ("key_compromise", "key_lost", "superseded", "cessation_of_operation")


@dataclass(frozen=True, slots=True)
class KnownKey:
    """A signing key as outsiders may know it: its public half and, once it has signed a checkpoint, its row."""

    key_id: str
    public: bytes
    row: SigningKey | None

    @property
    def state(self) -> str:
        """announced, active, retired or revoked."""
        return ACTIVE if self.row is None else self.row.state

    def pem(self) -> str:
        """Return the public key as PEM (SubjectPublicKeyInfo)."""
        return pem(self.public)


def pem(public: bytes) -> str:
    """Return 32 bytes of an Ed25519 public key as PEM."""
    key = Ed25519PublicKey.from_public_bytes(public)
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode("ascii")


def known(tx: Transaction, ring: KeyRing) -> list[KnownKey]:
    """Return every key that ever signed or will, oldest first."""
    rows = _rows(tx)
    if not rows:
        return [KnownKey(ring.key_id(), ring.public_key_raw(), None)]
    return [KnownKey(row.id, row.public_key, row) for row in rows]


def get(tx: Transaction, ring: KeyRing, key_id: str) -> KnownKey:
    """Return one key. Raises NotFound."""
    found = next((key for key in known(tx, ring) if key.key_id == key_id), None)
    if found is None:
        raise NotFound("signing key", key_id)
    return found


def revoked(tx: Transaction) -> list[SigningKey]:
    """Return the revoked keys, oldest first."""
    return [row for row in _rows(tx) if row.state == REVOKED]


def signer(tx: Transaction, ring: KeyRing) -> Signer:
    """Return the one key that signs now. Raises KeyUnavailable: its file is gone."""
    return signers(tx, ring)[0]


def signers(tx: Transaction, ring: KeyRing) -> list[Signer]:
    """Return the keys that sign a checkpoint now: the active one and, during a hand-over, the announced one.

    Raises KeyUnavailable: the active key's file is gone. Without the announced one's there is no hand-over yet.
    """
    rows = {row.state: row for row in _rows(tx) if row.state in (ACTIVE, ANNOUNCED)}
    if ACTIVE not in rows:
        return [ring.signer(ring.key_id())]
    found = [ring.signer(rows[ACTIVE].id)]
    if ANNOUNCED in rows:
        try:
            found.append(ring.signer(rows[ANNOUNCED].id))
        except KeyUnavailable:
            return found
    return found


def register(tx: Transaction, ring: KeyRing) -> SigningKey:
    """Return the active key's row; that of the installation's first key is made now. The log's row must be locked."""
    found = next((row for row in _rows(tx, lock=True) if row.state == ACTIVE), None)
    if found is None:
        found = SigningKey(id=ring.key_id(), public_key=ring.public_key_raw(), state=ACTIVE, created_at=tx.now)
        tx.session.add(found)
        tx.session.flush()
    return found


def announce(tx: Transaction, ring: KeyRing, new: Signer, *, old_is_lost: bool = False) -> SigningKey:
    """Enter a key that is to sign next, with a hand-over that the active key and the new one have signed.

    With `old_is_lost` the active key signs nothing any more: the new one is active at once, by its own word alone.
    Raises SigningKeyRefused: there is no tenant yet, or the key is known already; KeyUnavailable.
    """
    tenant_id = _first_tenant(tx)
    if new.key_id() in {key.key_id for key in known(tx, ring)}:
        raise SigningKeyRefused(f"{new.key_id()} is known already")
    old = register(tx, ring)
    origin = tx.session.execute(select(LogState.origin)).scalar_one_or_none()
    statement = {
        "v": 1,
        "log": origin,
        "old": None if old_is_lost else old.id,
        "new": new.key_id(),
        "new_key": new.public_key_raw().hex(),
        "at": tx.now,
    }
    by = [new] if old_is_lost else [ring.signer(old.id), new]
    envelope = envelope_signed_by(canonical_bytes(statement), HANDOVER, by)
    if old_is_lost:
        old.state, old.retired_at, old.destroyed_at = RETIRED, tx.now, tx.now
        tx.session.flush()  # one key at a time is active
    row = SigningKey(
        id=new.key_id(),
        public_key=new.public_key_raw(),
        state=ACTIVE if old_is_lost else ANNOUNCED,
        handover=envelope,
        created_at=tx.now,
        activated_at=tx.now if old_is_lost else None,
    )
    tx.session.add(row)
    tx.session.flush()
    events.append(
        tx,
        tenant_id,
        "signing_key.announced",
        row.id,
        public_key=row.public_key.hex(),
        replaces=old.id,
        handover=hashlib.sha256(envelope).hexdigest(),
        old_key_signed=not old_is_lost,
    )
    if old_is_lost:
        events.append(tx, tenant_id, "signing_key.activated", row.id, replaces=old.id)
    return row


def activate(tx: Transaction) -> SigningKey | None:
    """Let the announced key sign from now on and retire the active one; None if none is announced."""
    rows = {row.state: row for row in _rows(tx, lock=True)}
    if ANNOUNCED not in rows:
        return None
    old, new = rows[ACTIVE], rows[ANNOUNCED]
    old.state, old.retired_at = RETIRED, tx.now
    tx.session.flush()
    new.state, new.activated_at = ACTIVE, tx.now
    events.append(tx, _first_tenant(tx), "signing_key.activated", new.id, replaces=old.id)
    return new


def give_up(tx: Transaction, row: SigningKey) -> None:
    """Let go of an announced key that never signed: its file is lost."""
    row.state, row.retired_at, row.destroyed_at = RETIRED, tx.now, tx.now
    tx.session.flush()


def revoke(tx: Transaction, ring: KeyRing, key_id: str, *, reason: str, not_after: int | None = None) -> SigningKey:
    """Say from when on a key is not to be trusted (UTC microseconds; None: now). A second time it can only be earlier.

    Raises NotFound; SigningKeyRefused: it is the active one, the time is in the future, or it was revoked from an
    earlier time on; no such reason.
    """
    if reason not in REASONS:
        raise SigningKeyRefused(f"there is no reason {reason!r}; the reasons are {', '.join(REASONS)}")
    found = get(tx, ring, key_id)
    if found.row is None or found.state == ACTIVE:
        raise SigningKeyRefused(f"{key_id} is the one that signs; rotate first, then revoke it")
    row, until = found.row, tx.now if not_after is None else not_after
    if until > tx.now:
        raise SigningKeyRefused("a key is revoked from a time on that is not in the future")
    if row.not_after is not None and row.not_after <= until:
        raise SigningKeyRefused(f"{key_id} was revoked before, from an earlier time on or the same")
    newest = select(func.max(LogCheckpoint.size)).where(LogCheckpoint.created_at <= until)
    row.trusted_size = tx.session.execute(newest).scalar_one() or 0
    row.state, row.not_after, row.reason, row.revoked_at = REVOKED, until, reason, tx.now
    events.append(
        tx,
        _first_tenant(tx),
        "signing_key.revoked",
        row.id,
        reason=reason,
        not_after=until,
        log_size=row.trusted_size,
    )
    return row


def to_destroy(tx: Transaction) -> list[SigningKey]:
    """Return the keys that sign no more and whose private halves are not known to be destroyed."""
    return [row for row in _rows(tx) if row.state in (RETIRED, REVOKED) and row.destroyed_at is None]


def handover_of(row: SigningKey | None) -> dict[str, Any] | None:
    """Return the envelope by which a key was announced, as JSON; None for the installation's first key."""
    if row is None or row.handover is None:
        return None
    envelope: dict[str, Any] = json.loads(row.handover)
    return envelope


def _rows(tx: Transaction, *, lock: bool = False) -> Sequence[SigningKey]:
    query = select(SigningKey).order_by(SigningKey.created_at, SigningKey.retired_at.is_(None), SigningKey.id)
    if lock:
        query = query.with_for_update()
    return tx.session.execute(query.execution_options(populate_existing=True)).scalars().all()


def _first_tenant(tx: Transaction) -> str:
    """Return the tenant in whose name the installation's own events stand. Raises SigningKeyRefused."""
    query = select(Tenant.id).order_by(Tenant.created_at, Tenant.id).limit(1)
    found = tx.session.execute(query).scalar_one_or_none()
    if found is None:
        raise SigningKeyRefused("there is no tenant yet, so nothing was ever signed; start the service once")
    return found
