"""Features of stored records, and purges that replace the shards while features are being made."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import select, update
from support.dying import Died
from support.world import NewWorld, World, make_deps, person

from ledger import inventory, jobs, tenants
from ledger.tables import FeatureShard, Job, Model, Record, RecordShard, StoredObject, SubjectAlias, Upload
from workers import ingest, purge, waiting
from workers.loop import sweep
from workers.runner import run_claimed

PEOPLE = [person(f"person-{i}", 4) for i in range(6)]


@pytest.fixture
def world(new_world: NewWorld, database_url: str) -> World:
    return new_world(database_url)


def run(world: World, kind: str, point: Callable[[str], None] = lambda _: None, **changes: object) -> None:
    """Run the next job of one kind to its end."""
    deps = make_deps(world.ledger, **({"point": point, "worker": kind, "slice_us": 600_000_000} | changes))
    claim = jobs.claim(world.ledger.database, kind, lease_us=deps.lease_us, kinds=(kind,))
    assert claim is not None
    run_claimed(deps, claim)


def ingesting(world: World) -> None:
    """Bring a model to where its features are made: one shard per person."""
    world.upload(*PEOPLE)
    run(world, jobs.INGEST_UPLOAD)
    world.register()
    run(world, jobs.TRAIN_CORE)


def unfinished(world: World) -> list[str]:
    with world.ledger.database.read() as tx:
        return inventory.unfinished(tx, world.tenant_id)


def failed_attempts(world: World) -> list[str | None]:
    with world.ledger.database.read() as tx:
        return list(tx.session.execute(select(Job.error).where(Job.error.is_not(None))).scalars())


def test_every_shard_gets_features_and_the_model_is_ready(world: World) -> None:
    ingesting(world)
    run(world, jobs.INGEST_MODEL)
    with world.ledger.database.read() as tx:
        made = tx.session.execute(select(FeatureShard.record_shard_id)).scalars().all()
        shards = tx.session.execute(select(RecordShard.id).where(RecordShard.cohort_id == world.user_id)).scalars()
        assert sorted(made) == sorted(shards)
        assert tx.session.get_one(Model, world.model_id).state == "ready"
    assert unfinished(world) == []
    assert [job.kind for job in world.jobs("ready")] == [jobs.ADVANCE]


def test_work_is_cut_into_slices_that_do_not_count_as_attempts(world: World) -> None:
    ingesting(world)
    for _ in range(3):
        run(world, jobs.INGEST_MODEL, slice_us=0)
    (job,) = [job for job in world.jobs("ready") if job.kind == jobs.INGEST_MODEL]
    assert (job.attempts, job.error) == (0, None)
    world.work()
    assert world.active().number == 1


def test_an_upload_is_added_when_every_ready_model_has_its_features(world: World) -> None:
    ingesting(world)
    world.work()
    upload_id = world.upload(person("late"))
    with world.ledger.database.read() as tx:
        assert tx.session.get_one(Upload, upload_id).state == "stored"
    run(world, jobs.INGEST_UPLOAD)
    with world.ledger.database.read() as tx:
        upload = tx.session.get_one(Upload, upload_id)
        assert upload.state == "added"
        assert upload.added_seq is not None
        assert upload.added_seq > (upload.stored_seq or 0)


def test_a_model_that_becomes_ready_meanwhile_gets_the_features_too(world: World) -> None:
    ingesting(world)
    world.upload(person("late", 4))

    def becomes_ready(point: str) -> None:
        if point == "ingest_upload.claimed":
            run(world, jobs.INGEST_MODEL)

    run(world, jobs.INGEST_UPLOAD, becomes_ready)
    world.work()
    with world.ledger.database.read() as tx:
        added = tx.session.execute(select(Upload.added_seq).where(Upload.cohort_id == world.user_id)).scalars().all()
    assert None not in added
    assert (world.active().measured or {})["records"] == 28


def test_a_purge_waits_for_features_that_are_made_from_what_it_replaced(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the moment of the certificate no object may be left that was made from a forgotten record, not even unused."""
    monkeypatch.setattr(purge, "WAIT_US", 0)
    monkeypatch.setattr(waiting, "WAIT_US", 0)
    ingesting(world)
    request: list[str] = []
    seen: list[str] = []

    def forget_now(point: str) -> None:
        if point == "ingest.written" and not request:
            request.append(world.forget(*(p.name for p in PEOPLE)))
            run(world, jobs.PURGE)
            seen.append(world.request(request[0]).state)

    def only_live_objects(point: str) -> None:
        if point == "purge.completing":
            with world.ledger.database.read() as tx:
                live = tx.session.execute(select(StoredObject.name).where(StoredObject.state == "live")).scalars().all()
            assert sorted(live) == sorted(world.ledger.objects.names())
            seen.append("only live objects")

    run(world, jobs.INGEST_MODEL, forget_now)
    assert seen == ["purging"]
    world.work(deps=make_deps(world.ledger, point=only_live_objects))
    with world.ledger.database.begin() as tx:
        tx.session.execute(update(Job).values(not_before=0))
    world.work(deps=make_deps(world.ledger, point=only_live_objects))
    assert set(seen) == {"purging", "only live objects"}
    assert world.request(request[0]).state == "completed"
    assert unfinished(world) == []


@pytest.mark.parametrize("purge_dies_at", [None, "purge.shard_replaced"])
def test_a_shard_that_is_replaced_before_its_turn(
    world: World, purge_dies_at: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list of shards to do is old: the object may be deleted, or (the purge died) still there without its rows."""
    monkeypatch.setattr(ingest, "SHARDS_TOGETHER", 1)
    ingesting(world)
    with world.ledger.database.read() as tx:
        query = select(RecordShard).where(RecordShard.cohort_id == world.user_id).order_by(RecordShard.id)
        last = list(tx.session.execute(query).scalars())[-1]
    calls: list[str] = []

    def purge_meanwhile(point: str) -> None:
        if calls or point != "ingest.written":
            return
        calls.append(point)
        world.forget(*_names_in(world, last.id))
        # The purge would wait for the ingest, which stands still in this test: let it step aside at once.
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(purge, "WAIT_US", 0)
            patch.setattr(waiting, "WAIT_US", 0)
            try:
                run(world, jobs.PURGE, die)
            except Died:
                calls.append("died")

    def die(point: str) -> None:
        if point == purge_dies_at:
            raise Died

    run(world, jobs.INGEST_MODEL, purge_meanwhile)
    assert calls[0] == "ingest.written"
    assert [error for error in failed_attempts(world) if error] == []
    with world.ledger.database.begin() as tx:
        tx.session.execute(update(Job).where(Job.state == "running").values(lease_until=0))
        tx.session.execute(update(Job).values(not_before=0))
    world.work()
    assert (world.active().measured or {})["records"] == 20
    sweep(world.deps)
    assert unfinished(world) == []
    assert not world.jobs("failed")


def _names_in(world: World, shard_id: str) -> list[str]:
    """Return the one person whose records are in a shard: every upload of four records is a shard of its own."""
    with world.ledger.database.read() as tx:
        hasher = tenants.alias_hasher(tx, world.ledger.ring, world.tenant_id)
        subjects = select(Record.subject_id).where(Record.shard_id == shard_id)
        known = set(
            tx.session.execute(select(SubjectAlias.hmac).where(SubjectAlias.subject_id.in_(subjects))).scalars()
        )
    named = [p.name for p in PEOPLE if hasher.lookup("controller_customer_id", "raw", p.name).hmac in known]
    assert len(named) == 1
    return named


def test_a_stored_object_that_is_really_lost_is_an_error(world: World) -> None:
    ingesting(world)
    with world.ledger.database.read() as tx:
        name = tx.session.execute(
            select(RecordShard.object_name).where(RecordShard.cohort_id == world.user_id)
        ).scalars()
        world.ledger.objects.delete(next(iter(name)))
    run(world, jobs.INGEST_MODEL)
    assert any("ObjectMissing" in (error or "") for error in failed_attempts(world))


def test_a_model_that_becomes_ready_after_a_retry_shows_no_error(world: World) -> None:
    ingesting(world)
    with world.ledger.database.begin() as tx:
        model = tx.session.get_one(Model, world.model_id)
        model.state, model.error = "failed", "StoreFull: no room"
    run(world, jobs.INGEST_MODEL)
    with world.ledger.database.read() as tx:
        ready = tx.session.get_one(Model, world.model_id)
    assert (ready.state, ready.error) == ("ready", None)
