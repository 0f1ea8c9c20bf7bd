"""The reconciler by itself: it begins full batches, takes back what crashes left, and survives what is away."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import update
from sqlalchemy.exc import OperationalError
from support.ports import free_port
from support.receiver import receiver
from support.versions import publish_version
from support.waiting import wait_until
from support.world import NewWorld, World

from ledger import batching, uploads
from ledger.batching import Policy
from ledger.tables import Job, Model, Upload
from ledger.webhooks import endpoints
from workers.reconciler import Reconciler
from workers.settings import WorkerSettings


@pytest.fixture
def world(new_world: NewWorld) -> World:
    return new_world(core_people=1)


@contextmanager
def running(world: World, settings: WorkerSettings) -> Iterator[None]:
    reconciler = Reconciler(world.ledger, settings)
    thread = threading.Thread(target=reconciler.run)
    thread.start()
    try:
        yield
    finally:
        reconciler.stop()
        thread.join(timeout=30)
        assert not thread.is_alive()


def test_it_takes_back_what_crashes_left_even_if_redis_is_away(world: World, tmp_path: Path) -> None:
    upload_id = uploads.begin(world.ledger, world.tenant_id, world.user_id)
    with world.ledger.database.begin() as tx:
        tx.session.execute(update(Upload).where(Upload.id == upload_id).values(lease_until=0))

    def abandoned() -> bool:
        with world.ledger.database.read() as tx:
            return tx.session.get_one(Upload, upload_id).state == "failed"

    alive = tmp_path / "alive"
    settings = WorkerSettings(redis_url=f"redis://127.0.0.1:{free_port()}/0", look_ms=10, alive_file=alive)
    with running(world, settings):
        wait_until(abandoned, 30, "the sweep")
        wait_until(alive.exists, 30, "the sign of life")
    with running(world, WorkerSettings(look_ms=10)):  # without Redis too
        pass


def test_it_gives_no_sign_of_life_while_it_fails_and_goes_on_afterwards(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive, tried, mended = tmp_path / "alive", threading.Semaphore(0), threading.Event()

    def sequence(*_: object) -> None:
        tried.release()
        if not mended.is_set():
            raise OperationalError("SELECT", {}, Exception("away"))

    monkeypatch.setattr("workers.reconciler.sequence", sequence)
    with running(world, WorkerSettings(look_ms=10, alive_file=alive)):
        for _ in range(3):
            assert tried.acquire(timeout=30)
        assert not alive.exists()
        mended.set()
        wait_until(alive.exists, 30, "the sign of life")


def test_it_begins_full_batches(world: World) -> None:
    world.register()
    with world.ledger.database.begin() as tx:
        tx.session.execute(update(Job).values(state="done"))
        publish_version(tx, world.model_id, 1, 0)
        batching.set_policy(tx, tx.session.get_one(Model, world.model_id), Policy(minimum=2))

    def waits() -> bool:
        return min(job.not_before for job in world.jobs("ready")) > world.deps.clock_us()

    world.forget("one")
    world.forget("another")
    assert waits()
    with running(world, WorkerSettings(look_ms=10)):
        wait_until(lambda: not waits(), 30, "the batch to begin")


def test_it_sends_webhooks(world: World) -> None:
    settings = WorkerSettings(look_ms=10, webhook_http=True, webhook_allow="127.0.0.0/8")
    with receiver() as listening, running(world, settings):
        with world.ledger.database.begin() as tx:
            ring = world.ledger.ring
            endpoints.register(tx, ring, world.tenant_id, url=listening.url, label="desk", events=[])
        world.forget("somebody")
        (got,) = listening.wait_for(1)
    assert got.headers["webhook-id"].startswith("msg_")
