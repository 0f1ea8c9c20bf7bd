"""Somebody who can write to the object store puts older objects back under the names of newer ones."""

from __future__ import annotations

import pytest
from sqlalchemy import select
from support.world import NewWorld, World, person

from ledger import artifacts, inventory
from ledger.errors import ObjectCorrupt, ObjectMissing
from ledger.shards import ShardReader
from ledger.tables import Cohort, FeatureShard, Record, RecordShard
from ledger.uploads import feature_context, record_context
from workers import records


@pytest.fixture
def world(new_world: NewWorld) -> World:
    world = new_world(shard_records=64)
    world.upload(*(person(name) for name in "abcd"))
    world.register()
    world.work()
    return world


def shard(world: World) -> RecordShard:
    with world.ledger.database.read() as tx:
        query = select(RecordShard).where(RecordShard.cohort_id == world.user_id)
        return tx.session.execute(query).scalar_one()


def features(world: World) -> FeatureShard:
    with world.ledger.database.read() as tx:
        return tx.session.execute(select(FeatureShard)).scalar_one()


def ids_of(world: World, name: str, context: bytes) -> set[int]:
    return set(ShardReader(world.ledger.objects, name, ring=world.ledger.ring, context=context).ids())


def known(world: World) -> set[int]:
    with world.ledger.database.read() as tx:
        return set(tx.session.execute(select(Record.id).where(Record.cohort_id == world.user_id)).scalars())


def test_older_weights_and_statistics_are_refused(world: World) -> None:
    store = world.ledger.objects
    first = world.active()
    old = {kind: store.read(getattr(first, f"{kind}_object")) for kind in ("weights", "statistics")}
    world.forget("a")
    world.work()
    second = world.active()
    for kind, context in (("weights", artifacts.weights_context), ("statistics", artifacts.statistics_context)):
        name = getattr(second, f"{kind}_object")
        artifacts.open_artifact(world.ledger, name, context(second.model_id))
        store.write(name, [old[kind]])
        with pytest.raises(ObjectCorrupt, match="SHA-256"):
            artifacts.open_artifact(world.ledger, name, context(second.model_id))


def test_an_older_shard_is_refused_where_it_is_read_as_a_whole(world: World) -> None:
    old = world.ledger.objects.read(shard(world).object_name)
    world.forget("a")
    world.work()
    name = shard(world).object_name
    with world.ledger.database.read() as tx:
        cohort = tx.session.get_one(Cohort, world.user_id)
    ids, _ = records.read_shard(world.ledger, cohort, name)
    assert set(ids) == known(world)
    world.ledger.objects.write(name, [old])
    assert len(ids_of(world, name, record_context(world.user_id))) > len(ids)  # it opens and decrypts: only older
    with pytest.raises(ObjectCorrupt, match="SHA-256"):
        records.read_shard(world.ledger, cohort, name)


def test_rewriting_an_older_shard_brings_nobody_back(world: World) -> None:
    """The damage must not keep the next person from being forgotten, nor bring the last one back."""
    before = {row.object_name: world.ledger.objects.read(row.object_name) for row in (shard(world), features(world))}
    everybody = known(world)
    world.forget("a")
    world.work()
    for row, old in zip((shard(world), features(world)), before.values(), strict=True):
        world.ledger.objects.write(row.object_name, [old])
        context = record_context(world.user_id) if isinstance(row, RecordShard) else feature_context(world.model_id)
        assert ids_of(world, row.object_name, context) == everybody
    request = world.forget("b")
    world.work()
    assert world.request(request).state == "completed"
    left = known(world)
    assert len(left) == len(everybody) // 2
    assert ids_of(world, shard(world).object_name, record_context(world.user_id)) == left
    assert ids_of(world, features(world).object_name, feature_context(world.model_id)) == left


def test_an_object_that_no_row_knows_is_not_read(world: World) -> None:
    world.ledger.objects.write("0" * 32, [b"a stranger"])
    with pytest.raises(ObjectMissing):
        inventory.read(world.ledger.database, world.ledger.objects, "0" * 32)
