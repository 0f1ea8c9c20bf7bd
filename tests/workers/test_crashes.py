"""A worker that dies at any named point, once or twice, leaves a path that ends the same way once."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import func, select, update
from support.dying import Died, dying
from support.leftovers import leftovers
from support.waiting import wait_until
from support.world import NewWorld, World, make_deps, person

from evidence.merkle import leaf_hash
from ledger import certificates, inventory
from ledger.tables import Certificate, Event, Job
from workers.loop import sweep
from workers.runner import run_next

PEOPLE = [person(f"person-{i}") for i in range(6)]
FLOWS = Path(__file__).parents[2] / "docs" / "flows.md"


def points_of_a_forget(world: World) -> list[str]:
    """Return every point that a forget request passes, in order."""
    passed: list[str] = []
    world.forget("person-0")
    world.work(deps=make_deps(world.ledger, point=passed.append))
    return list(dict.fromkeys(passed))


def trained(new_world: NewWorld, database_url: str | None = None) -> World:
    world = new_world(database_url)
    world.upload(*PEOPLE)
    world.register()
    world.work()
    return world


def run_until_death(world: World, at: str) -> bool:
    """Run jobs with a worker that dies at a point; True when it got there."""
    try:
        world.work(deps=dying(world, at))
    except Died:
        leases_run_out(world)
        return True
    return False


def leases_run_out(world: World) -> None:
    """Time passes: whoever holds a job and does not say so any more has lost it."""
    with world.ledger.database.begin() as tx:
        tx.session.execute(update(Job).where(Job.state == "running").values(lease_until=0))


def finish(world: World, request_id: str) -> None:
    """A healthy worker takes over once the lease has run out."""
    healthy = make_deps(world.ledger)

    def done() -> bool:
        run_next(healthy)
        return world.request(request_id).state == "completed" and not world.jobs("running") and not world.jobs("ready")

    wait_until(done, 10, "the request to be completed")
    sweep(healthy)


def check_one_erasure(world: World, request_id: str, never_saw: World) -> None:
    assert world.statistics() == never_saw.statistics()
    assert world.weights() == never_saw.weights()
    with world.ledger.database.read() as tx:
        certificates.get(tx, world.tenant_id, request_id)
        of_request = select(func.count()).select_from(Certificate).where(Certificate.request_id == request_id)
        assert tx.session.execute(of_request).scalar_one() == 1
        completed = (
            select(func.count()).select_from(Event).where(Event.kind == "forget.completed", Event.subject == request_id)
        )
        assert tx.session.execute(completed).scalar_one() == 1
    assert leftovers(world.ledger) == []


def test_dying_twice_at_every_point_ends_in_one_erasure(
    new_world: NewWorld, only_ever: Callable[..., World], database_url: str
) -> None:
    points = points_of_a_forget(trained(new_world))
    assert len(points) >= 15
    never_saw = only_ever(*(p for p in PEOPLE if p.name != "person-1"))
    world = trained(new_world, database_url)
    came_past_once = []
    for at in points:
        request_id = world.forget("person-1")
        assert run_until_death(world, at), at
        if not run_until_death(world, at):
            came_past_once.append(at)
            assert world.request(request_id).state == "completed", "the second worker ends what the first has done"
        finish(world, request_id)
        check_one_erasure(world, request_id, never_saw)
        world.upload(next(p for p in PEOPLE if p.name == "person-1"), suppressed=False)
        world.work()
    # What these stand for is durable and done, so the next worker goes on from there.
    assert came_past_once == ["advance.published", "purge.shard_replaced", "purge.completed"]


def test_a_worker_that_wakes_up_after_its_lease_publishes_nothing(new_world: NewWorld) -> None:
    """While it slept, another worker did the job; what the sleeper made is refused and swept."""
    world = trained(new_world)
    request_id = world.forget("person-1")
    numbers = []

    def sleep_through(name: str) -> None:
        if name == "advance.checked":
            leases_run_out(world)
            wait_until(other_worker_finished, 10, "the other worker")

    def other_worker_finished() -> bool:
        run_next(make_deps(world.ledger, worker="other"))
        done = world.request(request_id).state == "completed"
        if done:
            numbers.append(world.active().number)
        return done

    sleeper = make_deps(world.ledger, worker="sleeper", point=sleep_through)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("workers.runner.heartbeat", no_heartbeat)
        run_next(sleeper)
    assert numbers == [2]
    assert world.active().number == 2
    sweep(make_deps(world.ledger))
    with world.ledger.database.read() as tx:
        assert inventory.unfinished(tx, world.tenant_id) == []


class no_heartbeat:  # noqa: N801 (stands in for a function)
    """A process that sleeps does not renew its leases either."""

    def __init__(self, *_: object) -> None:
        pass

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


def test_every_point_is_described_in_the_flows(new_world: NewWorld) -> None:
    described = set(re.findall(r"`((?:advance|purge)\.[a-z_]+)`", FLOWS.read_text()))
    assert set(points_of_a_forget(trained(new_world))) == described


def test_events_are_written_in_canonical_bytes_with_their_leaf_hash(new_world: NewWorld) -> None:
    world = trained(new_world)
    world.forget("person-1")
    world.work()
    with world.ledger.database.read() as tx:
        rows = list(tx.session.execute(select(Event)).scalars())
    assert {"forget.accepted", "forget.resolved", "forget.published", "forget.purging", "forget.completed"} <= {
        row.kind for row in rows
    }
    assert all(row.leaf_hash == leaf_hash(row.body) for row in rows)
