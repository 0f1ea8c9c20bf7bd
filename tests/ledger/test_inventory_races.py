"""A writer that publishes while somebody looks for writers that are gone. SQLite lets nobody in between."""

from __future__ import annotations

import pytest
from support.world import NewWorld, World

from ledger import inventory, jobs
from ledger.tables import StoredObject


@pytest.fixture
def world(new_world: NewWorld, fresh_postgres_database: str) -> World:
    return new_world(fresh_postgres_database, core_people=1)


def test_what_was_published_between_the_two_looks_is_not_doomed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    database = world.ledger.database
    with database.begin() as tx:
        jobs.add(tx, world.tenant_id, jobs.PURGE, lock_key="key")
    claim = jobs.claim(database, "worker", lease_us=60_000_000, kinds=(jobs.PURGE,))
    assert claim is not None
    published, left = (
        inventory.write_pending(database, world.ledger.objects, world.tenant_id, "weights", owner, [b"x"])
        for owner in (claim.owner, "job:999:1")
    )
    asked = inventory._writer_lives

    def publish_first(tx: object, owner: str) -> bool:
        if owner == claim.owner:
            with database.begin() as other:
                inventory.enliven(other, [published])
                jobs.finish(other, claim)
        return asked(tx, owner)  # type: ignore[arg-type]

    monkeypatch.setattr(inventory, "_writer_lives", publish_first)
    with database.begin() as tx:
        inventory.doom_abandoned(tx, world.tenant_id)
    with database.read() as tx:
        assert tx.session.get_one(StoredObject, published).state == "live"
        assert tx.session.get_one(StoredObject, left).state == "doomed"
