"""The worker's loop, and the sweep that takes back what crashed processes left."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs
from support.clock import FixedClock
from support.waiting import wait_until
from support.world import NewWorld, World, make_deps, person

from ledger import inventory, jobs, uploads
from ledger.database import Database
from ledger.errors import LogDamaged
from ledger.objects import LocalObjectStore
from ledger.tables import Job, StoredObject, Upload
from workers import loop
from workers.deps import Deps
from workers.loop import Loop, sweep
from workers.runner import run_next


@pytest.fixture
def world(new_world: NewWorld) -> World:
    return new_world(core_people=1)


@contextmanager
def running(deps: Deps, poll_s: float) -> Iterator[Loop]:
    """Run a loop in a thread and stop it in the end."""
    running_loop = Loop(deps, poll_s=poll_s)
    thread = threading.Thread(target=running_loop.run)
    thread.start()
    try:
        yield running_loop
    finally:
        running_loop.stop()
        thread.join(timeout=30)
        assert not thread.is_alive()


def test_jobs_are_done_until_there_are_none_and_a_nudge_wakes_the_loop(world: World) -> None:
    with running(world.deps, poll_s=3600) as worker:
        worker.nudge()
        wait_until(lambda: not world.jobs("ready"), 30, "the first jobs")
        world.upload(person("a"))
        worker.nudge()
        wait_until(lambda: not world.jobs("ready") and not world.jobs("running"), 30, "the job after the nudge")
    assert len(world.jobs("done")) == 1


def test_without_a_nudge_the_loop_looks_now_and_then(world: World) -> None:
    with running(world.deps, poll_s=0.01):
        world.upload(person("a"))
        wait_until(lambda: world.jobs("done"), 30, "the job")


def test_a_database_that_is_away_is_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    failures = iter([OperationalError("SELECT", {}, Exception("away"))] * 3)

    def sometimes(deps: Deps) -> bool:
        for problem in failures:
            raise problem
        return run_next(deps)

    monkeypatch.setattr(loop, "run_next", sometimes)
    world.upload(person("a"))
    with running(world.deps, poll_s=0.001):
        wait_until(lambda: world.jobs("done"), 30, "the job")


@pytest.fixture
def timed(world: World, clock: FixedClock) -> Deps:
    database = Database(world.ledger.database.engine, clock, world.ledger.database.random)
    return make_deps(replace(world.ledger, database=database), clock_us=clock)


def test_the_sweep_takes_back_what_dead_processes_left(world: World, timed: Deps, clock: FixedClock) -> None:
    ledger = timed.ledger
    upload_id = uploads.begin(ledger, world.tenant_id, world.user_id)
    with ledger.database.begin() as tx:
        job_id = jobs.add(tx, world.tenant_id, jobs.PURGE, lock_key="key").id
    claim = jobs.claim(ledger.database, "one", lease_us=1_000_000)
    assert claim is not None
    owners = {
        "live job": claim.owner,
        "older fence": f"job:{job_id}:0",
        "unknown job": "job:999:1",
        "live upload": f"upload:{upload_id}",
        "unknown upload": f"upload:{'0' * 32}",
    }
    names = {
        what: inventory.write_pending(ledger.database, ledger.objects, world.tenant_id, "test", owner, [b"x"])
        for what, owner in owners.items()
    }

    def left() -> set[str]:
        return {what for what, name in names.items() if ledger.objects.exists(name)}

    sweep(timed)
    assert left() == {"live job", "live upload"}
    clock.advance(microseconds=1_000_001)
    sweep(timed)
    assert left() == {"live upload"}
    clock.advance(microseconds=uploads.LEASE_US)
    sweep(timed)
    assert left() == set()
    with ledger.database.read() as tx:
        assert tx.session.get_one(Upload, upload_id).state == "failed"
        assert inventory.unfinished(tx, world.tenant_id) == []
        live = tx.session.execute(select(StoredObject.state)).scalars().all()
    assert set(live) == {"live"}


def test_the_sweep_removes_files_of_writes_that_were_cut_short(world: World) -> None:
    store = world.ledger.objects
    assert isinstance(store, LocalObjectStore)
    (incoming,) = Path(world.ledger.database.engine.url.database or "").parent.rglob("incoming")
    half = incoming / "half-written"
    half.write_bytes(b"x")
    sweep(world.deps)
    assert not half.exists()


def test_the_loop_sweeps_at_its_start(world: World) -> None:
    with world.ledger.database.begin() as tx:
        tx.session.execute(update(Job).values(state="done"))
    upload_id = uploads.begin(world.ledger, world.tenant_id, world.user_id)
    with world.ledger.database.begin() as tx:
        tx.session.execute(update(Upload).where(Upload.id == upload_id).values(lease_until=0))

    def abandoned() -> bool:
        with world.ledger.database.read() as tx:
            return tx.session.get_one(Upload, upload_id).state == "failed"

    with running(world.deps, poll_s=3600):
        wait_until(abandoned, 30, "the sweep")


def test_a_damaged_log_does_not_keep_people_from_being_forgotten(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(*_: object) -> None:
        raise LogDamaged("entries are missing")

    monkeypatch.setattr(loop, "sequence", damaged)
    world.upload(person("a"))
    with capture_logs() as logs, running(world.deps, poll_s=0.01):
        wait_until(lambda: world.jobs("done") and not world.jobs("ready"), 30, "the job")
    assert [line["event"] for line in logs].count("log damaged") == 1
