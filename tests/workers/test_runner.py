"""What becomes of a job whose work fails, whose worker dies, or whose database is away for a moment."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs
from support.clock import FixedClock
from support.waiting import wait_until
from support.world import NewWorld, World, make_deps

from ledger import jobs
from ledger.database import Database
from ledger.errors import LeaseLost, PublishConflict, StoreFailed, StoreFull, StoreReadOnly
from ledger.tables import ForgetRequest, Job, Model
from unlearning.errors import UnlearningError
from workers import runner
from workers.deps import Deps
from workers.errors import StillServed
from workers.runner import BACKOFF_US, heartbeat, run_claimed, run_next

AWAY = OperationalError("UPDATE secret", {"secret": "identity"}, Exception("server closed the connection"))


@pytest.fixture
def world(new_world: NewWorld) -> World:
    return new_world(core_people=1)


@pytest.fixture
def deps(world: World, clock: FixedClock) -> Deps:
    database = Database(world.ledger.database.engine, clock, world.ledger.database.random)
    return make_deps(replace(world.ledger, database=database), clock_us=clock)


@contextmanager
def working_as(kind: str, work: Callable[[Deps, jobs.Claim], None]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(runner.RUN, kind, work)
        yield


def add(deps: Deps, world: World, kind: str = jobs.PURGE, model_id: str | None = None) -> int:
    with deps.ledger.database.begin() as tx:
        return jobs.add(tx, world.tenant_id, kind, lock_key="key", model_id=model_id).id


def raising(problem: Exception) -> Callable[[Deps, jobs.Claim], None]:
    def work(_deps: Deps, _claim: jobs.Claim) -> None:
        raise problem

    return work


def job(deps: Deps, job_id: int) -> Job:
    with deps.ledger.database.read() as tx:
        return tx.session.get_one(Job, job_id)


def test_nothing_to_do(deps: Deps) -> None:
    assert not run_next(deps)


@pytest.mark.parametrize("problem", [StoreFailed("broken"), OSError("disk"), MemoryError("none"), AWAY])
def test_a_failed_attempt_is_repeated_later_and_later_and_in_the_end_fails(
    deps: Deps, world: World, clock: FixedClock, problem: Exception
) -> None:
    job_id = add(deps, world)
    waits = []
    with working_as(jobs.PURGE, raising(problem)):
        for _ in range(jobs.MAX_ATTEMPTS - 1):
            assert run_next(deps)
            now = job(deps, job_id)
            assert now.state == "ready"
            waits.append(now.not_before - clock())
            assert not run_next(deps)
            clock.advance(microseconds=waits[-1])
        assert run_next(deps)
    now = job(deps, job_id)
    assert (now.state, now.attempts) == ("failed", jobs.MAX_ATTEMPTS)
    assert (now.error or "").startswith(type(problem).__name__)
    assert "identity" not in (now.error or "")
    assert waits == [BACKOFF_US * 2 ** min(n, 6) for n in range(1, jobs.MAX_ATTEMPTS)]


@pytest.mark.parametrize("problem", [StoreFull("full"), StoreReadOnly("read-only")])
def test_a_full_disk_is_waited_for_as_long_as_it_takes(
    deps: Deps, world: World, clock: FixedClock, problem: Exception
) -> None:
    job_id = add(deps, world)
    with working_as(jobs.PURGE, raising(problem)):
        for _ in range(2 * jobs.MAX_ATTEMPTS):
            assert run_next(deps)
            now = job(deps, job_id)
            assert (now.state, (now.error or "").partition(":")[0]) == ("ready", type(problem).__name__)
            assert clock() < now.not_before <= clock() + 10_000_000
            clock.advance(microseconds=now.not_before - clock())
    with working_as(jobs.PURGE, lambda deps_, claim: finish(deps_, claim)):
        assert run_next(deps)
    assert (job(deps, job_id).state, job(deps, job_id).error) == ("done", None)


def finish(deps: Deps, claim: jobs.Claim) -> None:
    with deps.ledger.database.begin() as tx:
        jobs.finish(tx, claim)


def test_mathematics_that_refuses_its_input_fails_at_once(deps: Deps, world: World) -> None:
    job_id = add(deps, world)
    with working_as(jobs.PURGE, raising(UnlearningError("ill-conditioned"))):
        run_next(deps)
    assert job(deps, job_id).state == "failed"


@pytest.mark.parametrize("problem", [PublishConflict("m"), StillServed(1)])
def test_stepping_aside_does_not_count_and_lets_others_through(
    deps: Deps, world: World, clock: FixedClock, problem: Exception
) -> None:
    job_id = add(deps, world)
    other = add(deps, world, jobs.TRAIN_CORE)
    ran: list[int] = []
    with (
        working_as(jobs.PURGE, raising(problem)),
        working_as(jobs.TRAIN_CORE, lambda _, claim: ran.append(claim.job_id)),
    ):
        run_next(deps)
        run_next(deps)
    assert ran == [other]
    now = job(deps, job_id)
    assert (now.state, now.attempts, now.error) == ("ready", 0, None)
    assert now.not_before <= clock() + BACKOFF_US


def test_a_job_that_kills_its_workers_fails_in_the_end(deps: Deps, world: World, clock: FixedClock) -> None:
    """No exception tells of it: only the number of workers that took the job and never came back."""
    job_id = add(deps, world)
    request_id = world.forget("somebody")
    with deps.ledger.database.begin() as tx:
        tx.session.execute(update(ForgetRequest).values(state="purging"))
        tx.session.execute(update(Job).where(Job.id != job_id).values(state="done"))
    for _ in range(jobs.MAX_ATTEMPTS):
        assert jobs.claim(deps.ledger.database, "doomed", lease_us=1) is not None
        clock.advance(seconds=1)
    ran: list[int] = []
    with working_as(jobs.PURGE, lambda _, claim: ran.append(claim.job_id)):
        assert run_next(deps)
        assert not run_next(deps)
    assert ran == []
    now = job(deps, job_id)
    assert now.state == "failed"
    assert f"{jobs.MAX_ATTEMPTS} workers" in (now.error or "")
    assert f"{jobs.MAX_ATTEMPTS} workers" in (world.request(request_id).error or "")


def test_an_error_after_progress_is_the_first_again(deps: Deps, world: World) -> None:
    job_id = add(deps, world)
    with deps.ledger.database.begin() as tx:
        tx.session.execute(update(Job).values(attempts=jobs.MAX_ATTEMPTS - 1))

    def work(deps: Deps, claim: jobs.Claim) -> None:
        assert claim.attempts == jobs.MAX_ATTEMPTS
        with deps.ledger.database.begin() as tx:
            jobs.progressed(tx, claim)
        raise StoreFailed("broken")

    with working_as(jobs.PURGE, work):
        assert run_next(deps)
    assert (job(deps, job_id).state, job(deps, job_id).attempts) == ("ready", 0)


def test_a_lost_lease_changes_nothing(deps: Deps, world: World) -> None:
    job_id = add(deps, world)
    with working_as(jobs.PURGE, raising(LeaseLost(job_id))):
        run_next(deps)
    assert job(deps, job_id).state == "running"


@pytest.mark.parametrize("attempts", [1, jobs.MAX_ATTEMPTS])
def test_a_failure_after_the_lease_was_lost_is_nobodys_business(
    deps: Deps, world: World, clock: FixedClock, attempts: int
) -> None:
    job_id = add(deps, world)
    with deps.ledger.database.begin() as tx:
        tx.session.execute(update(Job).values(attempts=attempts - 1))
    claim = jobs.claim(deps.ledger.database, "slow", lease_us=1_000_000)
    assert claim is not None
    clock.advance(seconds=2)
    with working_as(jobs.PURGE, raising(StoreFull("full"))):
        run_claimed(deps, claim)
    assert job(deps, job_id).state == "running"


@pytest.mark.parametrize("kind", [jobs.TRAIN_CORE, jobs.INGEST_MODEL])
def test_a_model_whose_core_cannot_be_made_is_failed(deps: Deps, world: World, kind: str) -> None:
    model_id = world.register()
    with deps.ledger.database.begin() as tx:
        tx.session.execute(update(Job).values(state="done"))
    add(deps, world, kind, model_id)
    with working_as(kind, raising(UnlearningError("no"))):
        run_next(deps)
    with deps.ledger.database.read() as tx:
        model = tx.session.get_one(Model, model_id)
    assert model.state == "failed"
    assert "no" in (model.error or "")


def test_the_heartbeat_keeps_the_lease_and_outlives_a_database_that_is_away(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    deps = make_deps(world.ledger, lease_us=60_000)
    with world.ledger.database.begin() as tx:
        jobs.add(tx, world.tenant_id, jobs.PURGE, lock_key="key")
    claim = jobs.claim(world.ledger.database, "one", lease_us=30_000_000)
    assert claim is not None
    really, calls = jobs.renew, list[str]()

    def renew(*arguments: object, **options: object) -> None:
        calls.append("away" if len(calls) < 2 else "renewed")
        if calls[-1] == "away":
            raise AWAY
        really(*arguments, **options)  # type: ignore[arg-type]  # handed through

    monkeypatch.setattr(jobs, "renew", renew)
    with capture_logs() as logs, heartbeat(deps, claim):
        wait_until(lambda: "renewed" in calls, 10, "a renewal after two failures")
    assert "identity" not in str(logs)
    with world.ledger.database.read() as tx:
        lease = tx.session.execute(select(Job.lease_until)).scalar_one()
    assert (lease or 0) < deps.clock_us() + 1_000_000
    assert not [thread for thread in threading.enumerate() if thread.name == "heartbeat"]


def test_the_heartbeat_ends_when_the_lease_is_lost(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    deps = make_deps(world.ledger, lease_us=3_000)
    with world.ledger.database.begin() as tx:
        jobs.add(tx, world.tenant_id, jobs.PURGE, lock_key="key")
    claim = jobs.claim(world.ledger.database, "one", lease_us=0)
    assert claim is not None
    with heartbeat(deps, claim):
        wait_until(
            lambda: not [thread for thread in threading.enumerate() if thread.name == "heartbeat"], 10, "the thread"
        )
