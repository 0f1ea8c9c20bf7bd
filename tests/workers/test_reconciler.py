"""The reconciler by itself: it begins full batches, takes back what crashes left, and survives what is away."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import update
from support.ports import free_port
from support.receiver import receiver
from support.waiting import wait_until
from support.world import NewWorld, World

from ledger import uploads
from ledger.tables import Upload
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


def test_it_sends_webhooks(world: World) -> None:
    settings = WorkerSettings(look_ms=10, webhook_http=True, webhook_allow="127.0.0.0/8")
    with receiver() as listening, running(world, settings):
        with world.ledger.database.begin() as tx:
            ring = world.ledger.ring
            endpoints.register(tx, ring, world.tenant_id, url=listening.url, label="desk", events=[])
        world.forget("somebody")
        (got,) = listening.wait_for(1)
    assert got.headers["webhook-id"].startswith("msg_")
