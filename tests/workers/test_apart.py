"""A request that cannot be done, since something stored is missing or damaged, fails alone and can be tried again."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import select
from support.damaging import damage_last, deferred, features_of, lose, rebuilt, records_of, retry, settle, states
from support.leftovers import leftovers
from support.world import NewWorld, World, person

from ledger import generations, jobs, lines
from ledger.errors import SuccessorNotReady
from ledger.tables import RequestModel

RECORDS = 3
PEOPLE = [person(f"person-{i}", RECORDS) for i in range(6)]


def trained(world: World, *names: str) -> World:
    world.upload(*(p for p in PEOPLE if p.name in names or not names))
    world.register()
    world.work()
    return world


@pytest.fixture
def world(new_world: NewWorld) -> World:
    """Each person's records are in a shard of their own."""
    return trained(new_world(shard_records=RECORDS))


@pytest.fixture
def any_world(new_world: NewWorld, database_url: str) -> World:
    """The same, on SQLite and on PostgreSQL."""
    return trained(new_world(database_url, shard_records=RECORDS))


@pytest.fixture
def without(new_world: NewWorld) -> Callable[..., bytes]:
    """A function that returns the statistics of a service that never saw these people."""

    def statistics(*gone: str) -> bytes:
        return trained(new_world(), *(p.name for p in PEOPLE if p.name not in gone)).statistics()

    return statistics


def test_features_that_are_missing_fail_one_request_of_three(any_world: World, without: Callable[..., bytes]) -> None:
    """The others are forgotten; the third is too, once its features are there again and an operator retries it."""
    world = any_world
    bad, *good = (world.forget(name) for name in ("person-1", "person-0", "person-4"))
    put_back = lose(world, features_of(world, "person-1"))
    settle(world)
    assert states(world, bad, *good) == ["failed", "completed", "completed"]
    assert (world.request(bad).error or "").startswith("model model: ObjectMissing: ")
    (job,) = world.jobs("failed")
    assert job.kind == jobs.ADVANCE
    assert world.statistics() == without("person-0", "person-4")
    assert retry(world) == jobs.ADVANCE
    assert (states(world, bad), deferred(world)) == (["failed"], 1), "nothing was repaired"
    put_back()
    assert rebuilt(world) == {"equal": True, "records": RECORDS * 4}
    retry(world)
    assert (states(world, bad), deferred(world)) == (["completed"], 0)
    assert world.request(bad).error is None
    assert world.statistics() == without("person-0", "person-1", "person-4")
    assert rebuilt(world) == {"equal": True, "records": RECORDS * 3}
    assert world.jobs("failed") == []
    assert leftovers(world.ledger) == []


def test_a_damaged_record_fails_nobody_whose_records_lie_beside_it(
    new_world: NewWorld, without: Callable[..., bytes]
) -> None:
    world = trained(new_world(shard_records=2 * RECORDS))
    damage_last(world, features_of(world, "person-1"))
    good, bad = world.forget("person-0"), world.forget("person-1")
    settle(world)
    assert states(world, good, bad) == ["completed", "failed"]
    damage_last(world, features_of(world, "person-1"))  # the shard is another one now, without the first person
    retry(world)
    assert states(world, bad) == ["completed"]
    assert world.statistics() == without("person-0", "person-1")
    assert leftovers(world.ledger) == []


def test_what_comes_later_is_not_held_up(world: World, without: Callable[..., bytes]) -> None:
    """Records that are added and removed while one removal is deferred; who asks for the same person waits."""
    put_back = lose(world, features_of(world, "person-2"))
    bad = world.forget("person-2")
    settle(world)
    again = world.forget("person-2", "person-3")
    other = world.forget("person-5")
    settle(world)
    assert states(world, bad, again, other) == ["failed", "scrubbing", "completed"]
    put_back()
    assert rebuilt(world) == {"equal": True, "records": RECORDS * 4}
    retry(world)
    assert states(world, bad, again) == ["completed", "completed"]
    assert world.statistics() == without("person-2", "person-3", "person-5")
    assert leftovers(world.ledger) == []


def test_another_model_is_not_held_up_and_keeps_what_it_has_done(world: World, without: Callable[..., bytes]) -> None:
    other = world.register("another")
    settle(world)
    put_back = lose(world, features_of(world, "person-1", other))
    bad = world.forget("person-1")
    settle(world)
    with world.ledger.database.read() as tx:
        query = select(RequestModel.model_id, RequestModel.version_id).where(RequestModel.request_id == bad)
        versions = {row.model_id: row.version_id for row in tx.session.execute(query)}
    assert states(world, bad) == ["failed"]
    assert (versions[world.model_id] is not None, versions[other]) == (True, None)
    put_back()
    assert rebuilt(world) == {"equal": True, "records": RECORDS * 5}
    assert rebuilt(world, other) == {"equal": True, "records": RECORDS * 6}
    retry(world)
    assert states(world, bad) == ["completed"]
    assert world.statistics() == without("person-1")
    assert rebuilt(world, other) == {"equal": True, "records": RECORDS * 5}


def test_a_successor_that_has_deferred_something_does_not_take_over(world: World) -> None:
    """Somebody whom the current generation has forgotten would come back."""
    with world.ledger.database.begin() as tx:
        plan = lines.plan_of(tx, generations.current(tx, world.model_id))
        new = lines.register_successor(tx, world.model_id, plan, cut_over=lines.MANUAL)[0].id
    settle(world)
    put_back = lose(world, features_of(world, "person-1", new))
    world.forget("person-1")
    settle(world)
    with pytest.raises(SuccessorNotReady, match="still holds"), world.ledger.database.begin() as tx:
        lines.cut_over(tx, world.model_id)
    put_back()
    retry(world)
    with world.ledger.database.begin() as tx:
        assert lines.cut_over(tx, world.model_id)[0].id == new


def test_a_model_that_is_deleted_lets_its_deferred_requests_go(world: World) -> None:
    other = world.register("another")
    settle(world)
    lose(world, features_of(world, "person-1", other))
    bad = world.forget("person-1")
    settle(world)
    assert states(world, bad) == ["failed"]
    with world.ledger.database.begin() as tx:
        lines.delete(tx, world.tenant_id, other)
    settle(world)
    assert (states(world, bad), deferred(world)) == (["completed"], 0)


def test_records_that_are_missing_fail_one_request_of_a_purge(any_world: World) -> None:
    """Its records cannot be seen to be gone; those of the others are, and they are certified."""
    world = any_world
    put_back = lose(world, records_of(world, "person-1"))
    bad, good = world.forget("person-1"), world.forget("person-4")
    settle(world)
    assert states(world, bad, good) == ["failed", "completed"]
    assert (world.request(bad).error or "").startswith("ObjectMissing: ")
    later = world.forget("person-5")
    settle(world)
    assert states(world, bad, later) == ["failed", "completed"]
    put_back()
    assert retry(world) == jobs.PURGE
    assert states(world, bad) == ["completed"]
    assert world.request(bad).error is None
    assert world.jobs("failed") == []
    assert leftovers(world.ledger) == []
