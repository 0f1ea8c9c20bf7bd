"""A first version summed in parts: the same bytes as by one job, whatever dies, and whoever is forgotten meanwhile."""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from sqlalchemy import select, update
from support.dying import Died
from support.leftovers import leftovers
from support.waiting import wait_until
from support.world import NewWorld, World, make_deps, make_world, person

from ledger import jobs, lines
from ledger.tables import Job, JobPart, StoredObject
from workers import summing
from workers.loop import sweep
from workers.runner import run_claimed, run_next

PEOPLE = [person(f"person-{i}", 4) for i in range(12)]
FLOWS = Path(__file__).parents[2] / "docs" / "flows.md"
POINTS = [
    "sum.splitting",
    "sum.split",
    "sum_part.claimed",
    "sum_part.written",
    "sum_part.ending",
    "sum_part.ended",
    "advance.folded",
    "advance.checked",
    "advance.publishing",
    "advance.published",
]


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve shards make six parts of two."""
    monkeypatch.setattr(summing, "DIRECT_SHARDS", 3)
    monkeypatch.setattr(summing, "PART_SHARDS", 2)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[bytes, bytes]]:
    """Statistics and weights from all people but these, summed by one job."""

    @cache
    def learn(*names: str) -> tuple[bytes, bytes]:
        folder = tmp_path_factory.mktemp("alone")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(summing, "DIRECT_SHARDS", 1000)
            world = make_world(folder, f"sqlite:///{folder / 'ledger.sqlite'}")
            world.upload(*(p for p in PEOPLE if p.name not in names))
            world.register()
            world.work()
        world.ledger.close()
        return world.statistics(), world.weights()

    return learn


def ingested(world: World) -> None:
    """Bring a model over twelve shards to where its first version is to be summed."""
    world.upload(*PEOPLE)
    world.register()
    for kind in (jobs.INGEST_UPLOAD, jobs.TRAIN_CORE, jobs.INGEST_MODEL):
        assert run(world, kind)


def run(world: World, kind: str, point: Callable[[str], None] = lambda _: None) -> bool:
    deps = make_deps(world.ledger, point=point, slice_us=600_000_000)
    claim = jobs.claim(world.ledger.database, kind, lease_us=deps.lease_us, kinds=(kind,))
    if claim is not None:
        run_claimed(deps, claim)
    return claim is not None


def parts(world: World) -> list[JobPart]:
    with world.ledger.database.read() as tx:
        return list(tx.session.execute(select(JobPart)).scalars())


def sums_stored(world: World) -> list[str]:
    with world.ledger.database.read() as tx:
        return list(tx.session.execute(select(StoredObject.name).where(StoredObject.kind == "sum")).scalars())


def time_passes(world: World) -> None:
    with world.ledger.database.begin() as tx:
        tx.session.execute(update(Job).where(Job.state == "running").values(lease_until=0))
        tx.session.execute(update(Job).where(Job.state == "ready").values(not_before=0))


def check(world: World, expected: tuple[bytes, bytes]) -> None:
    sweep(world.deps)
    assert (world.statistics(), world.weights()) == expected
    assert parts(world) == []
    assert sums_stored(world) == []
    assert leftovers(world.ledger) == []
    assert not world.jobs("failed")


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_any_number_of_workers_learns_the_same_bytes(
    new_world: NewWorld, database_url: str, alone: Callable[..., tuple[bytes, bytes]], workers: int
) -> None:
    world = new_world(database_url)
    ingested(world)
    done: list[str] = []

    def work(number: int) -> None:
        deps = make_deps(world.ledger, worker=f"worker-{number}", point=done.append)
        wait_until(lambda: not run_next(deps) and not world.jobs("running") and not world.jobs("ready"), 60, "the end")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done.count("sum_part.ended") == 6
    check(world, alone())


@pytest.mark.parametrize("seed", range(4))
def test_parts_in_any_order_some_of_them_twice(
    new_world: NewWorld, alone: Callable[..., tuple[bytes, bytes]], seed: int
) -> None:
    rng = random.Random(seed)
    world = new_world()
    ingested(world)
    assert run(world, jobs.ADVANCE)
    ids = [part.job_id for part in parts(world)]
    assert len(ids) == 6
    rng.shuffle(ids)
    for job_id in ids:
        if rng.random() < 0.5:
            with pytest.raises(Died):
                one_part(world, job_id, die_at(rng.choice(["sum_part.written", "sum_part.ending"])))
            time_passes(world)
        one_part(world, job_id)
    world.work()
    check(world, alone())


def one_part(world: World, job_id: int, point: Callable[[str], None] = lambda _: None) -> None:
    claim = jobs.claim(world.ledger.database, "one", lease_us=5_000_000, only=job_id)
    assert claim is not None
    run_claimed(make_deps(world.ledger, point=point), claim)


def die_at(deadly: str) -> Callable[[str], None]:
    def point(name: str) -> None:
        if name == deadly:
            raise Died

    return point


@pytest.mark.parametrize("at", POINTS)
def test_a_worker_that_dies_twice_at_any_point_is_replaced(
    new_world: NewWorld, database_url: str, alone: Callable[..., tuple[bytes, bytes]], at: str
) -> None:
    world = new_world(database_url)
    ingested(world)
    for _ in range(1 if at in ("sum.split", "advance.published") else 2):  # what is done is not done twice
        with pytest.raises(Died):
            world.work(deps=make_deps(world.ledger, point=die_at(at)))
        time_passes(world)
    world.work()
    check(world, alone())


@pytest.mark.parametrize("at", ["sum.split", "sum_part.written", "sum_part.ended", "advance.folded"])
def test_forgetting_while_parts_are_done(
    new_world: NewWorld, database_url: str, alone: Callable[..., tuple[bytes, bytes]], at: str
) -> None:
    """The request waits for the first version, which takes out what parts had summed; then no sum is left."""
    world = new_world(database_url)
    ingested(world)
    request: list[str] = []

    def forget(name: str) -> None:
        if name == at and not request:
            request.append(world.forget("person-3"))
            run(world, jobs.PURGE)
        if name == "purge.completing":
            assert sums_stored(world) == []

    world.work(deps=make_deps(world.ledger, point=forget))
    time_passes(world)
    world.work(deps=make_deps(world.ledger, point=forget))
    assert world.request(request[0]).state == "completed"
    check(world, alone("person-3"))


def test_every_point_is_described_in_the_flows(new_world: NewWorld) -> None:
    world = new_world()
    ingested(world)
    passed: list[str] = []
    world.work(deps=make_deps(world.ledger, point=passed.append))
    described = re.findall(r"^\| `(sum(?:_part)?\.[a-z]+)`", FLOWS.read_text(), re.M)
    assert described == [point for point in POINTS if point.startswith("sum")]
    assert set(described) == {point for point in passed if point.startswith("sum")}


def test_an_upload_that_arrives_meanwhile_is_added_to_what_was_summed(
    new_world: NewWorld, alone: Callable[..., tuple[bytes, bytes]]
) -> None:
    world = new_world()
    world.upload(*PEOPLE[:9])
    world.register()
    for kind in (jobs.INGEST_UPLOAD, jobs.TRAIN_CORE, jobs.INGEST_MODEL, jobs.ADVANCE):
        assert run(world, kind)
    assert len(parts(world)) == 5
    world.upload(*PEOPLE[9:])
    assert run(world, jobs.INGEST_UPLOAD)
    assert not run(world, jobs.ADVANCE), "every advance of the model waits for the parts"
    world.work()
    check(world, alone())


def test_a_model_that_is_deleted_takes_its_sums_along(new_world: NewWorld) -> None:
    world = new_world()
    ingested(world)
    assert run(world, jobs.ADVANCE)
    for _ in range(3):
        assert run(world, jobs.SUM_PART)
    assert len(sums_stored(world)) == 3
    with world.ledger.database.begin() as tx:
        lines.delete(tx, world.tenant_id, world.model_id)
    world.work()
    sweep(world.deps)
    assert parts(world) == []
    assert sums_stored(world) == []
    assert leftovers(world.ledger) == []


def test_a_wrong_sum_is_found_and_summed_anew(new_world: NewWorld, alone: Callable[..., tuple[bytes, bytes]]) -> None:
    """One part is counted twice: the check against all rows refuses the version, and the next attempt splits anew."""
    world = new_world()
    ingested(world)
    assert run(world, jobs.ADVANCE)
    while run(world, jobs.SUM_PART):
        pass
    honest = summing.merged

    def twice(deps, model_id, public, summed):  # type: ignore[no-untyped-def]
        return honest(deps, model_id, public, [*summed, summed[0]])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(summing, "merged", twice)
        assert run(world, jobs.ADVANCE)
    (waiting,) = (job for job in world.jobs("ready") if job.kind == jobs.ADVANCE)
    assert "CheckFailed" in (waiting.error or "")
    assert parts(world) == []
    time_passes(world)
    world.work()
    check(world, alone())
