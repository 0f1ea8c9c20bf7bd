"""Sessions of the dashboard: a random token in a browser, its SHA-256 here, and an end of its own.

A session ends when it was not used for a while, when its time is up, when it is signed out, and at once when its person
is disabled or its key is revoked: who it acts for is looked up at every use.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import delete, or_, select, update

from ledger import api_keys, events, people
from ledger.database import Transaction
from ledger.tables import ApiKey, Person, WebSession

IDLE_US = 30 * 60_000_000
LIFE_US = 12 * 3_600_000_000
TOKEN_BYTES = 32


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Whose session it is: `actor` is the random id of the person or the key, `label` what they are called.

    `role` is admin or auditor.
    """

    session_id: str
    tenant_id: str
    actor: str
    label: str
    role: str
    of_person: bool


def begin_for_person(tx: Transaction, person: Person) -> str:
    """Begin a session and return its token, which only the browser keeps."""
    return _begin(tx, person.tenant_id, person.id, person_id=person.id)


def begin_for_key(tx: Transaction, key: ApiKey) -> str:
    """Begin a session with an API key in the place of a person and return its token."""
    return _begin(tx, key.tenant_id, key.id, key_id=key.id)


def _begin(
    tx: Transaction, tenant_id: str, actor: str, *, person_id: str | None = None, key_id: str | None = None
) -> str:
    token = tx.random(TOKEN_BYTES).hex()
    tx.session.add(
        WebSession(
            id=tx.new_id(),
            tenant_id=tenant_id,
            sha256=_digest(token),
            person_id=person_id,
            key_id=key_id,
            created_at=tx.now,
            used_at=tx.now,
            expires_at=tx.now + LIFE_US,
        )
    )
    events.append(tx, tenant_id, "person.signed_in", actor, with_key=key_id is not None)
    return token


def find(tx: Transaction, token: str) -> SignedIn | None:
    """Return whose token this is, None if it opens nothing (any more)."""
    row = _row(tx, token)
    if row is None or row.expires_at <= tx.now or row.used_at + IDLE_US <= tx.now:
        return None
    if row.person_id is not None:
        person = tx.session.get_one(Person, row.person_id)
        if person.disabled_at is not None:
            return None
        return SignedIn(row.id, row.tenant_id, person.id, person.name, person.role, of_person=True)
    key = tx.session.get_one(ApiKey, row.key_id)
    role = role_of(key)
    if role is None or api_keys.state(key, tx.now) != api_keys.ACTIVE:
        return None
    return SignedIn(row.id, row.tenant_id, key.id, key.label, role, of_person=False)


def role_of(key: ApiKey) -> str | None:
    """Return what an API key may be in the dashboard, None if it may not look at all."""
    if "admin" in key.scopes:
        return people.ADMIN
    return people.AUDITOR if "audit:read" in key.scopes else None


def note_uses(tx: Transaction, used_at: Mapping[str, int]) -> None:
    """Put off the ends of idle sessions, by their ids. An earlier time than the written one changes nothing."""
    for session_id, moment in sorted(used_at.items()):  # in one order: two processes must not lock each other out
        later = (WebSession.id == session_id) & (WebSession.used_at < moment)
        tx.session.execute(update(WebSession).where(later).values(used_at=moment))


def end(tx: Transaction, token: str) -> None:
    """Sign out. A token that opens nothing is let go of silently."""
    row = _row(tx, token)
    if row is not None:
        events.append(tx, row.tenant_id, "person.signed_out", str(row.person_id or row.key_id))
        tx.session.delete(row)


def acted(tx: Transaction, who: SignedIn, what: str, target: str) -> None:
    """Append to the log that somebody changed something from the dashboard. `target` is the random id of that thing.

    Call it in the transaction of the change.
    """
    events.append(tx, who.tenant_id, "person.acted", who.actor, what=what, target=target)


def sweep(tx: Transaction) -> None:
    """Let go of the sessions that have ended by themselves."""
    over = or_(WebSession.expires_at <= tx.now, WebSession.used_at <= tx.now - IDLE_US)
    tx.session.execute(delete(WebSession).where(over))


def _row(tx: Transaction, token: str) -> WebSession | None:
    return tx.session.execute(select(WebSession).where(WebSession.sha256 == _digest(token))).scalar_one_or_none()


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
