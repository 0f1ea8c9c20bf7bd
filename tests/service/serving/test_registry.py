"""Leases: nobody is answered from an old version, whatever sleeps, fails or is damaged meanwhile."""

from __future__ import annotations

import dataclasses
import gc
import weakref
from collections.abc import Callable

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.exc import OperationalError
from support.waiting import wait_until
from support.world import NewWorld, World, person

from ledger import leases
from ledger.tables import Lease, Model
from service.serving.registry import RETRY_LOAD_NS, Registry, Timing
from workers.runner import run_next

TTL_MS = 1000
MS = 1_000_000


class Monotonic:
    """A clock in nanoseconds that moves only when told to."""

    def __init__(self) -> None:
        self.now = 10**12

    def __call__(self) -> int:
        return self.now


@pytest.fixture(params=["sqlite", "postgres"])
def world(request: pytest.FixtureRequest, new_world: NewWorld) -> World:
    """A world whose model has its first version."""
    made = new_world(None if request.param == "sqlite" else request.getfixturevalue("fresh_postgres_database"))
    return with_model(made)


@pytest.fixture
def small_world(new_world: NewWorld) -> World:
    """The same, on SQLite alone."""
    return with_model(new_world())


def with_model(world: World) -> World:
    world.upload(person("ada"), person("bob"), person("cyd"))
    world.register()
    world.work()
    return world


@pytest.fixture
def monotonic() -> Monotonic:
    """The process's own clock."""
    return Monotonic()


NewRegistry = Callable[..., Registry]


@pytest.fixture
def new_registry(monotonic: Monotonic) -> NewRegistry:
    """A function that makes a registry which looks at the ledger only when told to."""

    def build(world: World, process: str = "this") -> Registry:
        return Registry(world.ledger, Timing(TTL_MS, 50), process_id=process, monotonic_ns=monotonic)

    return build


def settle(registry: Registry, model_id: str, number: int) -> None:
    """Refresh until this version may be answered from."""

    def served() -> bool:
        registry.refresh()
        model = registry.current(model_id)
        return model is not None and model.number == number

    wait_until(served, 20, f"version {number} to be served")


def publish_next(world: World, name: str) -> None:
    """Forget somebody, up to the point where the new version is active."""
    world.forget(name)
    before = world.active().number
    while world.active().number == before:
        assert run_next(world.deps)


def lease_rows(world: World) -> dict[str, int]:
    with world.ledger.database.read() as tx:
        return {row.process_id: row.version_number for row in tx.session.execute(select(Lease)).scalars()}


def test_nothing_is_served_before_a_lease_is_written(world: World, new_registry: NewRegistry) -> None:
    registry = new_registry(world)
    assert registry.current(world.model_id) is None
    settle(registry, world.model_id, 1)
    assert lease_rows(world) == {"this": 1}
    registry.stop()
    assert registry.current(world.model_id) is None
    assert lease_rows(world) == {}


def test_a_lease_ends_by_the_own_clock_and_is_renewed_in_time(
    small_world: World, new_registry: NewRegistry, monotonic: Monotonic
) -> None:
    registry = new_registry(small_world)
    settle(registry, small_world.model_id, 1)
    monotonic.now += TTL_MS * MS - 1
    assert registry.current(small_world.model_id) is not None
    monotonic.now += 1
    assert registry.current(small_world.model_id) is None
    registry.refresh()
    assert registry.current(small_world.model_id) is not None
    monotonic.now += TTL_MS * MS // 2
    registry.refresh()  # half of it is over
    monotonic.now += TTL_MS * MS - 1
    assert registry.current(small_world.model_id) is not None


def test_time_spent_writing_the_lease_counts(
    small_world: World, new_registry: NewRegistry, monotonic: Monotonic
) -> None:
    def slow_clock() -> int:
        monotonic.now += 400 * MS
        return small_world.deps.clock_us()

    slow = dataclasses.replace(
        small_world.ledger, database=dataclasses.replace(small_world.ledger.database, clock=slow_clock)
    )
    registry = new_registry(dataclasses.replace(small_world, ledger=slow))
    settle(registry, small_world.model_id, 1)
    # The clock was read once more after the lease's time had been taken: 400 ms of 1,000 are gone.
    monotonic.now += 600 * MS
    assert registry.current(small_world.model_id) is None


def test_a_new_version_takes_over_and_the_old_one_leaves_memory(
    world: World, new_registry: NewRegistry, monotonic: Monotonic
) -> None:
    registry = new_registry(world)
    settle(registry, world.model_id, 1)
    model = registry.current(world.model_id)
    assert model is not None
    old, public = weakref.ref(model.weights), model.public
    del model
    publish_next(world, "ada")
    assert registry.current(world.model_id) is not None  # its lease still holds, and the purge waits for it
    assert lease_rows(world) == {"this": 1}
    settle(registry, world.model_id, 2)
    assert lease_rows(world) == {"this": 2}
    gc.collect()
    assert old() is None
    now = registry.current(world.model_id)
    assert now is not None
    assert now.public is public  # not loaded again


def test_a_process_that_slept_gets_no_lease_on_an_old_version(world: World) -> None:
    """It was about to write its lease when it fell asleep; meanwhile everybody saw that no lease was left."""
    database = world.ledger.database
    publish_next(world, "ada")
    assert leases.renew(database, "sleeper", {world.model_id: 1}, ttl_us=10**6) == frozenset()
    assert lease_rows(world) == {}
    assert leases.renew(database, "sleeper", {world.model_id: 2}, ttl_us=10**6) == {world.model_id}
    assert lease_rows(world) == {"sleeper": 2}


def test_an_old_lease_is_not_prolonged_but_stays_until_it_ends(world: World) -> None:
    database = world.ledger.database
    leases.renew(database, "this", {world.model_id: 1}, ttl_us=60_000_000)
    publish_next(world, "ada")
    assert leases.renew(database, "this", {world.model_id: 1}, ttl_us=120_000_000) == frozenset()
    with database.read() as tx:
        assert leases.stragglers(tx, world.model_id, 2, clock_skew_us=0) == 1
        (row,) = tx.session.execute(select(Lease)).scalars()
        assert row.expires_at <= tx.now + 60_000_000


def test_publishing_waits_for_a_lease_that_is_being_written(new_world: NewWorld, fresh_postgres_database: str) -> None:
    world = with_model(new_world(fresh_postgres_database))
    database = world.ledger.database
    with database.begin() as writing:
        leases._lock_active(writing, [world.model_id])
        with database.begin() as publishing:
            publishing.session.execute(text("SET LOCAL lock_timeout = '100ms'"))
            publish = update(Model).where(Model.id == world.model_id).values(applied_seq=99)
            with pytest.raises(OperationalError, match="lock timeout"):
                publishing.session.execute(publish)
            publishing.session.rollback()
        with database.begin() as other:  # while other leases are written at the same time
            other.session.execute(text("SET LOCAL lock_timeout = '100ms'"))
            assert leases._lock_active(other, [world.model_id]) == {world.model_id: 1}


def test_a_damaged_version_is_not_served_and_neither_is_its_predecessor(
    small_world: World, new_registry: NewRegistry, monotonic: Monotonic
) -> None:
    registry = new_registry(small_world)
    settle(registry, small_world.model_id, 1)
    publish_next(small_world, "ada")
    store, name = small_world.ledger.objects, small_world.active().weights_object
    assert name is not None
    good = store.read(name)
    store.write(name, [good[:-1] + bytes([good[-1] ^ 1])])

    def refused() -> bool:
        registry.refresh()
        return registry.current(small_world.model_id) is None

    wait_until(refused, 20, "the damaged version to be noticed")
    assert lease_rows(small_world) == {}
    store.write(name, [good])
    registry.refresh()
    assert registry.current(small_world.model_id) is None  # not tried again yet
    monotonic.now += RETRY_LOAD_NS
    settle(registry, small_world.model_id, 2)


def test_weights_of_another_version_are_not_served(small_world: World, new_registry: NewRegistry) -> None:
    """Valid bytes in the wrong place: only the commitment tells."""
    store, name = small_world.ledger.objects, small_world.active().weights_object
    assert name is not None
    old = store.read(name)
    publish_next(small_world, "ada")
    now = small_world.active().weights_object
    assert now is not None
    store.write(now, [old])
    registry = new_registry(small_world)
    for _ in range(2):  # the first begins to load, the second sees how that went
        registry.refresh()
        registry._loader.submit(int).result()
    registry.refresh()
    assert registry.current(small_world.model_id) is None


def test_a_silent_database_ends_the_answers(
    small_world: World, new_registry: NewRegistry, monotonic: Monotonic, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = new_registry(small_world)
    settle(registry, small_world.model_id, 1)

    def silent(_: object) -> None:
        raise OperationalError("SELECT", {}, Exception("no answer"))

    monkeypatch.setattr("service.serving.registry.servable", silent)
    with pytest.raises(OperationalError):
        registry.refresh()
    assert registry.current(small_world.model_id) is not None
    monotonic.now += TTL_MS * MS
    with pytest.raises(OperationalError):
        registry.refresh()
    assert registry.current(small_world.model_id) is None
    monkeypatch.undo()
    registry.refresh()
    assert registry.current(small_world.model_id) is not None


def test_a_process_is_ready_once_what_was_active_at_its_start_is_in_service(
    small_world: World, new_registry: NewRegistry
) -> None:
    registry = new_registry(small_world)
    registry.refresh()  # only begins to load it
    assert not registry.wait_until_ready(0)
    settle(registry, small_world.model_id, 1)
    assert registry.wait_until_ready(0)


def test_a_version_that_cannot_be_read_keeps_no_process_from_being_ready(
    small_world: World, new_registry: NewRegistry
) -> None:
    small_world.ledger.objects.delete(small_world.active().weights_object or "")
    registry = new_registry(small_world)

    def ready() -> bool:
        registry.refresh()
        return registry.wait_until_ready(0)

    wait_until(ready, 30, "the process to be ready")
    assert registry.current(small_world.model_id) is None
