"""A dry run says what forgetting would do, changes nothing, and leaves nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select, text, update
from support.world import CLASSES, SHAPE, NewWorld, Person, World, make_deps, person

from ledger import catalog, dry_runs, jobs, requests, tenants
from ledger.errors import LeaseLost, SelectorInvalid, WrongState
from ledger.selectors import Selector, SubjectName
from ledger.tables import Base, DryRun, Job
from unlearning.errors import ProblemRefused
from workers.errors import CheckFailed
from workers.sweeping import sweep

PEOPLE = [person(f"person-{i}", 4) for i in range(8)]
HOUR_US = 3_600_000_000


@pytest.fixture
def world(new_world: NewWorld, database_url: str) -> World:
    return evaluated(new_world(database_url))


def evaluated(world: World, **changes: Any) -> World:
    """Train a model that is measured on a public cohort of its own."""
    with world.ledger.database.begin() as tx:
        evaluation = catalog.create_cohort(
            tx, world.tenant_id, name="evaluation", kind="core", shape=SHAPE, dtype="float32", class_names=CLASSES
        ).id
    world.upload(*(person(f"test-{i}", 6) for i in range(8)), cohort_id=evaluation, subjects=False)
    world.upload(*PEOPLE)
    world.register(evaluation_cohort_id=evaluation, **changes)
    world.work()
    return world


def ask(world: World, *names: str, **selector: Any) -> int:
    chosen = Selector(subjects=tuple(SubjectName("controller_customer_id", "raw", n) for n in names), **selector)
    with world.ledger.database.begin() as tx:
        hasher = tenants.alias_hasher(tx, world.ledger.ring, world.tenant_id)
        return dry_runs.ask(tx, world.tenant_id, chosen, hasher, regulation="gdpr").id


def result(world: World, job_id: int) -> dict[str, Any] | None:
    with world.ledger.database.read() as tx:
        return dry_runs.results(tx, [job_id]).get(job_id)


def predicted(world: World, *names: str, **selector: Any) -> dict[str, Any]:
    job_id = ask(world, *names, **selector)
    world.work()
    found = result(world, job_id)
    assert found is not None, job(world, job_id).error
    return found


def job(world: World, job_id: int) -> Job:
    with world.ledger.database.read() as tx:
        found: Job = tx.session.get_one(Job, job_id)
    return found


def everything(world: World, *, but: tuple[str, ...] = ()) -> dict[str, Any]:
    """Every row of every table and every byte of every object."""
    with world.ledger.database.read() as tx:
        stored: dict[str, Any] = {
            name: sorted(repr(tuple(row)) for row in tx.session.execute(table.select()))
            for name, table in Base.metadata.tables.items()
            if name not in but
        }
    return stored | {name: world.ledger.objects.read(name) for name in world.ledger.objects.names()}


def question(world: World) -> list[DryRun]:
    with world.ledger.database.read() as tx:
        return list(tx.session.execute(select(DryRun)).scalars())


@pytest.mark.parametrize(
    "selector",
    [{"names": ["person-1"]}, {"record_ids": ("person-1/0", "person-2/3")}, {"labels": (1,)}, {"everything": True}],
)
def test_nothing_is_changed_and_the_real_request_does_what_was_predicted(
    new_world: NewWorld, database_url: str, selector: dict[str, Any]
) -> None:
    world = evaluated(new_world(database_url))
    names, rest = selector.get("names", []), {k: v for k, v in selector.items() if k != "names"}
    before = everything(world, but=("dry_runs",))
    found = predicted(world, *names, **rest)
    after = everything(world, but=("dry_runs",))
    (own,) = set(after.pop("jobs")) - set(before["jobs"])
    assert "dry_run" in own
    assert after == {name: stored for name, stored in before.items() if name != "jobs"}
    assert [one.result for one in all_jobs(world) if one.kind == jobs.DRY_RUN] == [None]
    (model,) = found["models"]
    assert model["model"] == world.model_id
    assert model["version"] == world.active().number
    assert model["accuracy_before"] == (world.active().measured or {})["accuracy"]
    assert model["evaluated"] == 48
    assert (model["exposure"], model["problem"]) == (None, None)
    assert "without noise" in model["exposure_note"]

    request_id = world.forget(*names, **rest)
    world.work()
    request = world.request(request_id)
    assert (request.records, request.outcome) == (found["records"], found["outcome"])
    assert (world.active().measured or {})["accuracy"] == model["accuracy_after"]
    assert model["records"] == found["records"] > 0


def all_jobs(world: World) -> list[Job]:
    with world.ledger.database.read() as tx:
        return list(tx.session.execute(select(Job).order_by(Job.id)).scalars())


def test_predictions_are_compared_as_they_will_be(world: World) -> None:
    from unlearning.prediction import predict_logits, probabilities
    from unlearning.weights import weights_from_bytes
    from workers import models

    public = models.load_public(world.deps, world.model_id)
    x = np.concatenate([person(f"test-{i}", 6).x for i in range(8)])
    old = predict_logits(public, weights_from_bytes(world.weights()), x)
    found = predicted(world, "person-1", "person-2")["models"][0]
    world.forget("person-1", "person-2")
    world.work()
    new = predict_logits(public, weights_from_bytes(world.weights()), x)
    moved = np.abs(probabilities(new) - probabilities(old))
    # prediction extracts features without padding, so a feature may differ by one step of the grid
    assert found["largest_change"] == pytest.approx(moved.max(), rel=1e-2)
    assert found["mean_change"] == pytest.approx(moved.mean(), rel=1e-2)
    assert found["mean_change"] > 0
    assert found["labels_flipped"] == int((old.argmax(1) != new.argmax(1)).sum())


def test_nobody_and_people_on_hold(world: World) -> None:
    nobody = predicted(world, "stranger")
    assert (nobody["outcome"], nobody["records"], nobody["models"]) == ("no_match", 0, [])
    world.hold("person-1")
    held = predicted(world, "person-1")
    assert (held["outcome"], held["records"], held["held"]) == ("on_hold", 0, 4)
    partly = predicted(world, "person-1", "person-2")
    assert (partly["outcome"], partly["records"], partly["held"]) == ("erased", 4, 4)
    assert partly["models"][0]["records"] == 4
    request = world.request(world.forget("person-1", "person-2"))
    world.work()
    request = world.request(request.id)
    assert (request.outcome, request.records, request.held) == ("erased", 4, 4)


def test_content_that_the_core_holds_too(world: World) -> None:
    public = person("public-0", 5)
    world.upload(Person("copy", public.x[:2], public.y[:2]))
    world.work()
    found = predicted(world, "copy", "person-1")
    assert (found["outcome"], found["records"], found["in_core"]) == ("partially_core", 6, 2)
    request_id = world.forget("copy", "person-1")
    world.work()
    assert world.request(request_id).outcome == "partially_core"


def test_the_ridge_is_chosen_as_it_will_be(new_world: NewWorld) -> None:
    world = evaluated(new_world(), mu=None, mu_grid=(1e-3, 1e-1, 1.0))
    model = predicted(world, "person-0")["models"][0]
    world.forget("person-0")
    world.work()
    assert (world.active().measured or {})["accuracy"] == model["accuracy_after"]


def test_a_model_without_evaluation_records_and_one_without_a_version(new_world: NewWorld) -> None:
    world = new_world()
    world.upload(*PEOPLE)
    world.register()
    world.work()
    world.register("late")  # not trained yet: it has no version to measure
    with world.ledger.database.begin() as tx:
        tx.session.execute(update(Job).where(Job.state == "ready").values(not_before=tx.now + HOUR_US))
    (model,) = predicted(world, "person-0")["models"]
    assert model["model"] == world.model_id
    assert (model["evaluated"], model["records"]) == (0, 4)
    assert (model["accuracy_before"], model["labels_flipped"]) == (None, None)


def test_a_solve_that_will_be_refused_is_told(world: World) -> None:
    def refuse(*_: object, **__: object) -> object:
        raise ProblemRefused(1.0, 0.5, "too ill-conditioned")

    job_id = ask(world, "person-0")
    world.work(deps=make_deps(world.ledger, solve=refuse))
    model = (result(world, job_id) or {})["models"][0]
    assert "too ill-conditioned" in model["problem"]
    assert model["accuracy_after"] is None
    assert model["accuracy_before"] is not None


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


def test_what_a_request_would_refuse_is_refused(world: World) -> None:
    before = everything(world)
    with pytest.raises(SelectorInvalid):
        ask(world)
    assert everything(world) == before


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
