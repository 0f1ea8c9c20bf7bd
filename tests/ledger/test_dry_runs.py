"""What a dry run asked and answered does not outlive its purpose."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from sqlalchemy import text, update
from support.dry_runs import HOUR_US, ask, evaluated, job, question, result
from support.world import NewWorld, World, make_deps, person

from ledger import dry_runs, jobs, requests, tenants
from ledger.errors import LeaseLost, WrongState
from ledger.selectors import Selector
from ledger.tables import Base, DryRun, Job
from workers.errors import CheckFailed
from workers.sweeping import sweep


@pytest.fixture
def world(new_world: NewWorld, database_url: str) -> World:
    return evaluated(new_world(database_url))


def test_the_question_holds_keyed_hashes_and_goes_with_the_answer(world: World) -> None:
    job_id = ask(world, record_ids=("person-1/0",))
    (row,) = question(world)
    assert "person-1" not in json.dumps(row.selector)
    assert row.expires_at is None
    world.work()
    (row,) = question(world)
    assert (row.selector, row.job_id) == (None, job_id)
    assert row.result is not None
    stored = raw(world)
    assert "keys" not in stored
    assert "accuracy_after" in stored


def raw(world: World) -> str:
    with world.ledger.database.engine.connect() as connection:
        return "\n".join(str(row) for row in connection.execute(text("SELECT * FROM dry_runs"))) + "\n".join(
            str(row) for row in connection.execute(text("SELECT * FROM jobs"))
        )


def test_an_answer_lives_for_an_hour(world: World) -> None:
    job_id = ask(world, "person-1")
    world.work()
    assert result(world, job_id) is not None
    sweep(world.ledger)
    assert result(world, job_id) is not None
    with world.ledger.database.begin() as tx:
        row = tx.session.get_one(DryRun, job_id)
        assert row.expires_at is not None
        assert tx.now < row.expires_at <= tx.now + HOUR_US
        row.expires_at = tx.now
    assert result(world, job_id) is None  # also before anybody has swept
    sweep(world.ledger)
    assert question(world) == []
    assert "accuracy_after" not in raw(world)


def test_removing_anybody_ends_every_answer_at_once(world: World) -> None:
    """What was measured on a version dies with it, whomever the question was about."""
    job_id = ask(world, "person-1")
    world.work()
    other = ask_of_another_tenant(world)
    world.forget("person-2")
    with world.ledger.database.begin() as tx:
        requests.resolve_accepted(tx, world.tenant_id)
    assert result(world, job_id) is None
    assert [row.job_id for row in question(world)] == [other]
    world.work()
    assert job(world, job_id).state == "done"


def ask_of_another_tenant(world: World) -> int:
    with world.ledger.database.begin() as tx:
        tenant = tenants.create_tenant(tx, world.ledger.ring, "other")
        hasher = tenants.alias_hasher(tx, world.ledger.ring, tenant.id)
        return dry_runs.ask(tx, tenant.id, Selector(everything=True), hasher, regulation="gdpr").id


def test_an_answer_that_came_while_records_were_leaving_ends_before_they_are_called_gone(world: World) -> None:
    """It was measured on the version that still knew them."""
    world.forget("person-2")
    with world.ledger.database.begin() as tx:
        requests.resolve_accepted(tx, world.tenant_id)
        tx.session.execute(update(Job).where(Job.state == "ready").values(not_before=tx.now + HOUR_US))
    job_id = ask(world, "person-1")
    world.work()
    assert result(world, job_id) is not None
    with world.ledger.database.begin() as tx:
        tx.session.execute(update(Job).where(Job.state == "ready").values(not_before=tx.now))
    world.work()
    assert (result(world, job_id), question(world)) == (None, [])


def stop_at(point: str, act: Callable[[], None]) -> Callable[[str], None]:
    """Do something once, when a worker comes past a point."""
    left = [act]

    def come_past(name: str) -> None:
        if name == point and left:
            left.pop()()

    return come_past


def test_a_version_that_is_published_meanwhile_starts_it_again(world: World) -> None:
    def publish() -> None:
        world.upload(person("late"))
        claim_and_finish(world)

    job_id = ask(world, "person-1")
    deps = make_deps(world.ledger, point=stop_at("dry_run.measured", publish))
    before = world.active().number
    world.work(deps=deps)
    assert world.active().number == before + 1
    found = None
    with world.ledger.database.begin() as tx:
        tx.session.execute(update(Job).where(Job.state == "ready").values(not_before=tx.now))
    world.work()
    found = result(world, job_id)
    assert found is not None
    assert found["models"][0]["version"] == before + 1


def claim_and_finish(world: World) -> None:
    """Do all other jobs while one is running."""
    world.work(deps=make_deps(world.ledger, worker="another"))


@pytest.mark.parametrize("point", ["dry_run.claimed", "dry_run.found", "dry_run.measured"])
def test_somebody_in_question_who_is_forgotten_meanwhile(world: World, point: str) -> None:
    def forget() -> None:
        world.forget("person-1")
        claim_and_finish(world)

    job_id = ask(world, "person-1", "person-2")
    world.work(deps=make_deps(world.ledger, point=stop_at(point, forget)))
    world.work()
    ended = job(world, job_id)
    assert (ended.state, ended.result) == ("failed", None)
    assert "Ask again" in (ended.error or "")
    assert question(world) == []
    with world.ledger.database.begin() as tx, pytest.raises(WrongState):
        jobs.retry(tx, world.tenant_id, job_id)


@pytest.mark.parametrize("point", ["dry_run.claimed", "dry_run.found", "dry_run.measured"])
def test_somebody_else_who_is_forgotten_meanwhile(world: World, point: str) -> None:
    def forget() -> None:
        world.forget("person-3")
        claim_and_finish(world)

    job_id = ask(world, "person-1")
    world.work(deps=make_deps(world.ledger, point=stop_at(point, forget)))
    with world.ledger.database.begin() as tx:
        tx.session.execute(update(Job).where(Job.state == "ready").values(not_before=tx.now))
    world.work()
    found = result(world, job_id)
    assert found is not None
    assert found["models"][0]["version"] == world.active().number == 2


def test_a_removal_that_no_model_has_folded_yet_starts_it_again(world: World) -> None:
    """The versions are still the same, but what was found may not be."""

    def remove() -> None:
        world.forget("person-3")
        with world.ledger.database.begin() as tx:
            requests.resolve_accepted(tx, world.tenant_id)
            tx.session.execute(update(Job).where(Job.state == "ready").values(not_before=tx.now + HOUR_US))
            tx.session.execute(update(Job).where(Job.kind == jobs.DRY_RUN).values(not_before=0))

    job_id = ask(world, everything=True)
    world.work(deps=make_deps(world.ledger, point=stop_at("dry_run.measured", remove)))
    assert job(world, job_id).state == "done"
    (model,) = (result(world, job_id) or {})["models"]
    assert (model["version"], model["records"]) == (1, 28)


def test_a_question_that_waits_while_its_subject_is_forgotten(world: World) -> None:
    waiting, other, all_of_them = ask(world, "person-1"), ask(world, "person-2"), ask(world, everything=True)
    world.forget("person-1")
    with world.ledger.database.begin() as tx:
        requests.resolve_accepted(tx, world.tenant_id)
    assert job(world, waiting).state == "failed"
    assert {row.job_id for row in question(world)} == {other, all_of_them}
    world.work()
    assert result(world, other) is not None
    assert (result(world, all_of_them) or {})["records"] == 28


def test_a_dry_run_that_fails_lets_go_of_its_question(world: World) -> None:
    def break_down(*_: object, **__: object) -> object:
        raise CheckFailed("labels", "of the test")

    job_id = ask(world, "person-1")
    failing = make_deps(world.ledger, fold=break_down)
    while job(world, job_id).state != "failed":
        with world.ledger.database.begin() as tx:
            tx.session.execute(update(Job).values(not_before=0))
        world.work(deps=failing)
    assert question(world) == []


def test_a_worker_that_dies_leaves_the_question_to_the_next(world: World) -> None:
    job_id = ask(world, "person-1")
    dead = jobs.claim(world.ledger.database, "dead", lease_us=1)
    assert dead is not None
    world.work()
    assert result(world, job_id) is not None
    with world.ledger.database.begin() as tx, pytest.raises(LeaseLost):
        dry_runs.finish(tx, dead, None, {"records": 0})


def test_a_destroyed_models_figures_go_with_it(world: World) -> None:
    from ledger import lines

    job_id = ask(world, "person-1")
    world.work()
    assert result(world, job_id) is not None
    with world.ledger.database.begin() as tx:
        lines.delete(tx, world.tenant_id, world.model_id)
    world.work()
    assert question(world) == []


def test_nothing_is_found_of_it_when_the_person_is_forgotten(world: World) -> None:
    """The search for everything: rows, and on SQLite every byte of the database's files."""
    job_id = ask(world, "person-1")
    world.work()
    (row,) = question(world)
    figures = [repr(row.result["models"][0][name]) for name in ("largest_change", "mean_change")] if row.result else []
    assert all(len(one) > 10 for one in figures)
    assert all(one in kept(world) for one in figures), "the search must find what is there"
    waiting = ask(world, record_ids=("person-1/1",))
    (hashes,) = [row.selector["keys"] for row in question(world) if row.job_id == waiting and row.selector]
    assert hashes[0] in kept(world)
    request_id = world.forget("person-1")
    world.work()
    assert world.request(request_id).outcome == "erased"
    left = kept(world)
    for one in (*figures, *hashes, "accuracy_after", "labels_flipped", "person-1"):
        assert one not in left, one
    assert job(world, job_id).result is None


def kept(world: World) -> str:
    with world.ledger.database.engine.connect() as connection:
        found = [
            str(row) for name in Base.metadata.tables for row in connection.execute(text(f'SELECT * FROM "{name}"'))
        ]
    if world.ledger.database.is_sqlite:
        from pathlib import Path

        path = Path(world.ledger.database.engine.url.database or "")
        found += [file.read_bytes().decode("latin-1") for file in path.parent.glob(f"{path.name}*")]
    return "\n".join(found)
