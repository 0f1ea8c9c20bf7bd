"""A job is given up after eight deaths without progress; what was done for good is progress, newcomers are not."""

from __future__ import annotations

import pytest
from sqlalchemy import update
from support.dying import Died, dying
from support.leftovers import leftovers
from support.world import NewWorld, World, person

from ledger import jobs
from ledger.tables import Job
from workers import purge
from workers.deps import Deps
from workers.runner import run_claimed

PEOPLE = [person(f"person-{i}") for i in range(jobs.MAX_ATTEMPTS + 2)]
MANY = person("many", 4 * (jobs.MAX_ATTEMPTS + 4))  # in shards of four records


@pytest.fixture
def world(new_world: NewWorld) -> World:
    world = new_world()
    world.upload(*PEOPLE, MANY)
    world.register()
    world.work()
    return world


def run(world: World, kind: str, deps: Deps) -> bool:
    """Take the next job of a kind, whose last holder is long dead, and run it. True when the worker died."""
    with world.ledger.database.begin() as tx:
        tx.session.execute(update(Job).where(Job.state == "running").values(lease_until=0))
    claim = jobs.claim(world.ledger.database, "test", lease_us=deps.lease_us, kinds=(kind,))
    assert claim is not None
    try:
        run_claimed(deps, claim)
    except Died:
        return True
    return False


def deaths(world: World, kind: str, at: str, *, at_most: int) -> int:
    """Count how many workers die at a point before one does not."""
    died = 0
    while died < at_most and run(world, kind, dying(world, at)):
        died += 1
    return died


def publish(world: World, name: str) -> str:
    """Ask for somebody to be forgotten, and bring the model so far."""
    request_id = world.forget(name)
    assert not run(world, jobs.ADVANCE, world.deps)
    assert world.request(request_id).state == "published"
    return request_id


@pytest.mark.parametrize(
    ("kind", "at"),
    [(jobs.ADVANCE, "advance.written"), (jobs.PURGE, "purge.shard_written"), (jobs.PURGE, "purge.verified")],
)
def test_a_job_that_always_dies_at_the_same_place_is_given_up_and_can_be_retried(
    world: World, kind: str, at: str
) -> None:
    request_id = world.forget("person-1") if kind == jobs.ADVANCE else publish(world, "person-1")
    assert deaths(world, kind, at, at_most=99) == jobs.MAX_ATTEMPTS
    (job,) = world.jobs("failed")
    assert (job.kind, (job.error or "").partition(":")[0]) == (kind, "WorkerLost")
    assert f"{jobs.MAX_ATTEMPTS} workers" in (world.request(request_id).error or "")
    with world.ledger.database.begin() as tx:
        jobs.retry(tx, world.tenant_id, job.id)
    world.work()
    assert world.request(request_id).state == "completed"
    assert leftovers(world.ledger) == []


def test_a_purge_that_gets_further_in_every_attempt_is_never_given_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rewriting shards takes too much memory, say: every worker manages one of them and is killed."""
    monkeypatch.setattr(purge, "SHARDS_AT_ONCE", 1)
    request_id = publish(world, "many")
    died = deaths(world, jobs.PURGE, "purge.shard_replaced", at_most=99)
    assert died > jobs.MAX_ATTEMPTS + 2
    assert world.request(request_id).state == "completed"
    world.work()
    assert not world.jobs("failed")
    assert leftovers(world.ledger) == []


def test_after_progress_the_deaths_are_counted_from_nought(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purge, "SHARDS_AT_ONCE", 1)
    publish(world, "many")
    assert deaths(world, jobs.PURGE, "purge.unserved", at_most=jobs.MAX_ATTEMPTS - 1) == jobs.MAX_ATTEMPTS - 1
    assert deaths(world, jobs.PURGE, "purge.shard_replaced", at_most=1) == 1
    assert deaths(world, jobs.PURGE, "purge.unserved", at_most=99) == jobs.MAX_ATTEMPTS
    assert [job.kind for job in world.jobs("failed")] == [jobs.PURGE]


def test_work_for_newcomers_does_not_hide_that_a_purge_always_dies(world: World) -> None:
    request_id = publish(world, "person-0")
    assert deaths(world, jobs.PURGE, "purge.verified", at_most=1) == 1
    died = 1
    for newcomer in PEOPLE[1:-1]:
        publish(world, newcomer.name)
        died += deaths(world, jobs.PURGE, "purge.verified", at_most=1)
    assert died == jobs.MAX_ATTEMPTS
    assert [job.kind for job in world.jobs("failed")] == [jobs.PURGE]
    assert "WorkerLost" in (world.request(request_id).error or "")
