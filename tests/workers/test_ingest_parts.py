"""Ingestion in parts: the same bytes with any number of workers, whatever dies, and whoever is forgotten meanwhile."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from support.dying import Died, dying
from support.in_parts import PEOPLE, Learned, at_once, learned, learner, leases_run_out, parts, run, small_parts
from support.leftovers import leftovers
from support.world import NewWorld, World, make_deps

from ledger import jobs
from ledger.tables import FeatureShard, Job, Model, RecordShard
from workers import ingest, waiting
from workers.loop import sweep
from workers.runner import run_claimed, run_next

FLOWS = Path(__file__).parents[2] / "docs" / "flows.md"
POINTS = [
    "ingest.collected",
    "ingest.splitting",
    "ingest.split",
    "ingest_part.claimed",
    "ingest.written",
    "ingest_part.extracted",
    "ingest_part.ending",
    "ingest_part.ended",
]


@pytest.fixture(autouse=True)
def parts_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    small_parts(monkeypatch, ingest)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Learned]:
    return learner(tmp_path_factory, ingest)


def trained_core(world: World) -> None:
    """Bring a model over twelve shards to where its features are made."""
    world.upload(*PEOPLE)
    world.register()
    for kind in (jobs.INGEST_UPLOAD, jobs.TRAIN_CORE):
        assert run(world, kind)


def job(world: World, kind: str) -> Job:
    """Return the newest job of a kind."""
    with world.ledger.database.read() as tx:
        return tx.session.execute(select(Job).where(Job.kind == kind).order_by(Job.id.desc()).limit(1)).scalar_one()


def nothing_is_left(world: World) -> None:
    sweep(world.deps)
    assert parts(world) == []
    assert leftovers(world.ledger) == []
    assert not world.jobs("failed")


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_any_number_of_workers_learns_the_same_bytes(
    new_world: NewWorld, database_url: str, alone: Callable[..., Learned], workers: int
) -> None:
    world = new_world(database_url)
    trained_core(world)
    done = at_once(world, workers)
    assert done.count("ingest_part.ended") >= 6
    assert learned(world) == alone()
    nothing_is_left(world)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(6)), stops=st.sets(st.integers(0, 5)))
def test_parts_in_any_order_some_of_them_twice(
    new_world: NewWorld, alone: Callable[..., Learned], order: list[int], stops: set[int]
) -> None:
    """A part that ends its work and dies before it says so is done again."""
    world = new_world()
    trained_core(world)
    assert run(world, jobs.INGEST_MODEL)
    ids = sorted(part.job_id for part in parts(world))
    assert len(ids) == 6
    assert not run(world, jobs.INGEST_MODEL), "it waits for its parts"
    for place in order:
        claim = jobs.claim(world.ledger.database, "one", lease_us=5_000_000, only=ids[place])
        assert claim is not None
        if place in stops:
            with pytest.raises(Died):
                run_claimed(dying(world, "ingest_part.ending"), claim)
        else:
            run_claimed(make_deps(world.ledger), claim)
    leases_run_out(world)
    world.work()
    assert learned(world) == alone()
    nothing_is_left(world)


@pytest.mark.parametrize("at", POINTS)
def test_a_worker_that_dies_twice_at_any_point_is_replaced(
    new_world: NewWorld, database_url: str, alone: Callable[..., Learned], at: str
) -> None:
    world = new_world(database_url)
    trained_core(world)
    for _ in range(1 if at == "ingest.split" else 2):  # the parts are there, and are not made twice
        with pytest.raises(Died):
            world.work(deps=dying(world, at))
        leases_run_out(world)
    world.work()
    assert learned(world) == alone()
    nothing_is_left(world)


def test_every_point_is_described_in_the_flows(new_world: NewWorld) -> None:
    world = new_world()
    trained_core(world)
    passed: list[str] = []
    world.work(deps=make_deps(world.ledger, point=passed.append))
    assert {name for name in passed if name.startswith("ingest")} == {*POINTS, "ingest_model.claimed"}
    assert re.findall(r"^\| `(ingest(?:_part)?\.[a-z]+)`", FLOWS.read_text(), re.M) == POINTS


@pytest.mark.parametrize("at", ["ingest.split", "ingest.written", "ingest_part.extracted", "ingest_part.ended"])
def test_forgetting_while_parts_are_done(
    new_world: NewWorld, database_url: str, alone: Callable[..., Learned], monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """The purge steps aside while a part may write features of the person; in the end nobody knows the person."""
    monkeypatch.setattr(waiting, "WAIT_US", 0)
    world = new_world(database_url)
    trained_core(world)
    request: list[str] = []

    def forget(name: str) -> None:
        if name == at and not request:
            request.append(world.forget("person-3"))
            run(world, jobs.PURGE)

    world.work(deps=make_deps(world.ledger, point=forget))
    leases_run_out(world)
    world.work()
    assert world.request(request[0]).state == "completed"
    assert learned(world) == alone("person-3")
    nothing_is_left(world)


def test_an_upload_to_several_models_is_ingested_in_parts(
    new_world: NewWorld, database_url: str, alone: Callable[..., Learned]
) -> None:
    world = new_world(database_url)
    first, second = world.register(), world.register("other")
    world.work()
    upload_id = world.upload(*PEOPLE)
    assert run(world, jobs.INGEST_UPLOAD)
    waiting = {part.job_id for part in parts(world)}
    assert len(waiting) == 12
    with world.ledger.database.read() as tx:
        of_models = tx.session.execute(select(Job.model_id).where(Job.id.in_(waiting), Job.upload_id == upload_id))
        assert sorted(model for (model,) in of_models if model) == sorted([first, second] * 6)
    world.work()
    assert world.statistics(first) == world.statistics(second) == alone().statistics
    nothing_is_left(world)


def test_the_job_shows_how_many_shards_are_done_and_the_list_shows_no_parts(
    new_world: NewWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.ingest.INTERVAL_US", 0)
    monkeypatch.setattr(ingest, "SHARDS_TOGETHER", 1)
    world = new_world()
    trained_core(world)
    run(world, jobs.INGEST_MODEL)
    seen = [(job(world, jobs.INGEST_MODEL).progress, job(world, jobs.INGEST_MODEL).note)]

    def look(point: str) -> None:
        if point == "ingest.written":
            seen.append((job(world, jobs.INGEST_MODEL).progress, job(world, jobs.INGEST_MODEL).note))

    while run(world, jobs.INGEST_PART, look):
        pass
    shown = [note for _, note in seen]
    assert shown == [f"{n} of 12 shards are done, in 6 parts" for n in (0, *range(12))]
    assert [progress for progress, _ in seen][1:] == pytest.approx([n / 12 for n in range(12)])
    with world.ledger.database.read() as tx:
        assert jobs.INGEST_PART not in {row.kind for row in jobs.list_newest(tx, world.tenant_id)}
        assert {row.kind for row in jobs.list_newest(tx, world.tenant_id, state="done")} >= {jobs.INGEST_PART}


def test_a_part_that_cannot_be_done_fails_the_job_which_can_be_retried(new_world: NewWorld) -> None:
    """A lost object: the job says so, and so do its model and the part; the parts that were done stay done."""
    world = new_world()
    trained_core(world)
    with world.ledger.database.read() as tx:
        query = select(RecordShard.object_name).where(RecordShard.cohort_id == world.user_id)
        name = next(iter(tx.session.execute(query).scalars()))
    content = world.ledger.objects.read(name)
    world.ledger.objects.delete(name)
    errors = []
    for _ in range(60):
        while run_next(world.deps):
            errors.append(job(world, jobs.INGEST_MODEL).error)
        leases_run_out(world)
        if world.jobs("failed"):
            break
    (failed,) = world.jobs("failed")
    assert failed.kind == jobs.INGEST_MODEL
    assert "PartFailed" in (failed.error or "")
    assert "ObjectMissing" in (failed.error or "")
    assert any("ObjectMissing" in (error or "") and "PartFailed" not in (error or "") for error in errors), (
        "shown before"
    )
    assert parts(world) == []
    with world.ledger.database.read() as tx:
        assert len(tx.session.execute(select(FeatureShard.record_shard_id)).all()) >= 10
        assert tx.session.get_one(Model, world.model_id).state == "failed"
    world.ledger.objects.write(name, [content])
    with world.ledger.database.begin() as tx:
        jobs.retry(tx, world.tenant_id, failed.id)
    world.work()
    assert (world.active().measured or {})["records"] == 48
    nothing_is_left(world)
