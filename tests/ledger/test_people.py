"""People who sign in and their sessions, on both databases: who gets in, for how long, and what the log says of it."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import pytest
from argon2 import PasswordHasher
from sqlalchemy import select
from support.mentions import mentions
from support.world import NewWorld, World

from ledger import api_keys, people, sessions
from ledger.errors import NotFound, PasswordRefused, PersonRefused
from ledger.passwords import Passwords
from ledger.tables import ApiKey, Event, Person, WebSession

QUICK = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
SECRET = "correct horse battery"


@pytest.fixture
def world(new_world: NewWorld, database_url: str) -> World:
    return new_world(database_url)


@dataclass
class Clock:
    """Looks at a session as if it were so many microseconds later."""

    world: World

    def find(self, token: str, later_us: int = 0) -> sessions.SignedIn | None:
        with self.world.ledger.database.read() as tx:
            return sessions.find(replace(tx, now=tx.now + later_us), token)


def add(world: World, name: str = "olga", role: str = people.ADMIN) -> str:
    with world.ledger.database.begin() as tx:
        return people.add(tx, world.tenant_id, name, role, Passwords(QUICK).hash(SECRET)).id


def begin(world: World, person_id: str) -> str:
    with world.ledger.database.begin() as tx:
        return sessions.begin_for_person(tx, people.get(tx, world.tenant_id, person_id))


def happened(world: World) -> list[dict[str, object]]:
    with world.ledger.database.read() as tx:
        bodies = tx.session.execute(select(Event.body).where(Event.kind.like("person.%")).order_by(Event.id)).scalars()
        return [json.loads(body) for body in bodies]


def test_a_person_signs_in_and_out_and_the_log_names_only_random_ids(world: World) -> None:
    person_id = add(world)
    token = begin(world, person_id)
    who = Clock(world).find(token)
    assert who is not None
    assert (who.actor, who.label, who.role, who.of_person) == (person_id, "olga", "admin", True)
    with world.ledger.database.begin() as tx:
        sessions.acted(tx, who, "request.filed", "ab" * 16)
        sessions.end(tx, token)
    assert Clock(world).find(token) is None
    said = happened(world)
    kinds = ["person.added", "person.signed_in", "person.acted", "person.signed_out"]
    assert [event["kind"] for event in said] == kinds
    assert {event["subject"] for event in said} == {person_id}
    assert said[2]["what"] == "request.filed"
    assert not mentions(json.dumps(said), "olga")


def test_neither_token_nor_password_is_stored(world: World) -> None:
    token = begin(world, add(world))
    with world.ledger.database.read() as tx:
        person = tx.session.execute(select(Person)).scalar_one()
        session = tx.session.execute(select(WebSession)).scalar_one()
    assert person.password.startswith("$argon2id$")
    assert SECRET not in person.password
    assert len(session.sha256) == 32
    assert session.sha256 != bytes.fromhex(token)


def test_a_session_ends_when_it_is_idle_and_when_its_time_is_up(world: World) -> None:
    clock, token = Clock(world), begin(world, add(world))
    who = clock.find(token, sessions.IDLE_US - 60_000_000)
    assert who is not None
    assert clock.find(token, sessions.IDLE_US) is None
    with world.ledger.database.begin() as tx:
        sessions.note_uses(tx, {who.session_id: tx.now + sessions.IDLE_US - 60_000_000})
        sessions.note_uses(tx, {who.session_id: tx.now})  # an earlier one, written late, takes nothing back
    assert clock.find(token, sessions.IDLE_US) is not None
    with world.ledger.database.begin() as tx:
        sessions.note_uses(tx, {who.session_id: tx.now + 2 * sessions.LIFE_US})  # used all the time
    assert clock.find(token, sessions.LIFE_US - 60_000_000) is not None
    assert clock.find(token, sessions.LIFE_US) is None


def test_what_has_ended_is_swept(world: World) -> None:
    person_id = add(world)
    begin(world, person_id)
    with world.ledger.database.begin() as tx:
        sessions.sweep(tx)
        assert tx.session.execute(select(WebSession)).scalars().all()
        sessions.sweep(replace(tx, now=tx.now + sessions.IDLE_US))
        assert not tx.session.execute(select(WebSession)).scalars().all()


def test_who_is_disabled_is_out_at_once_and_everywhere(world: World) -> None:
    person_id, other_id = add(world), add(world, "otto", people.AUDITOR)
    tokens = [begin(world, person_id), begin(world, person_id)]
    others = begin(world, other_id)
    with world.ledger.database.begin() as tx:
        people.disable(tx, people.get(tx, world.tenant_id, person_id))
    assert [Clock(world).find(token) for token in tokens] == [None, None]
    assert Clock(world).find(others) is not None
    with world.ledger.database.begin() as tx:
        assert tx.session.execute(select(WebSession.person_id)).scalars().all() == [other_id]
        person = people.get(tx, world.tenant_id, person_id)
        people.disable(tx, person)  # again changes nothing
        assert person.disabled_at is not None
    assert [event["kind"] for event in happened(world)].count("person.disabled") == 1


def test_a_row_that_says_disabled_is_enough(world: World) -> None:
    """A session that somebody wrote back, or that began at the same moment, opens nothing."""
    token = begin(world, add(world))
    with world.ledger.database.begin() as tx:
        tx.session.execute(select(Person)).scalar_one().disabled_at = tx.now
    assert Clock(world).find(token) is None


def test_a_new_password_ends_the_sessions_of_the_old_one_and_brings_back(world: World) -> None:
    person_id = add(world)
    token = begin(world, person_id)
    with world.ledger.database.begin() as tx:
        person = people.get(tx, world.tenant_id, person_id)
        people.disable(tx, person)
        people.set_password(tx, person, Passwords(QUICK).hash("another " + SECRET))
        assert person.disabled_at is None
    assert Clock(world).find(token) is None


def test_a_key_may_be_what_its_scopes_allow(world: World) -> None:
    cases = ((("admin",), "admin"), (("audit:read", "predict"), "auditor"), (("predict", "forget:write"), None))
    for scopes, role in cases:
        with world.ledger.database.begin() as tx:
            key, _ = api_keys.create(tx, world.tenant_id, "a key", scopes)
            assert sessions.role_of(key) == role
            token, key_id = sessions.begin_for_key(tx, key), key.id
        who = Clock(world).find(token)
        assert (who.role if who else None) == role
        with world.ledger.database.begin() as tx:
            api_keys.revoke(tx, world.tenant_id, key_id)
        assert Clock(world).find(token) is None


def test_a_key_that_expires_takes_its_session_along(world: World) -> None:
    with world.ledger.database.begin() as tx:
        key, _ = api_keys.create(tx, world.tenant_id, "a key", ("admin",), expires_at=tx.now + 60_000_000)
        token = sessions.begin_for_key(tx, key)
        assert isinstance(key, ApiKey)
    assert Clock(world).find(token) is not None
    assert Clock(world).find(token, 60_000_000) is None


def test_names_and_roles_that_cannot_be(world: World) -> None:
    add(world, "o")
    for name in ("", " olga", "olga ", "o\nlga", "\x7f", "o" * 101):
        with pytest.raises(PersonRefused, match="printable"):
            add(world, name)
    with pytest.raises(PersonRefused, match="is there already"):
        add(world, "o")
    with pytest.raises(PersonRefused, match="role"):
        add(world, "otto", "owner")


def test_another_tenant_does_not_find_them(world: World) -> None:
    person_id = add(world)
    with world.ledger.database.read() as tx:
        assert not people.list_all(tx, "f" * 32)
        with pytest.raises(NotFound):
            people.get(tx, "f" * 32, person_id)


def test_passwords_fit_or_do_not() -> None:
    passwords = Passwords(QUICK)
    stored = passwords.hash(SECRET)
    assert stored != passwords.hash(SECRET)
    assert passwords.fits(stored, SECRET)
    assert not passwords.fits(stored, SECRET + " ")
    assert not passwords.fits(None, SECRET)
    assert not passwords.fits(None, "nobody's password")
    for wrong in ("eleven char", "x" * 1001):
        with pytest.raises(PasswordRefused):
            passwords.hash(wrong)
    assert Passwords().hash(SECRET).startswith("$argon2id$v=19$m=65536,t=3,")
