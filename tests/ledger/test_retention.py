"""Periods end by themselves: old records go by an ordinary request, once, and nobody's before their time."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select, update
from support.mentions import mentions
from support.world import NewWorld, World, person

from ledger import requests, retention
from ledger.database import Database
from ledger.errors import CoreNeverForgotten, NotFound
from ledger.tables import Change, Cohort, Event, ForgetRequest, Record, Upload
from workers.sweeping import sweep

DAY_US = 86_400_000_000


BOTH = pytest.mark.parametrize("world", ["sqlite", "postgres"], indirect=True)
"""For what asks the databases in different ways."""


@pytest.fixture
def world(request: pytest.FixtureRequest, new_world: NewWorld) -> World:
    postgres = getattr(request, "param", "sqlite") == "postgres"
    return new_world(request.getfixturevalue("fresh_postgres_database") if postgres else None, core_people=1)


def age(world: World, upload_id: str, days: float) -> None:
    """Let an upload have been stored so many days ago."""
    with world.ledger.database.begin() as tx:
        seq = tx.session.get_one(Upload, upload_id).stored_seq
        at = tx.now - int(days * DAY_US)
        tx.session.execute(update(Change).where(Change.seq == seq).values(created_at=at))


def keep_for(world: World, days: int | None) -> None:
    with world.ledger.database.begin() as tx:
        retention.set_period(tx, world.tenant_id, world.user_id, days)


def filed(world: World) -> list[ForgetRequest]:
    with world.ledger.database.read() as tx:
        rows = select(ForgetRequest).where(ForgetRequest.regulation == "retention").order_by(ForgetRequest.received_at)
        return list(tx.session.execute(rows).scalars())


def stored(world: World) -> int:
    with world.ledger.database.read() as tx:
        rows = select(Record.id).where(Record.cohort_id == world.user_id, Record.removed_seq.is_(None))
        return len(tx.session.execute(rows).all())


def yesterday(world: World) -> None:
    """Let the last request of a period have been filed on another day."""
    with world.ledger.database.begin() as tx:
        tx.session.execute(update(Cohort).values(retention_day=Cohort.retention_day - 1))


@BOTH
def test_what_is_older_goes_with_a_certificate_and_the_rest_stays(world: World) -> None:
    old, new = world.upload(person("old")), world.upload(person("new"))
    age(world, old, 30.1)
    age(world, new, 29.9)
    sweep(world.ledger)
    assert filed(world) == []  # nobody has asked for a period
    keep_for(world, 30)
    sweep(world.ledger)
    sweep(world.ledger)
    (request,) = filed(world)
    assert (request.state, request.selector_kind) == ("accepted", "retention")
    assert 6 * DAY_US < request.due_at - request.received_at <= 8 * DAY_US
    world.work()
    (request,) = filed(world)
    assert (request.state, request.outcome, request.records) == ("completed", "erased", 3)
    with world.ledger.database.read() as tx:
        certificate = requests.certificate(tx, world.tenant_id, request.id)
    assert certificate is not None
    assert not mentions(certificate, "old")
    assert stored(world) == 3
    yesterday(world)
    assert retention.file_due(world.ledger.database) == 0
    world.upload(person("old"))  # nobody asked to be forgotten: a period suppresses nobody


def test_there_is_one_request_a_day_and_the_next_day_takes_what_came_due(world: World) -> None:
    first, second = world.upload(person("a")), world.upload(person("b"))
    keep_for(world, 1)
    age(world, first, 1.5)
    assert retention.file_due(world.ledger.database) == 1
    age(world, second, 1.5)
    assert retention.file_due(world.ledger.database) == 0
    world.work()
    assert stored(world) == 3
    yesterday(world)
    assert retention.file_due(world.ledger.database) == 1
    world.work()
    assert stored(world) == 0
    assert [row.outcome for row in filed(world)] == ["erased", "erased"]


@BOTH
def test_many_processes_at_once_file_one(world: World) -> None:
    age(world, world.upload(person("a")), 2)
    keep_for(world, 1)
    with ThreadPoolExecutor(6) as pool:
        found = [pool.submit(retention.file_due, world.ledger.database) for _ in range(6)]
    assert sum(one.result() for one in found) == 1
    assert len(filed(world)) == 1


def test_holds_are_kept_and_cause_no_requests(world: World) -> None:
    world.upload(person("held"))
    age(world, world.uploads[-1], 2)
    hold = world.hold("held")
    keep_for(world, 1)
    assert retention.file_due(world.ledger.database) == 0
    age(world, world.upload(person("free")), 2)
    assert retention.file_due(world.ledger.database) == 1
    world.work()
    (request,) = filed(world)
    assert (request.outcome, request.records, request.held) == ("erased", 3, 3)
    assert stored(world) == 3
    world.release(hold)  # files again what it had stopped, as of then
    world.work()
    assert stored(world) == 0
    assert {row.outcome for row in filed(world)} == {"erased"}


def test_a_clock_that_runs_ahead_forgets_nobody(new_world: NewWorld, fresh_postgres_database: str) -> None:
    world = new_world(fresh_postgres_database, core_people=1)
    world.upload(person("a"))
    keep_for(world, 30)
    real = world.ledger.database
    ahead = Database(real.engine, lambda: time.time_ns() // 1000 + 400 * DAY_US, real.random)
    assert retention.file_due(ahead) == 0
    age(world, world.uploads[-1], 31)
    assert retention.file_due(ahead) == 1


def test_core_cohorts_have_no_period_and_others_cohorts_are_not_there(world: World) -> None:
    with world.ledger.database.begin() as tx:
        with pytest.raises(CoreNeverForgotten):
            retention.set_period(tx, world.tenant_id, world.core_id, 1)
        with pytest.raises(NotFound):
            retention.set_period(tx, "0" * 32, world.user_id, 1)
    keep_for(world, 5)
    keep_for(world, 5)
    keep_for(world, None)
    with world.ledger.database.read() as tx:
        rows = select(Event.body).where(Event.kind == "cohort.retention").order_by(Event.id)
        bodies = list(tx.session.execute(rows).scalars())
    assert [b'"days":5' in bodies[0], b'"days":0' in bodies[1], len(bodies)] == [True, True, 2]
