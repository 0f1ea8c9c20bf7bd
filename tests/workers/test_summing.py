"""A first version summed in parts: the same bytes as by one job, whatever dies, and whoever is forgotten meanwhile."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select
from support.dying import Died, dying
from support.in_parts import PEOPLE, Learned, at_once, learned, learner, leases_run_out, parts, run, small_parts
from support.leftovers import leftovers
from support.world import NewWorld, World, make_deps

from ledger import jobs, lines
from ledger.tables import StoredObject
from workers import summing
from workers.deps import Deps
from workers.loop import sweep
from workers.runner import run_claimed

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
def parts_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    small_parts(monkeypatch, summing)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Learned]:
    return learner(tmp_path_factory, summing)


def ingested(world: World) -> None:
    """Bring a model over twelve shards to where its first version is to be summed."""
    world.upload(*PEOPLE)
    world.register()
    for kind in (jobs.INGEST_UPLOAD, jobs.TRAIN_CORE, jobs.INGEST_MODEL):
        assert run(world, kind)


def sums_stored(world: World) -> list[str]:
    with world.ledger.database.read() as tx:
        return list(tx.session.execute(select(StoredObject.name).where(StoredObject.kind == "sum")).scalars())


def check(world: World, expected: Learned) -> None:
    sweep(world.deps)
    assert learned(world) == expected
    assert parts(world) == []
    assert sums_stored(world) == []
    assert leftovers(world.ledger) == []
    assert not world.jobs("failed")


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_any_number_of_workers_learns_the_same_bytes(
    new_world: NewWorld, database_url: str, alone: Callable[..., Learned], workers: int
) -> None:
    world = new_world(database_url)
    ingested(world)
    done = at_once(world, workers)
    assert done.count("sum_part.ended") == 6
    check(world, alone())


@pytest.mark.parametrize("seed", range(4))
def test_parts_in_any_order_some_of_them_twice(new_world: NewWorld, alone: Callable[..., Learned], seed: int) -> None:
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
                one_part(dying(world, rng.choice(["sum_part.written", "sum_part.ending"])), job_id)
            leases_run_out(world)
        one_part(make_deps(world.ledger), job_id)
    world.work()
    check(world, alone())


def one_part(deps: Deps, job_id: int) -> None:
    claim = jobs.claim(deps.ledger.database, "one", lease_us=5_000_000, only=job_id)
    assert claim is not None
    run_claimed(deps, claim)


@pytest.mark.parametrize("at", POINTS)
def test_a_worker_that_dies_twice_at_any_point_is_replaced(
    new_world: NewWorld, database_url: str, alone: Callable[..., Learned], at: str
) -> None:
    world = new_world(database_url)
    ingested(world)
    for _ in range(1 if at in ("sum.split", "advance.published") else 2):  # what is done is not done twice
        with pytest.raises(Died):
            world.work(deps=dying(world, at))
        leases_run_out(world)
    world.work()
    check(world, alone())


@pytest.mark.parametrize("at", ["sum.split", "sum_part.written", "sum_part.ended", "advance.folded"])
def test_forgetting_while_parts_are_done(
    new_world: NewWorld, database_url: str, alone: Callable[..., Learned], at: str
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
    leases_run_out(world)
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
    new_world: NewWorld, alone: Callable[..., Learned]
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


def test_a_wrong_sum_is_found_and_summed_anew(new_world: NewWorld, alone: Callable[..., Learned]) -> None:
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
    leases_run_out(world)
    world.work()
    check(world, alone())
