"""When requests that are collected are begun: window, minimum, and always in time for the deadline."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select
from support.clock import FixedClock
from support.world import NewWorld, World, make_deps, person

from ledger import batching, jobs
from ledger.batching import DAY_US, Policy
from ledger.database import Database
from ledger.tables import ForgetRequest, Job, Model
from workers.deps import Deps

HOUR_US = 3_600_000_000
times = st.integers(0, 10**16)


@given(
    window=st.integers(0, 31 * DAY_US),
    minimum=st.integers(1, 50),
    latest=st.integers(0, 31 * DAY_US),
    received=times,
    until=st.integers(0, 60 * DAY_US),
)
def test_nothing_is_begun_later_than_promised(
    window: int, minimum: int, latest: int, received: int, until: int
) -> None:
    due = received + until
    start = Policy(window, minimum, latest).start_at(received, due)
    assert received <= start <= max(received, due - latest)
    if minimum == 1:
        assert start <= received + window
    if window == 0 and minimum == 1:
        assert start == received


class Collecting:
    """A trained model with a policy, and a clock."""

    def __init__(self, world: World, clock: FixedClock) -> None:
        database = Database(world.ledger.database.engine, clock, world.ledger.database.random)
        self.world = replace(world, ledger=replace(world.ledger, database=database))
        self.deps: Deps = make_deps(self.world.ledger, clock_us=clock)
        self.world.deps = self.deps
        self.clock = clock
        self.database = database

    def set(self, policy: Policy) -> None:
        with self.database.begin() as tx:
            batching.set_policy(tx, tx.session.get_one(Model, self.world.model_id), policy)

    def states(self) -> list[str]:
        with self.database.read() as tx:
            return list(tx.session.execute(select(ForgetRequest.state).order_by(ForgetRequest.received_at)).scalars())

    def published(self) -> int:
        return self.world.active().number - 1


@pytest.fixture
def collecting(new_world: NewWorld, database_url: str, clock: FixedClock) -> Collecting:
    made = Collecting(new_world(database_url), clock)
    made.world.upload(*(person(f"p{i}") for i in range(6)))
    made.world.register()
    made.world.work()
    return made


def test_requests_within_the_window_make_one_version(collecting: Collecting) -> None:
    collecting.set(Policy(window_us=HOUR_US))
    for i in range(3):
        collecting.world.forget(f"p{i}")
        collecting.world.work()
        collecting.clock.advance(microseconds=HOUR_US // 4)
    assert collecting.states() == ["accepted"] * 3
    collecting.clock.advance(microseconds=HOUR_US // 4)
    collecting.world.work()
    assert collecting.states() == ["completed"] * 3
    assert collecting.published() == 1
    assert collecting.world.jobs("ready") == []


def test_the_window_and_then_the_minimum_are_waited_for(collecting: Collecting) -> None:
    collecting.set(Policy(window_us=HOUR_US, minimum=2))
    collecting.world.forget("p0")
    collecting.clock.advance(microseconds=2 * HOUR_US)
    assert batching.flush(collecting.database) == 0
    collecting.world.work()
    assert collecting.states() == ["accepted"]
    collecting.world.forget("p1")
    assert batching.flush(collecting.database) == 1
    assert batching.flush(collecting.database) == 0
    collecting.world.work()
    assert collecting.states() == ["completed"] * 2
    assert collecting.published() == 1
    batching.flush(collecting.database)
    collecting.world.work()
    assert collecting.published() == 1
    assert collecting.world.jobs("ready") == []


def test_a_full_batch_still_waits_for_its_window(collecting: Collecting) -> None:
    collecting.set(Policy(window_us=HOUR_US, minimum=2))
    for name in ("p0", "p1"):
        collecting.world.forget(name)
    batching.flush(collecting.database)
    collecting.world.work()
    assert collecting.states() == ["accepted"] * 2
    collecting.clock.advance(microseconds=HOUR_US)
    collecting.world.work()
    assert collecting.states() == ["completed"] * 2


def test_a_deadline_is_kept_however_few_there_are(collecting: Collecting) -> None:
    collecting.set(Policy(window_us=31 * DAY_US, minimum=50, latest_us=2 * DAY_US))
    request = collecting.world.request(collecting.world.forget("p0"))
    collecting.clock.advance(microseconds=request.due_at - collecting.clock() - 2 * DAY_US - 1)
    batching.flush(collecting.database)
    collecting.world.work()
    assert collecting.states() == ["accepted"]
    collecting.clock.advance(microseconds=1)
    collecting.world.work()
    assert collecting.states() == ["completed"]


def test_a_policy_that_is_shortened_counts_for_what_waits(collecting: Collecting) -> None:
    collecting.set(Policy(window_us=31 * DAY_US, minimum=9))
    collecting.world.forget("p0")
    collecting.world.work()
    assert collecting.states() == ["accepted"]
    collecting.set(Policy())
    collecting.world.work()
    assert collecting.states() == ["completed"]


def test_a_model_that_collects_holds_up_no_other(collecting: Collecting) -> None:
    other = collecting.world.register("other")
    collecting.world.work()
    collecting.set(Policy(window_us=HOUR_US))
    collecting.world.forget("p0")
    collecting.world.work()
    assert collecting.world.active(other).number == 2
    assert collecting.published() == 0
    collecting.clock.advance(microseconds=HOUR_US)
    collecting.world.work()
    assert collecting.states() == ["completed"]
    assert collecting.published() == 1


def test_requests_that_another_model_has_served_already_count_as_waiting(collecting: Collecting) -> None:
    other = collecting.world.register("other")
    collecting.world.work()
    collecting.set(Policy(minimum=2))
    for number, (name, begun) in enumerate((("p0", 0), ("p1", 1)), start=2):
        collecting.world.forget(name)
        collecting.world.work()
        assert (collecting.world.active(other).number, collecting.published()) == (number, 0)
        assert batching.flush(collecting.database) == begun
    assert collecting.states() == ["scrubbing"] * 2
    collecting.world.work()
    assert (collecting.states(), collecting.published()) == (["completed"] * 2, 1)


def test_a_job_that_failed_before_is_not_absorbed_while_it_waits(collecting: Collecting) -> None:
    world = collecting.world
    with collecting.database.begin() as tx:
        failed = jobs.add_advance(tx, world.tenant_id, world.model_id, not_before=tx.now + HOUR_US)
        failed.attempts = 3
        fresh = jobs.add_advance(tx, world.tenant_id, world.model_id, not_before=tx.now + HOUR_US)
        jobs.add_advance(tx, world.tenant_id, world.model_id)
    assert jobs.claim(collecting.database, "worker", lease_us=HOUR_US) is not None
    with collecting.database.read() as tx:
        assert tx.session.get_one(Job, failed.id).state == "ready"
        assert tx.session.get_one(Job, fresh.id).state == "done"
