"""Migrations over data in use: work goes on after them, and they are not undone while something is deferred."""

from __future__ import annotations

import pytest
from sqlalchemy import delete, insert, select, update
from support.world import NewWorld, World, person

from ledger.errors import DowngradeRefused
from ledger.migrate import downgrade, require_current, upgrade
from ledger.tables import Deferral, DeferredShard, ForgetRequest, RecordShard


@pytest.fixture
def world(new_world: NewWorld, database_url: str) -> World:
    world = new_world(database_url, core_people=2)
    world.upload(*(person(name) for name in "abc"))
    world.register(epochs=1)
    world.work()
    return world


def test_a_request_that_was_accepted_before_the_upgrade_is_done_after_it(world: World) -> None:
    request_id = world.forget("a")
    engine = world.ledger.database.engine
    downgrade(engine, "0017")
    upgrade(engine)
    world.work()
    assert world.request(request_id).state == "completed"


def test_it_is_not_undone_while_a_removal_is_deferred(world: World) -> None:
    """An older program would take the version for one that holds the records no more."""
    request_id = world.forget("a")
    engine = world.ledger.database.engine
    with world.ledger.database.begin() as tx:
        tx.session.execute(insert(Deferral).values(model_id=world.model_id, request_id=request_id, created_at=tx.now))
    with pytest.raises(DowngradeRefused, match="table deferrals"):
        downgrade(engine, "0017")
    require_current(engine)


def test_it_is_not_undone_while_a_shard_or_a_correction_is_deferred(world: World) -> None:
    """An older program would take in what the version lacks a second time, or new records beside the old ones."""
    engine = world.ledger.database.engine
    with world.ledger.database.begin() as tx:
        shard_id = tx.session.execute(select(RecordShard.id).where(RecordShard.cohort_id == world.user_id)).scalars()
        row = insert(DeferredShard).values(model_id=world.model_id, record_shard_id=next(shard_id), created_at=tx.now)
        tx.session.execute(row)
    with pytest.raises(DowngradeRefused, match="table deferred_shards"):
        downgrade(engine, "0018")
    request_id = world.forget("a")
    with world.ledger.database.begin() as tx:
        tx.session.execute(delete(DeferredShard))
        tx.session.execute(insert(Deferral).values(model_id=world.model_id, request_id=request_id, created_at=tx.now))
    downgrade(engine, "0018")
    upgrade(engine)
    with world.ledger.database.begin() as tx:
        tx.session.execute(update(ForgetRequest).values(selector_kind="correction"))
    with pytest.raises(DowngradeRefused, match="a correction is deferred"):
        downgrade(engine, "0018")
    require_current(engine)
