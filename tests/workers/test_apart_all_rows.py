"""Models whose every version needs stored rows, when some of these cannot be read."""

from __future__ import annotations

import pytest
from sqlalchemy import select
from support.damaging import deferred, features_of, lose, rebuilt, retry, settle, states
from support.leftovers import leftovers
from support.world import NewWorld, World, person

from ledger import jobs
from ledger.log.sequencer import sequence
from ledger.tables import RequestModel
from workers.replay.run import Asked, replay

RECORDS = 3
NOISE = {"noise": "isotropic", "sigma": 0.2, "kappa": 0.2, "mu": 0.05}


@pytest.fixture
def world(new_world: NewWorld) -> World:
    """Each person's records are in a shard of their own; there is one model, with the exact solver."""
    world = new_world(shard_records=RECORDS)
    world.upload(*(person(f"person-{i}", RECORDS) for i in range(5)))
    world.register()
    world.work()
    return world


def fell_back(world: World, model_id: str) -> object:
    return (world.active(model_id).measured or {})["fell_back"]


def passed(world: World, request_id: str) -> set[str]:
    """Return the models that have passed a request."""
    with world.ledger.database.read() as tx:
        query = select(RequestModel.model_id).where(RequestModel.request_id == request_id)
        return set(tx.session.execute(query.where(RequestModel.version_id.is_not(None))).scalars())


def test_descent_gives_way_to_the_exact_solver(world: World) -> None:
    """Statistics are enough for that one: neither a deferred record nor a retained one stops a version."""
    sgd = world.register("sgd", solver="sgd", **NOISE)
    settle(world)
    put_back = lose(world, features_of(world, "person-1", sgd)), lose(world, features_of(world, "person-2", sgd))
    bad, good = world.forget("person-1"), world.forget("person-0")
    settle(world)
    assert states(world, bad, good) == ["failed", "completed"]
    assert (world.request(bad).error or "").startswith("model sgd: ObjectMissing: ")
    assert passed(world, bad) == {world.model_id}
    assert fell_back(world, sgd) is True
    for again in put_back:
        again()
    assert rebuilt(world, sgd) == {"equal": True, "records": 4 * RECORDS}
    sequence(world.ledger.database, world.ledger.ring)
    assert replay(world.deps, Asked("sgd", "default", 10), lambda *_: None).passed
    retry(world)
    assert (states(world, bad), deferred(world), fell_back(world, sgd)) == (["completed"], 0, False)
    assert rebuilt(world, sgd) == {"equal": True, "records": 3 * RECORDS}
    assert leftovers(world.ledger) == []


def test_a_model_with_an_exposure_budget_needs_every_row_and_says_so(world: World) -> None:
    """Its account has to look at every retained record; other models go on, and so does it after the repair."""
    budgeted = world.register("budgeted", exposure_budget=1e6, **NOISE)
    settle(world)
    put_back = lose(world, features_of(world, "person-1", budgeted))
    request_id = world.forget("person-0")
    settle(world)
    assert states(world, request_id) == ["scrubbing"]
    assert (world.request(request_id).error or "").startswith("model budgeted: ObjectMissing: ")
    assert (passed(world, request_id), deferred(world)) == ({world.model_id}, 0)
    put_back()
    assert retry(world) == jobs.ADVANCE
    assert (states(world, request_id), world.request(request_id).error) == (["completed"], None)
    assert leftovers(world.ledger) == []
