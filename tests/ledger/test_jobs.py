"""Jobs: claimed in order, by one worker at a time, taken over when a worker dies, and never lost."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select, update
from support.clock import FixedClock
from support.world import NewWorld, World

from ledger import jobs, requests
from ledger.database import Database
from ledger.errors import LeaseLost, NotFound, WrongState
from ledger.tables import ForgetRequest, Job, Model, RequestModel

LEASE_US = 1_000_000


@pytest.fixture
def world(new_world: NewWorld, database_url: str) -> World:
    return new_world(database_url, core_people=1)


@pytest.fixture
def database(world: World, clock: FixedClock) -> Database:
    """The world's database with a clock that the test moves."""
    return Database(world.ledger.database.engine, clock, world.ledger.database.random)


def add(database: Database, world: World, kind: str = jobs.PURGE, **options: object) -> int:
    with database.begin() as tx:
        lock_key = str(options.pop("lock_key", tx.new_id()))
        return jobs.add(tx, world.tenant_id, kind, lock_key=lock_key, **options).id  # type: ignore[arg-type]  # a test's shorthand


def claim(database: Database, worker: str = "one") -> jobs.Claim:
    found = jobs.claim(database, worker, lease_us=LEASE_US)
    assert found is not None
    return found


def no_claim(database: Database) -> bool:
    return jobs.claim(database, "nobody", lease_us=LEASE_US) is None


def row(database: Database, job_id: int) -> Job:
    with database.read() as tx:
        return tx.session.get_one(Job, job_id)


def test_forgetting_goes_before_bulk_work_and_older_jobs_before_newer(database: Database, world: World) -> None:
    kinds = [jobs.INGEST_UPLOAD, jobs.TRAIN_CORE, jobs.PURGE, jobs.INGEST_MODEL, jobs.PURGE]
    ids = [add(database, world, kind) for kind in kinds]
    order = [claim(database).job_id for _ in ids]
    assert order == [ids[2], ids[4], ids[1], ids[0], ids[3]]
    assert no_claim(database)


def test_only_the_kinds_asked_for_are_claimed(database: Database, world: World) -> None:
    add(database, world, jobs.PURGE)
    wanted = add(database, world, jobs.TRAIN_CORE)
    found = jobs.claim(database, "one", lease_us=LEASE_US, kinds=(jobs.TRAIN_CORE,))
    assert found is not None
    assert found.job_id == wanted


def test_a_job_waits_for_its_time(database: Database, world: World, clock: FixedClock) -> None:
    add(database, world, not_before=clock() + 10)
    assert no_claim(database)
    clock.advance(microseconds=9)
    assert no_claim(database)
    clock.advance(microseconds=1)
    claim(database)


@pytest.mark.parametrize("kind", [jobs.ADVANCE, jobs.REBUILD])
def test_work_on_a_model_waits_until_the_model_is_ready(database: Database, world: World, kind: str) -> None:
    model_id = world.register()
    with database.begin() as tx:
        tx.session.execute(update(Job).values(state="done"))
    job_id = add(database, world, kind, model_id=model_id)
    assert no_claim(database)
    with database.begin() as tx:
        tx.session.execute(update(Model).values(state="ready"))
    assert claim(database).job_id == job_id


def test_one_running_job_per_lock_key(database: Database, world: World) -> None:
    first, second = (add(database, world, jobs.TRAIN_CORE, lock_key="same") for _ in range(2))
    held = claim(database)
    assert held.job_id == first
    assert no_claim(database)
    with database.begin() as tx:
        jobs.finish(tx, held)
    assert claim(database).job_id == second


def test_concurrent_workers_never_share_a_job_or_a_lock_key(database: Database, world: World) -> None:
    """Eight threads on 40 jobs with five lock keys; nothing is absorbed, so every job must run exactly once."""
    ids = [add(database, world, jobs.INGEST_UPLOAD, lock_key=f"key-{i % 5}") for i in range(40)]
    busy, ran, problems, guard = Counter[str](), Counter[int](), list[str](), threading.Lock()

    def work(worker: int) -> None:
        while sum(ran.values()) < len(ids) and not problems:
            found = jobs.claim(database, str(worker), lease_us=LEASE_US)
            if found is None:
                continue
            key = row(database, found.job_id).lock_key
            with guard:
                busy[key] += 1
                if busy[key] > 1:
                    problems.append(f"two jobs of {key}")
            with guard:
                busy[key] -= 1
                ran[found.job_id] += 1
            with database.begin() as tx:
                jobs.finish(tx, found)

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(work, i) for i in range(8)]:
            done.result(timeout=60)
    assert not problems
    assert ran == Counter(ids)


def test_what_was_asked_for_before_is_done_by_one_job(database: Database, world: World, clock: FixedClock) -> None:
    ids = [add(database, world, lock_key="purge:a") for _ in range(3)]
    later = add(database, world, lock_key="purge:a", not_before=clock() + 5)
    other_key = add(database, world, lock_key="purge:b")
    other_kind = add(database, world, jobs.TRAIN_CORE, lock_key="purge:a")
    held = claim(database)
    assert held.job_id == ids[0]
    states = {job_id: row(database, job_id).state for job_id in (*ids, later, other_key, other_kind)}
    assert states == {ids[0]: "running", ids[1]: "done", ids[2]: "done"} | dict.fromkeys(
        (later, other_key, other_kind), "ready"
    )
    asked_meanwhile = add(database, world, lock_key="purge:a")
    with database.begin() as tx:
        jobs.finish(tx, held)
    assert row(database, asked_meanwhile).state == "ready"


def test_absorbing_does_not_wait_for_a_job_that_another_worker_looks_at(
    new_world: NewWorld, fresh_postgres_database: str
) -> None:
    """Two workers take two jobs of one lock key at once: whoever is first must not wait for the other (a deadlock)."""
    world = new_world(fresh_postgres_database, core_people=1)
    database = world.ledger.database
    first, second = (add(database, world, lock_key="purge:a") for _ in range(2))
    with database.begin() as other:
        other.session.execute(select(Job).where(Job.id == second).with_for_update())
        with ThreadPoolExecutor(1) as pool:
            held = pool.submit(claim, database).result(timeout=5)
    assert held.job_id == first
    assert row(database, second).state == "ready"


def test_a_job_whose_worker_died_is_taken_over_with_a_higher_fence(
    database: Database, world: World, clock: FixedClock
) -> None:
    add(database, world)
    dead = claim(database, "dead")
    clock.advance(microseconds=LEASE_US)
    assert no_claim(database)
    clock.advance(microseconds=1)
    alive = claim(database, "alive")
    assert (alive.job_id, alive.fence, alive.attempts) == (dead.job_id, dead.fence + 1, 2)
    assert alive.owner != dead.owner


def end(name: str) -> Callable[[Database, jobs.Claim], object]:
    def call(database: Database, held: jobs.Claim) -> None:
        if name == "renew":
            jobs.renew(database, held, lease_us=LEASE_US)
            return
        if name == "report":
            jobs.report(database, held, 0.5)
            return
        with database.begin() as tx:
            if name == "finish":
                jobs.finish(tx, held)
            elif name == "put_back":
                jobs.put_back(tx, held, not_before=0)
            else:
                jobs.fail(tx, held, "because")

    return call


ENDS = ["renew", "report", "finish", "put_back", "fail"]


@pytest.mark.parametrize("name", ENDS)
def test_a_worker_without_its_lease_can_do_nothing(
    database: Database, world: World, clock: FixedClock, name: str
) -> None:
    job_id = add(database, world)
    stale = claim(database)
    clock.advance(microseconds=LEASE_US + 1)
    with pytest.raises(LeaseLost):  # nobody has taken over yet
        end(name)(database, stale)
    claim(database, "two")
    with pytest.raises(LeaseLost):
        end(name)(database, stale)
    now = row(database, job_id)
    assert (now.state, now.fence, now.worker, now.progress) == ("running", 2, "two", 0.0)


@pytest.mark.parametrize("name", ENDS)
def test_a_finished_job_cannot_be_ended_again(database: Database, world: World, name: str) -> None:
    job_id = add(database, world)
    held = claim(database)
    with database.begin() as tx:
        jobs.finish(tx, held, {"version": 2})
    with pytest.raises(LeaseLost):
        end(name)(database, held)
    now = row(database, job_id)
    assert (now.state, now.result, now.progress, now.lease_until) == ("done", {"version": 2}, 1.0, None)


def test_a_renewed_lease_holds_longer(database: Database, world: World, clock: FixedClock) -> None:
    add(database, world)
    held = claim(database)
    clock.advance(microseconds=LEASE_US)
    jobs.renew(database, held, lease_us=LEASE_US)
    clock.advance(microseconds=LEASE_US)
    assert no_claim(database)


def test_progress_stays_between_nothing_and_all(database: Database, world: World) -> None:
    job_id = add(database, world)
    held = claim(database)
    jobs.report(database, held, 7.0, "counting")
    assert (row(database, job_id).progress, row(database, job_id).note) == (1.0, "counting")
    jobs.report(database, held, -1.0)
    assert (row(database, job_id).progress, row(database, job_id).note) == (0.0, "counting")


def test_only_a_failed_attempt_counts(database: Database, world: World, clock: FixedClock) -> None:
    job_id = add(database, world)
    held = claim(database)
    with database.begin() as tx:
        jobs.put_back(tx, held, not_before=clock(), error="no luck")
    assert (row(database, job_id).attempts, row(database, job_id).error) == (1, "no luck")
    again = claim(database)
    assert again.attempts == 2
    with database.begin() as tx:
        jobs.put_back(tx, again, not_before=clock() + 3)
    now = row(database, job_id)
    assert (now.state, now.attempts, now.error, now.not_before) == ("ready", 0, None, clock() + 3)


def test_progress_counts_from_nought_and_only_for_who_holds_the_job(
    database: Database, world: World, clock: FixedClock
) -> None:
    job_id = add(database, world)
    dead = claim(database)
    clock.advance(microseconds=LEASE_US + 1)
    alive = claim(database, "two")
    with database.begin() as tx, pytest.raises(LeaseLost):
        jobs.progressed(tx, dead)
    assert row(database, job_id).attempts == 2
    with database.begin() as tx:
        jobs.progressed(tx, alive)
    assert (row(database, job_id).state, row(database, job_id).attempts) == ("running", 0)


def test_a_failed_job_is_not_claimed_until_somebody_retries_it(
    database: Database, world: World, clock: FixedClock
) -> None:
    job_id = add(database, world)
    held = claim(database)
    with database.begin() as tx:
        jobs.fail(tx, held, "broken")
    clock.advance(days=1)
    assert no_claim(database)
    with database.begin() as tx, pytest.raises(NotFound):
        jobs.retry(tx, "0" * 32, job_id)
    with database.begin() as tx:
        jobs.retry(tx, world.tenant_id, job_id)
    assert (row(database, job_id).attempts, row(database, job_id).error) == (0, None)
    assert claim(database).job_id == job_id
    with database.begin() as tx, pytest.raises(WrongState):
        jobs.retry(tx, world.tenant_id, job_id)


@pytest.mark.parametrize("kind", [jobs.ADVANCE, jobs.PURGE])
def test_retrying_a_job_takes_its_error_off_the_requests_that_it_serves(
    database: Database, world: World, kind: str
) -> None:
    model_id = world.register()
    with database.begin() as tx:
        tx.session.execute(update(Model).values(state="ready"))
        tx.session.execute(update(Job).values(state="done"))
    served, other = world.forget("one"), world.forget("two")
    with database.begin() as tx:
        tx.session.execute(update(Job).values(state="done"))
        for request_id, state in ((served, "scrubbing" if kind == jobs.ADVANCE else "purging"), (other, "accepted")):
            request = tx.session.get_one(ForgetRequest, request_id)
            request.state, request.error = state, "an error of its own"
        if kind == jobs.ADVANCE:
            tx.session.add(RequestModel(request_id=served, model_id=model_id))
        job = jobs.add(tx, world.tenant_id, kind, lock_key="k", model_id=model_id if kind == jobs.ADVANCE else None)
    held = claim(database)
    with database.begin() as tx:
        jobs.fail(tx, held, "broken")
        requests.mark_stuck(tx, world.tenant_id, held.model_id, "broken")
    assert world.request(served).error == ("model model: broken" if kind == jobs.ADVANCE else "broken")
    with database.begin() as tx:
        jobs.retry(tx, world.tenant_id, job.id)
    assert world.request(served).error is None
    assert world.request(other).error == "an error of its own"


def test_the_longest_wait_is_that_of_the_oldest_job_that_is_due(
    database: Database, world: World, clock: FixedClock
) -> None:
    with database.read() as tx:
        assert jobs.longest_wait(tx) == 0
    add(database, world)
    clock.advance(seconds=2)
    add(database, world, not_before=clock() + 5)
    with database.read() as tx:
        assert jobs.longest_wait(tx) == 2_000_000


def test_jobs_of_another_tenant_are_not_found(database: Database, world: World) -> None:
    job_id = add(database, world)
    with database.read() as tx:
        assert jobs.get(tx, world.tenant_id, job_id).id == job_id
        with pytest.raises(NotFound):
            jobs.get(tx, "0" * 32, job_id)
        assert [job.id for job in jobs.list_newest(tx, world.tenant_id)] == [job_id]
        assert jobs.list_newest(tx, "0" * 32) == []
