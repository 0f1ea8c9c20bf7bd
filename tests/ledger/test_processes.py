"""Who works and who answers: workers by their jobs, API processes by their leases, of one tenant only."""

from __future__ import annotations

import pytest
from sqlalchemy import update
from support.clock import FixedClock
from support.versions import publish_version
from support.world import NewWorld, World

from ledger import jobs, leases, processes, tenants
from ledger.database import Database
from ledger.tables import Job

LEASE_US = 1_000_000


@pytest.fixture
def world(new_world: NewWorld, database_url: str) -> World:
    world = new_world(database_url, core_people=1)
    world.register()
    return world


@pytest.fixture
def database(world: World, clock: FixedClock) -> Database:
    with world.ledger.database.begin() as tx:
        tx.session.execute(update(Job).values(state="done"))
    return Database(world.ledger.database.engine, clock, world.ledger.database.random)


def workers(database: Database, tenant_id: str) -> dict[str, str]:
    with database.read() as tx:
        return {worker.name: worker.state for worker in processes.workers(tx, tenant_id)}


def test_a_worker_is_idle_working_or_silent(database: Database, world: World, clock: FixedClock) -> None:
    assert workers(database, world.tenant_id) == {}
    with database.begin() as tx:
        for number in range(2):
            jobs.add(tx, world.tenant_id, jobs.INGEST_UPLOAD, lock_key=f"test:{number}")
    first = jobs.claim(database, "one", lease_us=LEASE_US)
    assert first is not None
    with database.begin() as tx:
        jobs.finish(tx, first)
    assert workers(database, world.tenant_id) == {"one": "idle"}
    jobs.claim(database, "two", lease_us=LEASE_US)
    assert workers(database, world.tenant_id) == {"one": "idle", "two": "working"}
    clock.advance(seconds=2)
    assert workers(database, world.tenant_id) == {"one": "idle", "two": "silent"}
    jobs.claim(database, "one", lease_us=LEASE_US)  # takes the job over
    assert workers(database, world.tenant_id) == {"one": "working"}
    with database.begin() as tx:
        other = tenants.create_tenant(tx, world.ledger.ring, "other").id
    assert workers(database, other) == {}


def test_a_lease_is_current_behind_or_expired(database: Database, world: World, clock: FixedClock) -> None:
    def publish(number: int) -> None:
        with database.begin() as tx:
            publish_version(tx, world.model_id, number, number)

    def said(tenant_id: str) -> list[tuple[str, int, int | None, str]]:
        with database.read() as tx:
            found = processes.serving(tx, tenant_id)
        return [(lease.process_id[0], lease.number, lease.active, lease.state) for lease in found]

    publish(1)
    leases.renew(database, "a" * 32, {world.model_id: 1}, ttl_us=LEASE_US)
    assert said(world.tenant_id) == [("a", 1, 1, "current")]
    publish(2)
    leases.renew(database, "b" * 32, {world.model_id: 2}, ttl_us=2 * LEASE_US)
    assert said(world.tenant_id) == [("a", 1, 2, "behind"), ("b", 2, 2, "current")]
    clock.advance(microseconds=LEASE_US + 1)
    assert said(world.tenant_id) == [("a", 1, 2, "expired"), ("b", 2, 2, "current")]
    with database.begin() as tx:
        other = tenants.create_tenant(tx, world.ledger.ring, "other").id
    assert said(other) == []
