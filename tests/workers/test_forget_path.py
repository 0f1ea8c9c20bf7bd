"""The whole path in one process: train, forget, prove, purge; on SQLite and PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from support.world import NewWorld, Person, World, person

from ledger import certificates, dsse, inventory
from workers.loop import sweep

PEOPLE = [person(f"person-{i}") for i in range(8)]


@pytest.fixture
def world(new_world: NewWorld, database_url: str) -> World:
    return new_world(database_url)


@pytest.fixture
def never_saw(new_world: NewWorld) -> Callable[..., World]:
    """Build a service that only ever receives these people."""

    def build(*people: Person) -> World:
        other = new_world()
        if people:
            other.upload(*people)
        other.register()
        other.work()
        return other

    return build


def train(world: World) -> None:
    world.upload(*PEOPLE)
    world.register()
    world.work()


def test_forgetting_one_person_equals_never_having_seen_them(world: World, never_saw: Callable[..., World]) -> None:
    train(world)
    before = world.statistics()
    request_id = world.forget("person-3")
    assert world.request(request_id).state == "accepted"
    world.work()
    request = world.request(request_id)
    assert (request.state, request.outcome, request.records) == ("completed", "erased", 3)
    other = never_saw(*(p for p in PEOPLE if p.name != "person-3"))
    assert world.statistics() != before
    assert world.statistics() == other.statistics()
    assert world.weights() == other.weights()


def test_the_certificate_is_signed_and_states_the_four_facts(world: World) -> None:
    train(world)
    request_id = world.forget("person-1")
    world.work()
    with world.ledger.database.read() as tx:
        envelope = certificates.get(tx, world.tenant_id, request_id)
    payload = dsse.verify_envelope(envelope, world.ledger.ring.public_key_pem(), payload_type=certificates.PAYLOAD_TYPE)
    statement = json.loads(payload)
    facts = statement["predicate"]["facts"]
    assert {name: fact["holds"] for name, fact in facts.items()} == dict.fromkeys(
        ("removed", "solved", "gone", "unserved"), True
    )
    assert statement["predicate"]["bounds"]["output_bound"] == {"value": 0, "unit": "nat"}
    assert statement["subject"][0]["name"] == "model@2"
    assert statement["subject"][0]["digest"]["hmac-sha256"] == world.active().weights_commitment


def test_a_subject_nobody_knows_is_answered_no_match(world: World) -> None:
    train(world)
    before = (world.statistics(), world.weights(), world.active().number)
    request_id = world.forget("nobody")
    world.work()
    request = world.request(request_id)
    assert (request.state, request.outcome, request.records) == ("completed", "no_match", 0)
    assert (world.statistics(), world.weights(), world.active().number) == before


def test_forgetting_a_class_then_everything(world: World, never_saw: Callable[..., World]) -> None:
    train(world)
    world.forget(labels=(1,))
    world.work()
    kept = [type(p)(p.name, p.x[p.y != 1], p.y[p.y != 1]) for p in PEOPLE]
    other = never_saw(*(p for p in kept if len(p.y)))
    assert world.statistics() == other.statistics()
    assert world.weights() == other.weights()
    request_id = world.forget(everything=True)
    world.work()
    assert world.request(request_id).state == "completed"
    assert not any(world.weights()[-64:])
    with world.ledger.database.read() as tx:
        assert world.active().measured == {
            "records": 0,
            "accuracy": None,
            "seconds": world.active().measured["seconds"],
        }
        assert inventory.unfinished(tx, world.tenant_id) == []


def test_a_batch_of_requests_is_one_version_and_each_gets_its_certificate(world: World) -> None:
    train(world)
    ids = [world.forget(f"person-{i}") for i in range(5)]
    world.work()
    assert world.active().number == 2
    assert {world.request(i).state for i in ids} == {"completed"}
    with world.ledger.database.read() as tx:
        assert len({certificates.get(tx, world.tenant_id, i) for i in ids}) == 5


def test_two_requests_for_the_same_person_both_complete(world: World) -> None:
    train(world)
    first, second = world.forget("person-2"), world.forget("person-2")
    world.work()
    assert [world.request(i).outcome for i in (first, second)] == ["erased", "erased"]
    third = world.forget("person-2")
    world.work()
    assert world.request(third).outcome == "no_match"


def test_additions_between_deletions_and_coming_back(world: World, never_saw: Callable[..., World]) -> None:
    train(world)
    world.forget("person-0")
    world.work()
    world.upload(person("late"))
    world.work()
    world.forget("person-5")
    world.work()
    other = never_saw(*(p for p in PEOPLE if p.name not in ("person-0", "person-5")), person("late"))
    assert world.statistics() == other.statistics()
    assert world.weights() == other.weights()


def test_several_models_over_one_cohort_are_all_covered(world: World) -> None:
    world.upload(*PEOPLE)
    models = [world.register("a"), world.register("b", feature_map="pooled")]
    world.work()
    before = [world.statistics(m) for m in models]
    request_id = world.forget("person-4")
    world.work()
    assert world.request(request_id).state == "completed"
    assert all(world.statistics(m) != b for m, b in zip(models, before, strict=True))


def test_forgetting_while_the_model_is_still_training(world: World, never_saw: Callable[..., World]) -> None:
    world.upload(*PEOPLE)
    world.register()
    request_id = world.forget("person-6")
    world.work()
    assert world.request(request_id).state == "completed"
    assert world.active().number == 1
    assert world.statistics() == never_saw(*(p for p in PEOPLE if p.name != "person-6")).statistics()


def test_records_of_a_cohort_without_a_model_are_purged(world: World) -> None:
    world.upload(*PEOPLE)
    request_id = world.forget("person-6")
    world.work()
    assert world.request(request_id).outcome == "erased"


def test_nothing_unknown_or_unfinished_is_left_in_the_store(world: World) -> None:
    train(world)
    world.forget("person-1", "person-2")
    world.work()
    sweep(world.deps)
    with world.ledger.database.read() as tx:
        assert inventory.unfinished(tx, world.tenant_id) == []
    assert inventory.strangers(world.ledger.database, world.ledger.objects) == []
