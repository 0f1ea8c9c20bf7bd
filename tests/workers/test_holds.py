"""Legal holds against forgetting: what they stop, what they let pass, and that release takes it up again."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from sqlalchemy import select
from support.world import NewWorld, World, person, same_bytes

from ledger import certificates, dsse, holds
from ledger.errors import NotFound, SubjectSuppressed
from ledger.tables import Event, HeldRequest, Hold

ADA, BOB, CYD = (person(name) for name in ("ada", "bob", "cyd"))


@pytest.fixture
def world(new_world: NewWorld, database_url: str) -> World:
    world = new_world(database_url)
    world.upload(ADA, BOB, CYD)
    world.register()
    world.work()
    return world


def test_a_subject_on_hold_is_not_forgotten_but_suppressed(world: World) -> None:
    before = (world.statistics(), world.active().number)
    world.hold("ada")
    request_id = world.forget("ada")
    world.work()
    request = world.request(request_id)
    assert (request.state, request.outcome, request.records, request.held) == ("completed", "on_hold", 0, 3)
    assert (world.statistics(), world.active().number) == before
    with pytest.raises(SubjectSuppressed):
        world.upload(replace(person("more"), name="ada"))
    with world.ledger.database.read() as tx, pytest.raises(NotFound):
        certificates.get(tx, world.tenant_id, request_id)


def test_release_files_the_request_again_as_of_then(world: World, only_ever: Callable[..., World]) -> None:
    hold = world.hold("ada")
    first = world.forget("ada", "bob")
    world.work()
    stopped = world.request(first)
    assert (stopped.outcome, stopped.records, stopped.held) == ("erased", 3, 3)
    assert world.withdraw("ada", "bob") == 2
    back = replace(person("back"), name="bob")
    world.upload(back)  # bob is a customer again
    world.work()
    (again,) = world.release(hold)
    new, old = world.request(again), world.request(first)
    assert (new.follows, old.followed_by, old.selector) == (first, again, None)
    assert (new.state, new.high_water, new.selector_kind) == ("accepted", old.high_water, "subjects")
    assert new.due_at >= old.due_at
    world.work()
    assert (world.request(again).outcome, world.request(again).records) == ("erased", 3)
    assert same_bytes(world, only_ever(CYD, back))
    world.upload(replace(person("late"), name="ada"))  # the withdrawal still stands
    with world.ledger.database.read() as tx:
        assert tx.session.execute(select(Hold)).all() == tx.session.execute(select(HeldRequest)).all() == []


@pytest.mark.parametrize("everything", [True, False])
def test_a_request_for_many_skips_who_is_on_hold(
    world: World, only_ever: Callable[..., World], everything: bool
) -> None:
    hold = world.hold("ada")
    selector = {"everything": True} if everything else {"labels": (0, 1, 2)}
    request_id = world.forget(**selector)
    world.work()
    request = world.request(request_id)
    assert (request.outcome, request.records, request.held) == ("erased", 6, 3)
    assert same_bytes(world, only_ever(ADA))
    with world.ledger.database.read() as tx:
        envelope = certificates.get(tx, world.tenant_id, request_id)
    statement = json.loads(dsse.verify_envelope(envelope, world.ledger.ring.public_key_pem()))
    assert "legal hold" in statement["predicate"]["held_back"]
    (again,) = world.release(hold)
    world.work()
    assert (world.request(again).outcome, world.request(again).records) == ("erased", 3)


def test_a_second_hold_keeps_what_the_first_one_did(world: World) -> None:
    first, second = world.hold("ada"), world.hold("ada")
    world.forget("ada")
    world.work()
    (again,) = world.release(first)
    world.work()
    assert world.request(again).outcome == "on_hold"
    (last,) = world.release(second)
    world.work()
    assert (world.request(last).outcome, world.request(last).follows) == ("erased", again)


def test_a_hold_before_a_worker_looks_stops_and_one_after_does_not(world: World) -> None:
    request_id = world.forget("ada")
    hold_id = world.hold("ada")
    world.work()
    assert world.request(request_id).outcome == "on_hold"
    world.release(hold_id)
    with world.ledger.database.begin() as tx:
        from ledger.requests import resolve_accepted

        resolve_accepted(tx, world.tenant_id)
    late = world.hold("ada")
    with world.ledger.database.read() as tx:
        hold = holds.get(tx, world.tenant_id, late)
        assert (holds.records(tx, hold), holds.leaving(tx, hold)) == (0, 3)
    world.work()
    with world.ledger.database.read() as tx:
        assert holds.leaving(tx, hold) == 0


def test_a_hold_comes_before_the_first_record(world: World) -> None:
    world.hold("dan")
    world.upload(person("dan"))
    world.work()
    request_id = world.forget("dan")
    nobody = world.forget("nobody")
    world.work()
    assert world.request(request_id).outcome == "on_hold"
    assert world.request(nobody).outcome == "no_match"


def test_records_of_nobody_are_forgotten_while_there_are_holds(world: World) -> None:
    world.upload(person("unnamed"), subjects=False)
    world.hold("ada")
    request_id = world.forget(everything=True)
    world.work()
    assert (world.request(request_id).records, world.request(request_id).held) == (9, 3)


def test_the_reason_is_sealed_and_goes_with_the_hold(world: World) -> None:
    hold_id = world.hold("ada")
    with world.ledger.database.read() as tx:
        hold = holds.get(tx, world.tenant_id, hold_id)
        assert b"case 17" not in hold.reason
        assert holds.reason(hold, world.ledger.ring) == "case 17"
    world.release(hold_id)
    with world.ledger.database.read() as tx:
        assert tx.session.execute(select(Hold)).all() == []
        said = b"".join(tx.session.execute(select(Event.body).where(Event.subject == hold_id)).scalars())
    assert b"hold.placed" in said
    assert b"hold.released" in said
    assert b"case" not in said
    with pytest.raises(NotFound):
        world.release(hold_id)
