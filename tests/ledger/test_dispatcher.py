"""Who is told about which job, when, and what happens when Redis or the database is away."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from support.clock import FixedClock
from support.waiting import wait_until
from support.world import NewWorld, World

from ledger import jobs, nudges
from ledger.database import Database
from ledger.dispatcher import Dispatcher
from ledger.errors import BrokerUnreachable
from ledger.nudges import Nudge

LEASE_US = 1_000_000


@dataclass
class Queue:
    """Stands in for Redis."""

    sent: list[int] = field(default_factory=list)
    away: bool = False
    untaken: int = 0
    closed: bool = False

    def queue_of(self, kind: str) -> str:
        return "cpu"

    def send(self, nudge: Nudge) -> None:
        if self.away:
            raise BrokerUnreachable("away")
        self.sent.append(nudge.job_id)

    def waiting(self, queue: str) -> int:
        return self.untaken

    def close(self) -> None:
        self.closed = True


@dataclass
class Desk:
    """A ledger with its jobs, a clock, and a dispatcher."""

    world: World
    database: Database
    clock: FixedClock
    queue: Queue = field(default_factory=Queue)
    seconds: float = 0.0

    def dispatcher(self, *, look_every_s: float | None = None, again_after_s: float | None = None) -> Dispatcher:
        return Dispatcher(
            self.database,
            self.queue,
            monotonic=lambda: self.seconds,
            look_every_s=look_every_s,
            again_after_s=again_after_s,
        )

    def add(self, lock_key: str, *, after_us: int = 0, kind: str = jobs.PURGE) -> int:
        with self.database.begin() as tx:
            return jobs.add(tx, self.world.tenant_id, kind, lock_key=lock_key, not_before=tx.now + after_us).id

    def claim(self, job_id: int) -> jobs.Claim:
        claim = jobs.claim(self.database, "worker", lease_us=LEASE_US, only=job_id)
        assert claim is not None
        return claim


@pytest.fixture
def desk(new_world: NewWorld, database_url: str, clock: FixedClock) -> Desk:
    world = new_world(database_url, core_people=1)
    database = Database(world.ledger.database.engine, clock, world.ledger.database.random)
    with database.begin() as tx:
        for job in jobs.list_newest(tx, world.tenant_id):
            job.state = "done"
    return Desk(world, database, clock)


def test_a_job_is_told_of_once_and_one_for_each_lock(desk: Desk) -> None:
    first, second, other = desk.add("a"), desk.add("a"), desk.add("b")
    dispatcher = desk.dispatcher()
    for _ in range(3):
        dispatcher.dispatch()
    assert desk.queue.sent == [first, other]
    with desk.database.begin() as tx:
        jobs.finish(tx, desk.claim(other))
    assert desk.database.engine is not None
    claim = desk.claim(first)
    dispatcher.dispatch()  # the lock is held: nobody could do the second
    assert desk.queue.sent == [first, other]
    third = desk.add("a", after_us=1)  # not absorbed by the first, since it was not due
    with desk.database.begin() as tx:
        jobs.finish(tx, claim)
    desk.clock.advance(microseconds=1)
    dispatcher.dispatch()
    assert desk.queue.sent == [first, other, third]
    assert second not in desk.queue.sent


def test_only_the_job_that_was_asked_for_is_claimed(desk: Desk) -> None:
    urgent, asked = desk.add("a"), desk.add("b", kind=jobs.REBUILD)
    with desk.database.begin() as tx:
        jobs.get(tx, desk.world.tenant_id, asked).kind = jobs.TRAIN_CORE
    assert desk.claim(asked).job_id == asked
    assert jobs.claim(desk.database, "another", lease_us=LEASE_US, only=asked) is None
    assert jobs.claim(desk.database, "another", lease_us=LEASE_US, only=10**9) is None
    assert desk.claim(urgent).job_id == urgent


def test_urgent_jobs_are_told_of_first(desk: Desk) -> None:
    slow, urgent = desk.add("a", kind=jobs.TRAIN_CORE), desk.add("b")
    desk.dispatcher().dispatch()
    assert desk.queue.sent == [urgent, slow]


def test_a_job_that_is_put_back_is_told_of_when_it_is_due(desk: Desk) -> None:
    job = desk.add("a")
    dispatcher = desk.dispatcher()
    assert dispatcher.dispatch() is None
    claim = desk.claim(job)
    with desk.database.begin() as tx:
        jobs.put_back(tx, claim, not_before=tx.now + 300_000)
    assert dispatcher.dispatch() == pytest.approx(0.3)
    assert desk.queue.sent == [job]
    desk.clock.advance(microseconds=300_000)
    dispatcher.dispatch()
    assert desk.queue.sent == [job, job]


def test_a_job_whose_worker_is_gone_is_told_of(desk: Desk) -> None:
    job = desk.add("a")
    desk.claim(job)
    dispatcher = desk.dispatcher(look_every_s=1)
    assert dispatcher.dispatch() == 1
    assert desk.queue.sent == []
    desk.clock.advance(microseconds=LEASE_US + 1)
    dispatcher.dispatch()
    assert desk.queue.sent == [job]


def test_a_lost_message_is_repeated_when_the_queue_is_empty(desk: Desk) -> None:
    job = desk.add("a")
    patient, forgetful = desk.dispatcher(again_after_s=5), desk.dispatcher()
    patient.dispatch()
    forgetful.dispatch()
    desk.seconds = 4.9
    patient.dispatch()
    assert desk.queue.sent == [job, job]
    desk.seconds, desk.queue.untaken = 5.1, 1
    patient.dispatch()
    assert desk.queue.sent == [job, job]
    desk.queue.untaken = 0
    patient.dispatch()
    forgetful.dispatch()
    assert desk.queue.sent == [job, job, job]
    patient.dispatch()  # and not at once again
    assert desk.queue.sent == [job, job, job]


def test_what_could_not_be_sent_is_sent_later(desk: Desk) -> None:
    job = desk.add("a")
    dispatcher = desk.dispatcher()
    desk.queue.away = True
    with pytest.raises(BrokerUnreachable):
        dispatcher.dispatch()
    desk.queue.away = False
    dispatcher.dispatch()
    assert desk.queue.sent == [job]


def test_the_thread_sends_when_woken_and_when_a_job_is_due(desk: Desk) -> None:
    database = replace(desk.database, clock=desk.world.ledger.database.clock)
    desk.database = database
    dispatcher = desk.dispatcher()
    dispatcher.start()
    try:
        woken = desk.add("a")
        dispatcher.wake()
        wait_until(lambda: desk.queue.sent == [woken], 30, "the message")
        later = desk.add("b", after_us=50_000)
        dispatcher.wake()
        wait_until(lambda: desk.queue.sent == [woken, later], 30, "the message about the job that was not due")
    finally:
        dispatcher.stop()
    assert desk.queue.closed


def test_nothing_waits_for_its_time_when_nothing_is_ready(desk: Desk) -> None:
    with desk.database.read() as tx:
        assert nudges.next_due(tx) is None
        assert nudges.claimable(tx) == []
