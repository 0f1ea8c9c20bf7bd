"""The same message delivered a hundred times at once: the job begins once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.world import NewWorld

from ledger import jobs

AT_ONCE = 100


def test_a_hundred_deliveries_at_the_same_moment_are_one_claim(new_world: NewWorld, database_url: str) -> None:
    world = new_world(database_url, core_people=1)
    database = world.ledger.database
    with database.begin() as tx:
        job = jobs.add_purge(tx, world.tenant_id)
    together = threading.Barrier(AT_ONCE)

    def deliver(number: int) -> jobs.Claim | None:
        together.wait()
        return jobs.claim(database, f"worker-{number}", lease_us=60_000_000, only=job.id)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        claims = [claim for claim in pool.map(deliver, range(AT_ONCE)) if claim is not None]
    assert [(claim.job_id, claim.fence, claim.attempts) for claim in claims] == [(job.id, 1, 1)]
    with database.begin() as tx:
        jobs.finish(tx, claims[0])
    assert jobs.claim(database, "late", lease_us=60_000_000, only=job.id) is None
    with database.read() as tx:
        assert jobs.get(tx, world.tenant_id, job.id).state == "done"


def test_who_comes_second_cannot_finish_it(new_world: NewWorld, database_url: str) -> None:
    """A claim that was never given: the job of one fence is closed to every other."""
    world = new_world(database_url, core_people=1)
    database = world.ledger.database
    with database.begin() as tx:
        job = jobs.add_purge(tx, world.tenant_id)
    first = jobs.claim(database, "first", lease_us=1, only=job.id)
    second = jobs.claim(database, "second", lease_us=60_000_000, only=job.id)
    assert first is not None
    assert second is not None
    with pytest.raises(jobs.LeaseLost), database.begin() as tx:
        jobs.finish(tx, first)
    with database.begin() as tx:
        jobs.finish(tx, second)
