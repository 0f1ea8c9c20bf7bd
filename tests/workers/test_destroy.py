"""A worker that dies at any point of a destruction leaves one that ends the same way once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sqlalchemy import func, select, update
from support.dying import Died, dying
from support.leftovers import leftovers
from support.waiting import wait_until
from support.world import NewWorld, World, make_deps, person

from ledger import jobs, leases, lines
from ledger.tables import Destruction, Event, Job, Model
from workers.loop import sweep
from workers.runner import run_next

PEOPLE = [person(f"person-{i}") for i in range(4)]
FLOWS = Path(__file__).parents[2] / "docs" / "flows.md"


def trained(new_world: NewWorld, database_url: str | None = None) -> World:
    world = new_world(database_url)
    world.upload(*PEOPLE)
    world.register()
    world.work()
    return world


def delete(world: World, model_id: str) -> int:
    with world.ledger.database.begin() as tx:
        return lines.delete(tx, world.tenant_id, model_id)[1].id


def points_of_a_destruction(world: World) -> list[str]:
    passed: list[str] = []
    delete(world, world.model_id)
    world.work(deps=make_deps(world.ledger, point=passed.append))
    return list(dict.fromkeys(passed))


def test_dying_at_every_point_ends_in_one_destruction(new_world: NewWorld, database_url: str) -> None:
    points = points_of_a_destruction(trained(new_world))
    assert len(points) >= 8
    world = trained(new_world, database_url)
    healthy = make_deps(world.ledger)
    for number, at in enumerate(points):
        other = world.register(f"model {number}")
        world.work()
        bytes_before = (world.statistics(), world.weights())
        job_id = delete(world, other)
        with pytest.raises(Died):
            world.work(deps=dying(world, at))
        with world.ledger.database.begin() as tx:  # time passes, and the dead worker's lease runs out
            tx.session.execute(update(Job).where(Job.state == "running").values(lease_until=0))

        def done(job_id: int = job_id) -> bool:
            run_next(healthy)
            with world.ledger.database.read() as tx:
                return tx.session.get_one(Job, job_id).state == "done"

        wait_until(done, 10, f"the destruction after a death at {at}")
        sweep(healthy)
        with world.ledger.database.read() as tx:
            assert tx.session.get_one(Model, other).state == "destroyed", at
            tx.session.get_one(Destruction, other)
            of_model = select(func.count()).where(Event.kind == "model.destroyed", Event.subject == other)
            assert tx.session.execute(of_model).scalar_one() == 1, at
        assert leftovers(world.ledger) == [], at
        assert (world.statistics(), world.weights()) == bytes_before, at  # the other model is untouched
    request_id = world.forget("person-1")
    world.work()
    assert world.request(request_id).state == "completed"


def test_every_point_is_described_in_the_flows(new_world: NewWorld) -> None:
    described = set(re.findall(r"^\| `(destroy\.[a-z_]+)`", FLOWS.read_text(), re.M))
    assert set(points_of_a_destruction(trained(new_world))) == described


def test_a_retired_model_gets_no_lease(new_world: NewWorld, database_url: str) -> None:
    world = trained(new_world, database_url)
    database = world.ledger.database
    assert leases.renew(database, "this", {world.model_id: 1}, ttl_us=60_000_000) == {world.model_id}
    job_id = delete(world, world.model_id)
    assert leases.renew(database, "this", {world.model_id: 1}, ttl_us=90_000_000) == frozenset()
    assert leases.renew(database, "late", {world.model_id: 1}, ttl_us=60_000_000) == frozenset()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("workers.destroy.WAIT_US", 0)
        assert run_next(world.deps)
    with database.read() as tx:
        assert tx.session.get_one(Job, job_id).state == "ready"  # it waits for the lease that was given before
    leases.release(database, "this")
    wait_until(lambda: run_next(world.deps), 10, "the job to be due again")
    with database.read() as tx:
        assert tx.session.get_one(Job, job_id).state == "done"


def test_a_job_that_still_works_on_the_model_is_waited_for(new_world: NewWorld) -> None:
    """It has the model in memory, so the model may not be called gone."""
    world = trained(new_world)
    with world.ledger.database.begin() as tx:
        jobs.add_advance(tx, world.tenant_id, world.model_id)
    working = jobs.claim(world.ledger.database, "another", lease_us=60_000_000)
    assert working is not None
    job_id = delete(world, world.model_id)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("workers.destroy.WAIT_US", 0)
        assert run_next(world.deps)
    with world.ledger.database.read() as tx:
        assert tx.session.get_one(Job, job_id).state == "ready"  # it waits
        assert tx.session.get_one(Model, world.model_id).state == "retiring"
    with world.ledger.database.begin() as tx:
        jobs.finish(tx, working)
    wait_until(lambda: run_next(world.deps), 10, "the job to be due again")
    with world.ledger.database.read() as tx:
        assert tx.session.get_one(Job, job_id).state == "done"


def test_what_is_still_in_the_store_after_its_deletion_is_not_certified(
    new_world: NewWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = trained(new_world)
    job_id = delete(world, world.model_id)
    with monkeypatch.context() as patch:
        patch.setattr("ledger.objects.LocalObjectStore.delete", lambda *_: None)
        assert run_next(world.deps)
    with world.ledger.database.read() as tx:
        job = tx.session.get_one(Job, job_id)
        assert (job.state, (job.error or "").partition(":")[0]) == ("ready", "CheckFailed")
        assert tx.session.get(Destruction, world.model_id) is None
    wait_until(lambda: run_next(world.deps), 10, "the job to be due again")
    with world.ledger.database.read() as tx:
        assert tx.session.get_one(Job, job_id).state == "done"
        tx.session.get_one(Destruction, world.model_id)
    assert leftovers(world.ledger) == []
