"""Leases: nobody can go back to an old version, and whoever might still answer from one is counted."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select
from support.clock import FixedClock
from support.locks import waiters
from support.versions import publish_version
from support.waiting import wait_until
from support.world import NewWorld, World

from ledger import leases
from ledger.database import Database
from ledger.tables import Lease

TTL_US = 1_000_000


@pytest.fixture
def world(new_world: NewWorld, database_url: str) -> World:
    world = new_world(database_url, core_people=1)
    world.register()
    return world


@pytest.fixture
def database(world: World, clock: FixedClock) -> Database:
    return Database(world.ledger.database.engine, clock, world.ledger.database.random)


def now_active(database: Database, world: World, number: int, model_id: str | None = None) -> None:
    with database.begin() as tx:
        publish_version(tx, model_id or world.model_id, number, number)


def left(database: Database, world: World, number: int, skew_us: int = 0) -> int:
    with database.read() as tx:
        return leases.stragglers(tx, world.model_id, number, clock_skew_us=skew_us)


def held(database: Database, process_id: str) -> dict[str, tuple[int, int]]:
    with database.read() as tx:
        rows = tx.session.execute(select(Lease).where(Lease.process_id == process_id)).scalars()
        return {row.model_id: (row.version_number, row.expires_at) for row in rows}


def test_a_lease_on_the_active_version_holds_for_its_time(database: Database, world: World, clock: FixedClock) -> None:
    now_active(database, world, 1)
    assert leases.renew(database, "p", {world.model_id: 1}, ttl_us=TTL_US) == {world.model_id}
    assert held(database, "p") == {world.model_id: (1, clock() + TTL_US)}
    clock.advance(microseconds=5)
    assert leases.renew(database, "p", {world.model_id: 1}, ttl_us=TTL_US) == {world.model_id}
    assert held(database, "p") == {world.model_id: (1, clock() + TTL_US)}


@pytest.mark.parametrize("named", [1, 3])
def test_no_lease_on_any_but_the_active_version(
    database: Database, world: World, clock: FixedClock, named: int
) -> None:
    """A process that slept, or went back, gets nothing; what it held before is still counted until it expires."""
    now_active(database, world, 1)
    leases.renew(database, "p", {world.model_id: 1}, ttl_us=TTL_US)
    before = held(database, "p")
    now_active(database, world, 2)
    clock.advance(microseconds=10)
    assert leases.renew(database, "p", {world.model_id: named}, ttl_us=TTL_US) == frozenset()
    assert held(database, "p") == before
    assert left(database, world, 2) == 1
    assert leases.renew(database, "new", {world.model_id: named}, ttl_us=TTL_US) == frozenset()
    assert held(database, "new") == {}


def test_a_model_without_a_version_or_of_an_unknown_id_gives_no_lease(database: Database, world: World) -> None:
    assert leases.renew(database, "p", {world.model_id: 1, "0" * 32: 1}, ttl_us=TTL_US) == frozenset()
    assert held(database, "p") == {}


def test_stragglers_are_older_leases_that_have_not_expired_by_any_clock(
    database: Database, world: World, clock: FixedClock
) -> None:
    now_active(database, world, 1)
    for process in "abc":
        leases.renew(database, process, {world.model_id: 1}, ttl_us=TTL_US)
    now_active(database, world, 2)
    assert left(database, world, 2) == 3
    leases.renew(database, "a", {world.model_id: 2}, ttl_us=2 * TTL_US)
    assert left(database, world, 2) == 2
    leases.release(database, "b")
    assert (left(database, world, 2), left(database, world, 1), left(database, world, 3)) == (1, 0, 2)
    clock.advance(microseconds=TTL_US)
    assert left(database, world, 2) == 1  # at the very moment it may still answer
    clock.advance(microseconds=1)
    assert left(database, world, 2) == 0
    assert left(database, world, 2, skew_us=1) == 1
    clock.advance(microseconds=1)
    assert left(database, world, 2, skew_us=1) == 0


def test_leases_of_other_models_do_not_count(database: Database, world: World) -> None:
    other = world.register("other")
    now_active(database, world, 1)
    now_active(database, world, 1, other)
    leases.renew(database, "p", {world.model_id: 1, other: 1}, ttl_us=TTL_US)
    now_active(database, world, 2)
    leases.renew(database, "p", {world.model_id: 2, other: 1}, ttl_us=TTL_US)
    assert left(database, world, 2) == 0


def test_what_a_process_names_no_more_it_gives_up(database: Database, world: World) -> None:
    other = world.register("other")
    now_active(database, world, 1)
    now_active(database, world, 1, other)
    leases.renew(database, "p", {world.model_id: 1, other: 1}, ttl_us=TTL_US)
    leases.renew(database, "q", {world.model_id: 1, other: 1}, ttl_us=TTL_US)
    leases.renew(database, "p", {other: 1}, ttl_us=TTL_US)
    assert set(held(database, "p")) == {other}
    assert set(held(database, "q")) == {world.model_id, other}


def test_only_rows_that_no_clock_takes_for_living_are_dropped(
    database: Database, world: World, clock: FixedClock
) -> None:
    now_active(database, world, 1)
    leases.renew(database, "p", {world.model_id: 1}, ttl_us=TTL_US)
    for step, kept in ((TTL_US + 5, True), (1, False)):
        clock.advance(microseconds=step)
        with database.begin() as tx:
            leases.drop_expired(tx, clock_skew_us=5)
        assert bool(held(database, "p")) is kept


def test_a_renewal_while_a_version_is_published_waits_and_is_refused(
    new_world: NewWorld, fresh_postgres_database: str
) -> None:
    """Else: published, no lease counted, purged; and then a lease on the old version appears."""
    world = new_world(fresh_postgres_database, core_people=1)
    world.register()
    database = world.ledger.database
    now_active(database, world, 1)
    with ThreadPoolExecutor(1) as pool:
        with database.begin() as tx:
            publish_version(tx, world.model_id, 2, 2)
            renewal = pool.submit(leases.renew, database, "p", {world.model_id: 1}, ttl_us=TTL_US)
            wait_until(lambda: waiters(database) or renewal.done(), 10, "the renewal to wait")
            assert not renewal.done()
        assert renewal.result(timeout=20) == frozenset()
    assert held(database, "p") == {}
