"""Suppressions: in every spelling, withdrawable by any of them, and taken up again by the next request."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from sqlalchemy import event, select
from support.mentions import mentions
from support.world import NewWorld, World, person

from ledger import filing, requests, suppressions, tenants
from ledger.errors import SubjectSuppressed
from ledger.selectors import Selector, SubjectName, forms_of
from ledger.tables import Event

TYPE = "controller_customer_id"


@pytest.fixture
def world(new_world: NewWorld, database_url: str) -> World:
    return new_world(database_url, core_people=1)


def named(name: str, form: str = "raw") -> SubjectName:
    value = name if form == "raw" else hashlib.new(form, name.encode()).hexdigest()
    return SubjectName(TYPE, form, value)


def forget(world: World, *subjects: SubjectName) -> None:
    with world.ledger.database.begin() as tx:
        hasher = tenants.alias_hasher(tx, world.ledger.ring, world.tenant_id)
        filing.accept(tx, world.tenant_id, Selector(subjects=subjects), hasher, regulation="gdpr")
        requests.resolve_accepted(tx, world.tenant_id)


def withdraw(world: World, *subjects: SubjectName) -> int:
    with world.ledger.database.begin() as tx:
        hasher = tenants.alias_hasher(tx, world.ledger.ring, world.tenant_id)
        return suppressions.withdraw(tx, world.tenant_id, [forms_of(subject, hasher) for subject in subjects])


def counts(world: World) -> tuple[int, int]:
    with world.ledger.database.read() as tx:
        found = suppressions.count(tx, world.tenant_id)
    return found.active, found.withdrawn


def refused(world: World) -> bool:
    try:
        world.upload(person("ada", 1))
    except SubjectSuppressed as problem:
        return problem.rows == [0]
    return False


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("asked", ["raw", "sha256", "md5"])
@pytest.mark.parametrize("back", ["raw", "sha256", "sha1"])
def test_any_spelling_suppresses_and_withdraws(world: World, known: bool, asked: str, back: str) -> None:
    if known:
        world.upload(person("ada", 1))
    forget(world, named("ada", asked), named("bob"))
    assert counts(world) == (2, 0)
    assert refused(world)
    # Two hashes of somebody who was never seen cannot be known to be the same person's.
    linked = known or asked == "raw" or back in ("raw", asked)
    assert withdraw(world, named("ada", back), named("nobody")) == int(linked)
    assert withdraw(world, named("ada", back)) == 0
    assert counts(world) == (2 - linked, int(linked))
    assert refused(world) is not linked
    forget(world, named("ada", asked))
    assert counts(world) == (2, 0)
    assert refused(world)


def test_spellings_that_turn_out_to_be_one_person_are_withdrawn_together(world: World) -> None:
    forget(world, named("ada", "sha256"), named("ada", "md5"))
    assert counts(world) == (2, 0)
    forget(world, named("ada"))
    assert counts(world) == (1, 0)
    assert withdraw(world, named("ada", "sha1")) == 1
    assert not refused(world)


def test_the_event_names_nobody_and_comes_once(world: World) -> None:
    forget(world, named("ada"), named("bob"))
    withdraw(world, named("ada"), named("bob"))
    withdraw(world, named("ada"))
    with world.ledger.database.read() as tx:
        (body,) = tx.session.execute(select(Event.body).where(Event.kind == "suppressions.withdrawn")).scalars()
    assert b'"subjects":2' in body
    assert not mentions(body, "ada")


def test_spellings_in_one_request_are_one_person_too(world: World) -> None:
    forget(world, named("ada"), named("ada", "md5"), named("bob", "sha256"), named("bob"), named("cyd", "md5"))
    assert counts(world) == (3, 0)
    forget(world, named("cyd", "sha256"), named("cyd"), named("cyd", "md5"))
    assert counts(world) == (3, 0)
    assert withdraw(world, named("ada", "sha1"), named("cyd", "sha256")) == 2
    assert counts(world) == (1, 2)


def test_many_names_take_no_more_statements_than_few(world: World) -> None:
    def statements(names: int, prefix: str) -> int:
        seen: list[str] = []
        engine = world.ledger.database.engine

        def listen(*args: Any) -> None:
            seen.append(args[2])

        event.listen(engine, "before_cursor_execute", listen)
        try:
            forget(world, *(named(f"{prefix}-{i}") for i in range(names)))
        finally:
            event.remove(engine, "before_cursor_execute", listen)
        return sum(one.startswith("SELECT") for one in seen)

    assert statements(300, "many") <= statements(3, "few") + 2
