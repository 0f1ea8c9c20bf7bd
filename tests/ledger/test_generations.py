"""Lines and generations: migrated models, unique numbers, names, and what cannot be undone."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from sqlalchemy import inspect, select, text
from support.waiting import wait_until
from support.world import NewWorld, World, make_deps, person

from ledger import catalog, generations, lines
from ledger.errors import DowngradeRefused, ModelRetired, NameTaken, SuccessorNotReady, SuccessorPending
from ledger.migrate import downgrade, upgrade
from ledger.tables import Generation, Model, ModelVersion
from workers.runner import run_next


@pytest.fixture
def world(new_world: NewWorld, database_url: str) -> World:
    made = new_world(database_url, core_people=4)
    made.upload(person("ada"))
    made.register()
    return made


def succeed(world: World, **changes: object) -> Model:
    with world.ledger.database.begin() as tx:
        plan = lines.plan_of(tx, generations.current(tx, world.model_id))
        return lines.register_successor(tx, world.model_id, replace(plan, **changes), cut_over=lines.MANUAL)[0]


def test_models_of_before_become_lines_of_their_own(world: World) -> None:
    engine = world.ledger.database.engine
    downgrade(engine, "0004")
    assert "generations" not in inspect(engine).get_table_names()
    upgrade(engine)
    with world.ledger.database.read() as tx:
        (row,) = tx.session.execute(select(Generation)).scalars()
        assert (row.model_id, row.line_id, row.number, row.is_current) == (world.model_id, world.model_id, 1, True)
    world.work()
    assert world.active().number == 1


def test_older_programs_do_not_get_two_generations(world: World) -> None:
    succeed(world)
    with pytest.raises(DowngradeRefused, match="successors"):
        downgrade(world.ledger.database.engine, "0004")
    with world.ledger.database.read() as tx:
        assert len(generations.all_of(tx, world.model_id)) == 2


def test_the_database_itself_allows_one_current_generation(world: World) -> None:
    beside = succeed(world)
    with pytest.raises(Exception, match=r"(?i)unique"), world.ledger.database.begin() as tx:
        tx.session.execute(text("UPDATE generations SET is_current = TRUE WHERE model_id = :id"), {"id": beside.id})


def test_numbers_are_unique_though_generations_publish_at_once(world: World) -> None:
    world.work()
    succeed(world, seed=8)
    world.work()
    world.forget("ada")
    both = threading.Barrier(2, timeout=30)

    def point(name: str) -> None:
        if name == "advance.checked":
            both.wait()

    def advance(worker: str) -> None:
        deps = make_deps(world.ledger, worker=worker, point=point)
        wait_until(lambda: run_next(deps), 20, "a job")

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(advance, ["one", "other"]))
    with world.ledger.database.read() as tx:
        found = catalog.list_versions(tx, world.tenant_id, world.model_id)
    assert [version.number for version, _ in found] == [4, 3, 2, 1]
    assert {generation for version, generation in found if version.number > 2} == {1, 2}


def test_there_is_one_successor_at_a_time(world: World) -> None:
    beside = succeed(world)
    with pytest.raises(SuccessorPending, match=beside.id):
        succeed(world)


def test_nobody_takes_over_too_early(world: World) -> None:
    def take_over() -> None:
        with world.ledger.database.begin() as tx:
            lines.cut_over(tx, world.model_id)

    with pytest.raises(SuccessorNotReady, match="has none"):
        take_over()
    beside = succeed(world)
    with pytest.raises(SuccessorNotReady, match="it is training"):
        take_over()
    with world.ledger.database.begin() as tx:
        tx.session.get_one(Model, beside.id).state = "ready"
    with pytest.raises(SuccessorNotReady, match="no version"):
        take_over()
    with world.ledger.database.begin() as tx:
        lines.delete(tx, world.tenant_id, world.model_id)
    with pytest.raises(SuccessorNotReady, match="has none"):
        take_over()
    with pytest.raises(ModelRetired):
        succeed(world)


def test_names_fit_and_stay_taken(world: World) -> None:
    assert len(lines.beside("n" * 200, "generation 12, " + "0" * 32)) == lines.LONGEST_NAME
    succeed(world)
    with pytest.raises(NameTaken):
        world.register("model")
    with world.ledger.database.read() as tx:
        (shown,) = catalog.list_models(tx, world.tenant_id)
        assert shown.name == "model"
        assert tx.session.execute(select(ModelVersion)).first() is None


def test_a_successor_that_may_take_over_is_told_to_follow_when_it_falls_behind(world: World) -> None:
    beside = succeed(world)
    world.work()
    with world.ledger.database.begin() as tx:
        generation, new = generations.successor(tx, world.model_id) or (None, None)
        assert generation is not None
        assert new is not None
        generation.cut_over = lines.WHEN_READY
        current = generations.current(tx, world.model_id)
        current.applied_seq = (new.applied_seq or 0) + 1
        tx.session.flush()
        lines.cut_over_if_due(tx, world.model_id)
        assert generations.current(tx, world.model_id).id == world.model_id
    (job,) = world.jobs("ready")
    assert (job.kind, job.model_id) == ("advance", beside.id)
