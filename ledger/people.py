"""People who may sign in to the dashboard: added, listed, disabled, given another password.

Their names are the operator's choice and may name them, so they stay in their table: events and logs have `id`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from sqlalchemy import delete, select

from ledger import events
from ledger.database import Transaction
from ledger.errors import NotFound, PersonRefused
from ledger.tables import Person, WebSession

ADMIN, AUDITOR = "admin", "auditor"
ROLES = (ADMIN, AUDITOR)
_NAME = re.compile(r"[^\s\x00-\x1f\x7f](?:[^\x00-\x1f\x7f]{0,98}[^\s\x00-\x1f\x7f])?")


def add(tx: Transaction, tenant_id: str, name: str, role: str, password_hash: str) -> Person:
    """Let somebody sign in. Names are unique over all tenants: signing in asks for no tenant.

    Raises PersonRefused: the name is taken, or the name or the role cannot be.
    """
    if not _NAME.fullmatch(name):
        raise PersonRefused("the name must have 1 to 100 printable characters, with none blank at its ends")
    if role not in ROLES:
        raise PersonRefused(f"the role must be one of {', '.join(ROLES)}")
    if find(tx, name) is not None:
        raise PersonRefused("somebody of that name is there already, perhaps disabled")
    person = Person(
        id=tx.new_id(), tenant_id=tenant_id, name=name, password=password_hash, role=role, created_at=tx.now
    )
    tx.session.add(person)
    tx.session.flush()
    events.append(tx, tenant_id, "person.added", person.id, role=role)
    return person


def find(tx: Transaction, name: str) -> Person | None:
    """Return the person of that name, disabled or not."""
    return tx.session.execute(select(Person).where(Person.name == name)).scalar_one_or_none()


def get(tx: Transaction, tenant_id: str, person_id: str) -> Person:
    """Return a person of this tenant. Raises NotFound."""
    found = tx.session.execute(select(Person).where(Person.id == person_id, Person.tenant_id == tenant_id))
    person = found.scalar_one_or_none()
    if person is None:
        raise NotFound("person", person_id)
    return person


def list_all(tx: Transaction, tenant_id: str) -> Sequence[Person]:
    """Return the tenant's people, those who were disabled too, by name."""
    return tx.session.execute(select(Person).where(Person.tenant_id == tenant_id).order_by(Person.name)).scalars().all()


def disable(tx: Transaction, person: Person) -> None:
    """Let a person in no more and end their sessions. Their row stays: events name it."""
    if person.disabled_at is None:
        person.disabled_at = tx.now
        events.append(tx, person.tenant_id, "person.disabled", person.id)
    _end_sessions(tx, person)


def set_password(tx: Transaction, person: Person, password_hash: str) -> None:
    """Give a person another password and end the sessions that began with the old one. A disabled one may come back."""
    person.password, person.disabled_at = password_hash, None
    events.append(tx, person.tenant_id, "person.password_set", person.id)
    _end_sessions(tx, person)


def _end_sessions(tx: Transaction, person: Person) -> None:
    tx.session.execute(delete(WebSession).where(WebSession.person_id == person.id))
