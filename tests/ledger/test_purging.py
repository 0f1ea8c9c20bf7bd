"""Purges: only what is due, only what this purge had to delete, and nobody else's objects in the way."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import delete, select, update
from support.world import NewWorld, World, make_deps, person

from ledger import inventory, jobs, leases, purging, requests, tenants
from ledger.errors import LeaseLost
from ledger.shards import ShardReader
from ledger.tables import FeatureShard, Job, Model, ModelVersion, Record, RecordShard, StoredObject, Subject
from workers import purge
from workers.deps import Deps

PEOPLE = [person(f"person-{i}", 4) for i in range(4)]


@pytest.fixture(autouse=True)
def no_second_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at a job after its first failure, however slow this machine is."""
    monkeypatch.setattr("workers.runner.BACKOFF_US", 600_000_000)


@pytest.fixture
def world(new_world: NewWorld, database_url: str) -> World:
    world = new_world(database_url)
    world.upload(*PEOPLE)
    return world


def trained(world: World) -> None:
    world.register()
    world.work()


def doomed_object(world: World, tenant_id: str) -> str:
    name = inventory.write_pending(
        world.ledger.database, world.ledger.objects, tenant_id, "weights", "job:0:0", [b"old weights"]
    )
    with world.ledger.database.begin() as tx:
        inventory.doom(tx, [name])
    return name


def test_another_tenants_doomed_objects_do_not_hold_a_certificate_up(world: World) -> None:
    trained(world)
    with world.ledger.database.begin() as tx:
        other = tenants.create_tenant(tx, world.ledger.ring, "other").id
    name = doomed_object(world, other)
    request_id = world.forget("person-1")
    world.work()
    assert world.request(request_id).state == "completed"
    assert world.ledger.objects.exists(name)


def test_a_version_that_is_published_during_the_purge_does_not_hold_it_up(world: World) -> None:
    trained(world)
    request_id = world.forget("person-1")
    late: list[str] = []

    def meanwhile(point: str) -> None:
        if point == "purge.objects_deleted" and not late:
            late.append(doomed_object(world, world.tenant_id))

    world.work(deps=make_deps(world.ledger, point=meanwhile))
    assert late
    assert world.request(request_id).state == "completed"
    assert not [job for job in world.jobs("ready") if job.error]


@pytest.mark.parametrize("table", [RecordShard, FeatureShard])
def test_an_object_that_comes_back_after_it_was_deleted_fails_the_check(
    world: World, table: type[RecordShard] | type[FeatureShard]
) -> None:
    trained(world)
    with world.ledger.database.read() as tx:
        names = list(tx.session.execute(select(table.object_name)).scalars())

    def restore(point: str) -> None:
        for name in names if point == "purge.objects_deleted" else []:
            if not world.ledger.objects.exists(name):
                world.ledger.objects.write(name, [b"restored"])

    refused(world, make_deps(world.ledger, point=restore))


def test_weights_that_the_store_does_not_delete_fail_the_check(world: World) -> None:
    class Stubborn:
        """A store that says it has deleted and has not."""

        def __getattr__(self, name: str) -> object:
            return (lambda _: None) if name == "delete" else getattr(world.ledger.objects, name)

    trained(world)
    refused(world, make_deps(replace(world.ledger, objects=Stubborn())))  # type: ignore[arg-type]  # has all of a store


def refused(world: World, deps: Deps) -> None:
    """Forget somebody with a purge that cannot prove that all is gone."""
    request_id = world.forget("person-1")
    world.work(deps=deps)
    (job,) = [job for job in world.jobs("ready") if job.error]
    assert "'gone'" in (job.error or "")
    assert world.request(request_id).state == "purging"


def test_a_version_is_not_called_destroyed_while_its_weights_are_in_the_store(world: World) -> None:
    class Stubborn:
        """A store that says it has deleted and has not."""

        def __getattr__(self, name: str) -> object:
            return (lambda _: None) if name == "delete" else getattr(world.ledger.objects, name)

    trained(world)
    refused(world, make_deps(replace(world.ledger, objects=Stubborn())))  # type: ignore[arg-type]  # has all of a store
    with world.ledger.database.read() as tx:
        states = tx.session.execute(select(ModelVersion.state).order_by(ModelVersion.number)).scalars().all()
    assert states == ["superseded", "active"]


def test_a_shard_that_was_rewritten_with_the_record_still_in_it_fails_the_check(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.upload(person("one"), person("two"))
    trained(world)
    monkeypatch.setattr(purge, "without", lambda reader, _ids: encode_as_it_is(world, reader))
    request_id = world.forget("one")
    world.work()
    assert any("'gone'" in (job.error or "") for job in world.jobs("ready"))
    assert world.request(request_id).state == "purging"


def encode_as_it_is(world: World, reader: ShardReader) -> bytes:
    """Stand in for `without`, and leave everything in: the whole object again."""
    return world.ledger.objects.read(reader.name)


def test_a_row_that_is_still_there_fails_the_check(world: World) -> None:
    trained(world)
    request_id = world.forget("person-1")

    def come_back(point: str) -> None:
        if point == "purge.objects_deleted":
            with world.ledger.database.begin() as tx:
                row = tx.session.execute(select(Record).where(Record.cohort_id == world.user_id).limit(1)).scalar_one()
                row.request_id, row.removed_seq = request_id, world.request(request_id).seq

    world.work(deps=make_deps(world.ledger, point=come_back))
    assert any("rows of forgotten records" in (job.error or "") for job in world.jobs("ready"))
    assert world.request(request_id).state == "purging"


def test_a_version_that_additions_have_superseded_is_kept_while_somebody_answers_from_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purge, "WAIT_US", 0)
    trained(world)
    old = world.active()
    assert leases.renew(world.ledger.database, "p", {world.model_id: 1}, ttl_us=3_600_000_000)
    world.upload(person("late"))
    while world.active().number == 1:
        world.work()
        with world.ledger.database.begin() as tx:
            tx.session.execute(update(Job).where(Job.state == "ready").values(not_before=0))
    world.work()
    assert world.ledger.objects.exists(old.weights_object or "")
    leases.release(world.ledger.database, "p")
    with world.ledger.database.begin() as tx:
        tx.session.execute(update(Job).where(Job.state == "ready").values(not_before=0))
    world.work()
    assert not world.ledger.objects.exists(old.weights_object or "")


def test_nothing_is_certified_while_somebody_may_answer_from_the_old_version(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purge, "WAIT_US", 0)
    trained(world)
    assert leases.renew(world.ledger.database, "p", {world.model_id: 1}, ttl_us=3_600_000_000)
    old = world.active()
    request_id = world.forget("person-1")
    for _ in range(20):
        world.work()
        with world.ledger.database.begin() as tx:
            tx.session.execute(update(Job).where(Job.state == "ready").values(not_before=0))
        if world.request(request_id).state == "purging":
            break
    assert world.request(request_id).state == "purging"
    assert world.active().number == 2
    assert world.ledger.objects.exists(old.weights_object or "")
    leases.release(world.ledger.database, "p")
    world.work()
    request = world.request(request_id)
    assert request.state == "completed"
    assert not world.ledger.objects.exists(old.weights_object or "")
    assert request.unserved_at is not None
    assert request.erased_at is not None
    assert request.received_at <= request.unserved_at <= request.erased_at <= (request.completed_at or 0)


def test_a_request_that_waits_for_another_is_completed_with_it(world: World) -> None:
    trained(world)
    first = world.forget("person-1")
    with world.ledger.database.begin() as tx:
        requests.resolve_accepted(tx, world.tenant_id)
    second = world.forget("person-1")
    world.work()
    assert world.request(second).waits_for == [first]
    completed = [world.request(i).completed_at for i in (first, second)]
    assert None not in completed
    assert world.request(second).records == 4


def claim(world: World, lease_us: int = 60_000_000) -> jobs.Claim:
    with world.ledger.database.begin() as tx:
        tx.session.execute(update(Job).values(state="done"))
        jobs.add_purge(tx, world.tenant_id)
    found = jobs.claim(world.ledger.database, "w", lease_us=lease_us)
    assert found is not None
    return found


def doomed_shard(world: World) -> tuple[str, purging.DoomedShard]:
    request_id = world.forget("person-1")
    with world.ledger.database.begin() as tx:
        requests.resolve_accepted(tx, world.tenant_id)
        (shard,) = purging.shards(tx, [request_id])
    return request_id, shard


def test_replacing_a_shard_lets_go_of_rows_objects_and_the_subject(world: World) -> None:
    request_id, shard = doomed_shard(world)
    assert len(shard.record_ids) == 4
    held = claim(world)
    with world.ledger.database.begin() as tx:
        assert purging.records_left(tx, [request_id])
        assert purging.replace(tx, held, [shard], {shard.object_name: None}) == [shard]
        assert not purging.records_left(tx, [request_id])
    with world.ledger.database.read() as tx:
        assert tx.session.get(RecordShard, shard.shard_id) is None
        assert len(tx.session.execute(select(Subject)).all()) == len(PEOPLE) - 1
        assert tx.session.get_one(StoredObject, shard.object_name).state == "doomed"


@pytest.mark.parametrize("changed", ["object", "new features", "gone"])
def test_a_shard_that_changed_meanwhile_is_left_alone(world: World, changed: str) -> None:
    _, shard = doomed_shard(world)
    held = claim(world)
    model_id = world.register()
    with world.ledger.database.begin() as tx:
        if changed == "object":
            tx.session.get_one(RecordShard, shard.shard_id).object_name = "f" * 32
        elif changed == "new features":
            tx.session.add(FeatureShard(model_id=model_id, record_shard_id=shard.shard_id, object_name="f" * 32))
        else:
            tx.session.execute(delete(Record).where(Record.shard_id == shard.shard_id))
            tx.session.execute(delete(RecordShard).where(RecordShard.id == shard.shard_id))
    with world.ledger.database.begin() as tx:
        assert purging.replace(tx, held, [shard], {shard.object_name: None}) == []
    with world.ledger.database.read() as tx:
        left = tx.session.execute(select(Record).where(Record.id.in_(shard.record_ids))).all()
        assert len(left) == (0 if changed == "gone" else 4)
        assert tx.session.get_one(StoredObject, shard.object_name).state == "live"
        assert tx.session.get_one(Model, model_id).state == "training"


def test_without_the_lease_nothing_is_let_go(world: World) -> None:
    request_id, shard = doomed_shard(world)
    held = claim(world, lease_us=-1)
    request = world.request(request_id)
    for act in (
        lambda tx: purging.begin(tx, held),
        lambda tx: purging.replace(tx, held, [shard], {shard.object_name: None}),
        lambda tx: purging.complete(tx, held, request, b"{}", {}),
    ):
        with pytest.raises(LeaseLost), world.ledger.database.begin() as tx:
            act(tx)
    assert world.request(request_id).state == "published"
