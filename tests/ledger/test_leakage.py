"""What versions tell about the forgotten cohort that they expose most, and who was answered from them."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.locks import waiters
from support.versions import publish_version
from support.waiting import wait_until
from support.world import NewWorld, World, person

from ledger import api_keys, leakage, lines, recipients, requests, sightings
from ledger.database import Transaction
from ledger.errors import OutputsInvalid
from ledger.leakage import Leakage
from ledger.sightings import Place, Uses
from ledger.tables import ApiKey

NOISY = {"solver": "krylov", "noise": "isotropic", "sigma": 0.2, "kappa": 0.25, "mu": 0.05, "exposure_budget": 1e6}


@pytest.fixture
def world(new_world: NewWorld, database_url: str) -> World:
    """Bob alone in version 1, ada besides in version 2, bob alone again in version 3."""
    return lived(new_world(database_url))


def lived(world: World, **plan: object) -> World:
    world.upload(person("bob"))
    world.register(**plan)
    world.work()
    world.upload(person("ada"))
    world.work()
    world.forget("ada")
    world.work()
    assert world.active().number == 3
    return world


def new_key(world: World) -> str:
    with world.ledger.database.begin() as tx:
        return api_keys.create(tx, world.tenant_id, "k", ("predict",))[0].id


def see(world: World, key_id: str, *numbers: int) -> None:
    with world.ledger.database.begin() as tx:
        for number in numbers:
            sightings.note(tx, world.tenant_id, Place(key_id, world.model_id, number))


def told(world: World, client_id: str) -> Leakage:
    with world.ledger.database.read() as tx:
        return leakage.of_client(tx, client_id, world.model_id)


def after(world: World, *numbers: int) -> Leakage:
    key_id = new_key(world)
    see(world, key_id, *numbers)
    return told(world, key_id)


def test_exact_statistics_tell_nothing_but_by_pairs(world: World) -> None:
    fresh = told(world, new_key(world))
    assert (fresh.nats, fresh.versions, fresh.why) == (0.0, (), (leakage.NOTHING_SEEN,))
    for numbers in ((1,), (2,), (3,), (1, 3)):
        found = after(world, *numbers)
        assert (found.nats, found.pairs, found.versions) == (0.0, 0, numbers)
        assert (leakage.EXACT in found.why) == (3 in numbers)
        assert leakage.NO_PAIR in found.why
    for numbers in ((2, 3), (1, 2), (1, 2, 3)):
        found = after(world, *numbers)
        assert math.isinf(found.differencing)
        assert (found.bound, found.pairs) == (0.0, len(numbers) - 1)
        assert leakage.WITHOUT_NOISE in found.why
    a_key_is_charged_with_what_it_replaced(world)
    recipients_are_those_who_saw_the_records(world)


def test_with_noise_kappa_adds_up_and_the_account_bounds_the_pair(new_world: NewWorld) -> None:
    world = lived(new_world(), **NOISY)
    assert after(world, 3).nats == 0.25
    assert after(world, 2).nats == 0.0, "the records are in it: a bound on what it tells would be no bound on a leak"
    found = after(world, 2, 3)
    assert (found.bound, found.differencing) == (0.25, 1e6)
    world.forget("bob")
    world.work()
    world.upload(person("cyd"))
    world.work()
    assert (after(world, 4, 5).nats, after(world, 4).nats) == (0.5, 0.25)
    assert after(world, 3, 4).nats == 1e6 + 0.25, "about bob, who was still in the first of them"


def test_noise_without_an_account_counts_as_none(new_world: NewWorld) -> None:
    found = after(lived(new_world(), **{**NOISY, "exposure_budget": None}), 2, 3)
    assert math.isinf(found.nats)
    assert leakage.WITHOUT_ACCOUNT in found.why


def a_key_is_charged_with_what_it_replaced(world: World) -> None:
    with world.ledger.database.begin() as tx:
        old, _ = api_keys.create(tx, world.tenant_id, "k", ("predict",), outputs=api_keys.Outputs(api_keys.ROUNDED, 3))
    see(world, old.id, 2)
    with world.ledger.database.begin() as tx:
        first, _ = api_keys.rotate(tx, world.tenant_id, old.id, overlap_us=0)
    with world.ledger.database.begin() as tx:
        new, _ = api_keys.rotate(tx, world.tenant_id, first.id, overlap_us=10**9)
    see(world, new.id, 3)
    with world.ledger.database.read() as tx:
        key = tx.session.get_one(ApiKey, new.id)
        assert api_keys.outputs_of(key) == api_keys.Outputs(api_keys.ROUNDED, 3)
        assert api_keys.client_of(key) == old.id
        clients = sightings.clients_of(tx, world.tenant_id, world.model_id)
    assert old.id in clients
    assert new.id not in clients
    assert math.isinf(told(world, old.id).nats)


def test_a_correction_takes_something_out_too(new_world: NewWorld) -> None:
    world = new_world()
    world.upload(person("ada"))
    world.register()
    world.work()
    world.upload(person("ada"), corrects=True)
    world.work()
    assert math.isinf(after(world, 1, 2).nats)
    assert after(world, 2).nats == 0.0


def recipients_are_those_who_saw_the_records(world: World) -> None:
    before, with_her, since = (new_key(world) for _ in range(3))
    see(world, before, 1, 3)
    see(world, with_her, 1, 2, 3)
    see(world, since, 3)
    with world.ledger.database.begin() as tx:
        sightings.add(tx, {Place(with_her, world.model_id, 2): Uses(5, 2**52)})
        sightings.add(tx, {Place(with_her, world.model_id, 2): Uses(2, 7)})
    with world.ledger.database.read() as tx:
        (request,) = requests.list_newest(tx, world.tenant_id)
        listed = recipients.of_request(tx, world.tenant_id, request.id)
    (found,) = [one for one in listed if one.key_id in (before, with_her, since)]
    assert (found.key_id, found.first_version, found.last_version, found.versions) == (with_her, 2, 2, 1)
    assert (found.queries, found.last_at) == (7, 2**52), "an earlier time changes nothing"
    assert found.line_id == world.model_id


def test_who_saw_a_generation_that_is_gone_is_listed(new_world: NewWorld) -> None:
    world = new_world()
    world.upload(person("ada"), person("bob"))
    world.register()
    world.work()
    key_id = new_key(world)
    see(world, key_id, 1)
    first = world.model_id
    with world.ledger.database.begin() as tx:
        lines.delete(tx, world.tenant_id, first)
    world.work()
    request_id = world.forget("ada")
    world.work()
    assert world.request(request_id).state == "completed"
    with world.ledger.database.read() as tx:
        (found,) = recipients.of_request(tx, world.tenant_id, request_id)
    assert (found.key_id, found.line_id) == (key_id, first)


def test_a_budget_is_judged_before_the_answer(new_world: NewWorld) -> None:
    world = lived(new_world())
    key_id = new_key(world)
    with world.ledger.database.begin() as tx:
        leakage.set_budget(tx, world.tenant_id, key_id, world.model_id, 5.0, "coarsen")
        leakage.set_budget(tx, world.tenant_id, key_id, world.model_id, 1e9, "refuse")
        last = sightings.version(tx, Place(key_id, world.model_id, 3))
        assert not leakage.judge(tx, key_id, world.model_id, last).spent
        sightings.note(tx, world.tenant_id, Place(key_id, world.model_id, 2))
        judged = leakage.judge(tx, key_id, world.model_id, last)
        assert (judged.spent, judged.then) == (True, "refuse")
        leakage.drop_budget(tx, key_id, world.model_id)
        assert not leakage.judge(tx, key_id, world.model_id, last).spent


def test_two_processes_note_what_a_client_sees_one_after_the_other(
    new_world: NewWorld, fresh_postgres_database: str
) -> None:
    world = new_world(fresh_postgres_database, core_people=1)
    world.register()
    database, key_id = world.ledger.database, new_key(world)
    with database.begin() as tx:
        publish_version(tx, world.model_id, 1, 0)

    def note(tx: Transaction) -> None:
        sightings.lock_client(tx, key_id)
        sightings.note(tx, world.tenant_id, Place(key_id, world.model_id, 1))

    def note_too() -> None:
        with database.begin() as other:
            note(other)

    with ThreadPoolExecutor(1) as pool:
        with database.begin() as tx:
            note(tx)
            second = pool.submit(note_too)
            wait_until(lambda: waiters(database) or second.done(), 10, "the second process to wait")
            assert not second.done()
        second.result(timeout=20)
    with database.read() as tx:
        assert [seen.number for seen in sightings.of_client(tx, key_id, world.model_id)] == [1]


@pytest.mark.parametrize("wrong", [("all", None), ("rounded", 0), ("rounded", 7), ("label", 2)])
def test_outputs_that_cannot_be(wrong: tuple[str, int | None]) -> None:
    with pytest.raises(OutputsInvalid):
        api_keys.chosen(*wrong)
