"""Training a core: from core data alone, the same twice, and with nothing left over when it cannot be done."""

from __future__ import annotations

import numpy as np
import pytest
from sqlalchemy import select, update
from support.world import CLASSES, SHAPE, NewWorld, Person, World, person

from ledger import catalog, inventory, jobs
from ledger.tables import Job, Model, StoredObject, Upload
from workers import records
from workers.runner import run_next


@pytest.fixture
def world(new_world: NewWorld, database_url: str) -> World:
    return new_world(database_url)


def model(world: World, model_id: str) -> Model:
    with world.ledger.database.read() as tx:
        return tx.session.get_one(Model, model_id)


def core_cohort(world: World, name: str, *people: Person) -> str:
    with world.ledger.database.begin() as tx:
        cohort_id = catalog.create_cohort(
            tx, world.tenant_id, name=name, kind="core", shape=SHAPE, dtype="float32", class_names=CLASSES
        ).id
    if people:
        world.upload(*people, cohort_id=cohort_id, subjects=False)
    return cohort_id


def test_the_core_depends_on_core_data_and_seed_alone(world: World) -> None:
    first, same, other = (world.register(name, seed=seed) for name, seed in (("a", 7), ("b", 7), ("c", 8)))
    world.work()
    world.upload(*(person(f"person-{i}") for i in range(5)))
    late = world.register("d", seed=7)
    world.work()
    digests = [model(world, model_id).public_digest for model_id in (first, same, other, late)]
    assert digests[0] is not None
    assert digests[0] == digests[1] == digests[3]
    assert digests[0] != digests[2]


def test_it_fixes_every_public_constant_and_asks_for_features(world: World) -> None:
    model_id = world.register()
    assert run_next(world.deps)
    trained = model(world, model_id)
    assert (trained.state, trained.error) == ("ingesting", None)
    assert trained.width
    assert trained.residual_budget
    assert [job.kind for job in world.jobs("ready")] == [jobs.INGEST_MODEL]
    with world.ledger.database.read() as tx:
        assert inventory.unfinished(tx, world.tenant_id) == []
        assert tx.session.get_one(StoredObject, trained.public_object).state == "live"


def test_a_budget_of_ones_own_is_kept(world: World) -> None:
    model_id = world.register(residual_budget=0.125)
    world.work()
    assert model(world, model_id).residual_budget == 0.125


def test_accuracy_is_measured_on_the_evaluation_cohort(world: World) -> None:
    evaluation = core_cohort(world, "evaluation", *(person(f"public-{i}", 5) for i in range(12)))
    world.upload(*(person(f"person-{i}", 5) for i in range(8)))
    model_id = world.register(evaluation_cohort_id=evaluation)
    world.work()
    measured = world.active(model_id).measured
    assert measured is not None
    assert 0.5 < measured["accuracy"] <= 1
    assert model(world, model_id).evaluation_object is not None


@pytest.mark.parametrize("what", ["no records", "one class", "no evaluation"])
def test_what_cannot_be_learned_fails_and_can_be_retried(world: World, what: str) -> None:
    one_class = Person("p", np.zeros((5, *SHAPE), np.float32), np.zeros(5, np.int64))
    cohort_id = core_cohort(world, "poor", *([one_class] if what == "one class" else []))
    plan = {"evaluation_cohort_id": cohort_id} if what == "no evaluation" else {"core_cohort_id": cohort_id}
    model_id = world.register(**plan)
    for _ in range(jobs.MAX_ATTEMPTS):
        with world.ledger.database.begin() as tx:
            tx.session.execute(update(Job).values(not_before=0))
        assert run_next(world.deps)
    (job,) = world.jobs("failed")
    assert (job.error or "").startswith("NothingToLearn")
    assert model(world, model_id).state == "failed"
    assert model(world, model_id).error == job.error
    world.upload(*(person(f"more-{i}", 5) for i in range(6)), cohort_id=cohort_id, subjects=False)
    with world.ledger.database.begin() as tx:
        jobs.retry(tx, world.tenant_id, job.id)
    world.work()
    assert (model(world, model_id).state, model(world, model_id).error) == ("ready", None)
    assert world.active(model_id).number == 1


def test_a_cohort_is_read_in_the_order_of_its_content(world: World) -> None:
    people = [person(f"p{i}", 3) for i in range(4)]
    forward, backward = core_cohort(world, "forward"), core_cohort(world, "backward")
    for cohort_id, order in ((forward, people), (backward, people[::-1])):
        for one in order:
            world.upload(one, cohort_id=cohort_id, subjects=False)
    (x, y), (x2, y2) = (records.read_cohort(world.ledger, cohort_id) for cohort_id in (forward, backward))
    assert len(y) == 12
    assert np.array_equal(x, x2)
    assert np.array_equal(y, y2)
    stored = {(row.tobytes(), int(label)) for p in people for row, label in zip(p.x, p.y, strict=True)}
    assert {(row.tobytes(), int(label)) for row, label in zip(x, y, strict=True)} == stored


def test_unfinished_uploads_are_not_read(world: World) -> None:
    cohort_id = core_cohort(world, "c", person("p", 3))
    with world.ledger.database.begin() as tx:
        tx.session.execute(update(Upload).where(Upload.cohort_id == cohort_id).values(stored_seq=None))
        assert tx.session.execute(select(Upload.id).where(Upload.cohort_id == cohort_id)).all()
    _, y = records.read_cohort(world.ledger, cohort_id)
    assert len(y) == 0
