"""Objects that are lost or damaged behind the ledger's back, and what an operator does about it."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import select, update

from ledger import jobs, tenants
from ledger.tables import Deferral, DeferredShard, FeatureShard, Job, Record, RecordShard, Upload
from support.world import World


def records_of(world: World, name: str) -> str:
    """Return the object with a person's records, the newest ones."""
    with world.ledger.database.read() as tx:
        key = tenants.alias_hasher(tx, world.ledger.ring, world.tenant_id).record_key(world.user_id, f"{name}/0")
        query = select(Record.shard_id).join(Upload, Upload.id == Record.upload_id).where(Record.record_key == key)
        shard_id = tx.session.execute(query.order_by(Upload.stored_seq.desc()).limit(1)).scalar_one()
        return tx.session.get_one(RecordShard, shard_id).object_name


def features_of(world: World, name: str, model_id: str | None = None) -> str:
    """Return the object with a person's features in a model."""
    shard = select(RecordShard.id).where(RecordShard.object_name == records_of(world, name)).scalar_subquery()
    with world.ledger.database.read() as tx:
        query = select(FeatureShard.object_name).where(FeatureShard.record_shard_id == shard)
        return tx.session.execute(query.where(FeatureShard.model_id == (model_id or world.model_id))).scalar_one()


def lose(world: World, name: str) -> Callable[[], None]:
    """Delete an object behind the ledger's back; return what puts it back."""
    content = world.ledger.objects.read(name)
    world.ledger.objects.delete(name)
    return lambda: put(world, name, content)


def put(world: World, name: str, content: bytes) -> None:
    """Write an object behind the ledger's back."""
    world.ledger.objects.write(name, [content])


def damage_last(world: World, name: str) -> None:
    """Change the last byte of an object, or change it back: it belongs to the shard's last record."""
    content = world.ledger.objects.read(name)
    put(world, name, content[:-1] + bytes([content[-1] ^ 1]))


def settle(world: World) -> None:
    """Work until nothing is left to do, without waiting between attempts."""
    while True:
        with world.ledger.database.begin() as tx:
            tx.session.execute(update(Job).where(Job.state == "ready").values(not_before=0))
        if not world.work():
            return


def retry(world: World) -> str:
    """Try the one failed job again, and return its kind."""
    (job,) = world.jobs("failed")
    with world.ledger.database.begin() as tx:
        jobs.retry(tx, world.tenant_id, job.id)
    settle(world)
    return job.kind


def states(world: World, *request_ids: str) -> list[str]:
    """Return the states of requests."""
    return [world.request(one).state for one in request_ids]


def rebuilt(world: World, model_id: str | None = None) -> dict[str, object]:
    """Sum all stored records anew; return what was found."""
    with world.ledger.database.begin() as tx:
        job = jobs.add(tx, world.tenant_id, jobs.REBUILD, lock_key="rebuild", model_id=model_id or world.model_id)
    settle(world)
    with world.ledger.database.read() as tx:
        found = jobs.get(tx, world.tenant_id, job.id).result or {}
    return {name: found.get(name) for name in ("equal", "records")}


def deferred(world: World) -> int:
    """Count what models have deferred: requests, and shards of records."""
    with world.ledger.database.read() as tx:
        return sum(len(tx.session.execute(select(kind)).all()) for kind in (Deferral, DeferredShard))
