"""The audit: summing every stored record anew gives the active version's statistics, or says that it does not."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import select, update
from support.world import NewWorld, World, make_deps, person

from ledger import jobs, requests
from ledger.tables import Event, Job, Record
from unlearning.quantization import QuantizationPlan
from unlearning.rows import QuantizedRows
from unlearning.statistics import Statistics
from workers.deps import fold
from workers.runner import run_next

PEOPLE = [person(f"person-{i}") for i in range(6)]


@pytest.fixture
def world(new_world: NewWorld, database_url: str) -> World:
    world = new_world(database_url)
    world.upload(*PEOPLE)
    world.register()
    world.work()
    return world


def rebuild(world: World, **changes: object) -> Job:
    with world.ledger.database.begin() as tx:
        job_id = jobs.add(tx, world.tenant_id, jobs.REBUILD, lock_key="rebuild", model_id=world.model_id).id
    assert run_next(make_deps(world.ledger, **changes))
    with world.ledger.database.read() as tx:
        return tx.session.get_one(Job, job_id)


def test_it_equals_the_folded_statistics_after_every_kind_of_change(world: World) -> None:
    counts = []
    for step in (lambda: world.upload(person("late")), lambda: world.forget("person-2"), lambda: None):
        step()
        world.work()
        result = rebuild(world).result
        assert result is not None
        assert result["equal"] is True
        counts.append(result["records"])
    assert counts == [21, 18, 18]
    with world.ledger.database.read() as tx:
        bodies = tx.session.execute(select(Event.body).where(Event.kind == "model.rebuilt")).scalars().all()
    assert [json.loads(body)["equal"] for body in bodies] == [True] * 3


def test_removals_that_the_version_does_not_know_yet_are_still_counted(world: World) -> None:
    world.forget("person-2")
    with world.ledger.database.begin() as tx:
        requests.resolve_accepted(tx, world.tenant_id)
        tx.session.execute(update(Job).where(Job.state == "ready").values(not_before=2**60))
    result = rebuild(world).result
    assert result is not None
    assert (result["equal"], result["records"]) == (True, 18)


def test_a_difference_is_told(world: World) -> None:
    with world.ledger.database.begin() as tx:
        lost = tx.session.execute(select(Record.id).where(Record.cohort_id == world.user_id).limit(1)).scalar_one()
        tx.session.execute(update(Record).where(Record.id == lost).values(removed_seq=0))
    result = rebuild(world).result
    assert result is not None
    assert (result["equal"], result["records"]) == (False, 17)
    with world.ledger.database.read() as tx:
        (body,) = tx.session.execute(select(Event.body).where(Event.kind == "model.rebuilt")).scalars()
    assert json.loads(body)["equal"] is False


def test_a_wrong_sum_is_told(world: World) -> None:
    def faulty(before: Statistics, added: QuantizedRows, removed: QuantizedRows, plan: QuantizationPlan) -> Statistics:
        return fold(before, added.take(slice(1, None)), removed, plan)

    result = rebuild(world, fold=faulty).result
    assert result is not None
    assert result["equal"] is False
