"""Certificates and what they rest on: content that the core holds too, and cores that are not public."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from sqlalchemy import delete, update
from support.world import NewWorld, Person, World, person

from ledger import catalog, certificates, core_imports, dsse, jobs
from ledger.errors import NotFound
from ledger.tables import Cohort, CoreImport, Model

ADA, BOB = person("ada"), person("bob")


@pytest.fixture
def world(new_world: NewWorld, database_url: str) -> World:
    return new_world(database_url)


def predicate(world: World, request_id: str) -> dict[str, object]:
    with world.ledger.database.read() as tx:
        envelope = certificates.get(tx, world.tenant_id, request_id)
    statement = json.loads(dsse.verify_envelope(envelope, world.ledger.ring.public_key_pem()))
    found: dict[str, object] = statement["predicate"]
    return found


def in_core(world: World, upload_id: str) -> object:
    results = [job.result for job in world.jobs("done") if job.upload_id == upload_id and job.kind == "ingest_upload"]
    assert results[0] is not None
    return results[0]["in_core"]


@pytest.mark.parametrize("first", ["core", "user", "while it is forgotten"])
def test_content_that_the_core_holds_too_is_named(world: World, first: str) -> None:
    public = replace(ADA, y=(ADA.y + 1) % 3)  # other labels: the content counts
    if first == "core":
        world.upload(public, cohort_id=world.core_id, subjects=False)
    upload_id = world.upload(ADA, BOB)
    world.register()
    world.work()
    assert in_core(world, upload_id) == (3 if first == "core" else 0)
    if first == "user":
        world.upload(public, cohort_id=world.core_id, subjects=False)
    before = world.statistics()
    ada, bob = world.forget("ada"), world.forget("bob")
    if first == "while it is forgotten":
        with world.ledger.database.begin() as tx:
            from ledger.requests import resolve_accepted

            resolve_accepted(tx, world.tenant_id)
        world.upload(public, cohort_id=world.core_id, subjects=False)
    world.work()
    assert world.statistics() != before
    request = world.request(ada)
    # How many there were is told by neither the request nor the upload's job any more.
    assert (request.outcome, request.records, request.in_core) == ("partially_core", 3, None)
    assert [job.result for job in world.jobs("done") if job.upload_id == upload_id] == [None]
    said = predicate(world, ada)
    assert said["outcome"] == "partially_core"
    assert "remains" in str(said["core_overlap"])
    assert "holds no record of a user cohort" not in str(said["assumptions"])
    assert (world.request(bob).outcome, world.request(bob).in_core) == ("erased", None)
    assert "core_overlap" not in predicate(world, bob)


def test_other_tenants_and_user_cohorts_play_no_part(world: World) -> None:
    first, second = world.upload(ADA), world.upload(replace(ADA, name="twin"))
    world.work()
    assert (in_core(world, first), in_core(world, second)) == (0, 0)


def test_a_core_upload_that_fails_leaves_no_content_behind(world: World) -> None:
    with pytest.raises(Exception, match="subject and id"):
        world.upload(ADA, ADA, cohort_id=world.core_id, subjects=False)
    upload_id = world.upload(ADA)
    world.work()
    assert in_core(world, upload_id) == 0


def tamper(world: World, how: str) -> None:
    with world.ledger.database.begin() as tx:
        if how == "core":
            tx.session.execute(update(Cohort).where(Cohort.id == world.core_id).values(kind="user"))
        elif how == "evaluation":
            tx.session.execute(update(Model).values(evaluation_cohort_id=world.user_id))
        elif how == "turned":  # made for users, and its row changed by hand when people were in it
            apart = catalog.create_cohort(
                tx, world.tenant_id, name="apart", kind="user", shape=[6], dtype="float32",
                class_names=["no", "yes", "maybe"],
            )  # fmt: skip
            apart.kind = "core"
            tx.session.flush()
            tx.session.execute(update(Model).values(evaluation_cohort_id=apart.id))
        else:
            new = core_imports.NewCore("mlp", False, (6,), 3, "the data officer")
            row = CoreImport(
                id=tx.new_id(), tenant_id=world.tenant_id, architecture=new.architecture, leaky=False, shape=[6],
                outputs=3, parameters=1, digest="0" * 64, attested_by=" ", object_name="x", created_at=tx.now,
            )  # fmt: skip
            tx.session.add(row)
            tx.session.flush()
            tx.session.execute(update(Model).values(core_import_id=row.id))


def repair(world: World) -> None:
    with world.ledger.database.begin() as tx:
        tx.session.execute(update(Cohort).where(Cohort.id == world.core_id).values(kind="core"))
        tx.session.execute(update(Model).values(evaluation_cohort_id=None, core_import_id=None))
        tx.session.execute(delete(CoreImport))


@pytest.mark.parametrize("how", ["core", "evaluation", "turned", "import"])
def test_above_a_core_that_is_not_public_nothing_is_certified(world: World, how: str) -> None:
    world.upload(ADA, BOB)
    world.register()
    world.work()
    tamper(world, how)
    request_id = world.forget("ada")
    world.work()
    request = world.request(request_id)
    assert (request.state, request.outcome, request.completed_at) == ("purging", None, None)
    assert "No certificate can be given" in (request.error or "")
    with world.ledger.database.read() as tx, pytest.raises(NotFound):
        certificates.get(tx, world.tenant_id, request_id)
    (failed,) = world.jobs("failed")
    assert failed.kind == jobs.PURGE
    repair(world)
    with world.ledger.database.begin() as tx:
        jobs.retry(tx, world.tenant_id, failed.id)
    world.work()
    done = world.request(request_id)
    assert (done.state, done.outcome, done.error) == ("completed", "erased", None)


def test_others_are_completed_beside_it(world: World) -> None:
    world.upload(ADA, BOB)
    world.register()
    world.work()
    with world.ledger.database.begin() as tx:
        made = Cohort(
            id=tx.new_id(), tenant_id=world.tenant_id, name="apart", kind="user", shape=[6], dtype="float32",
            class_names=["no", "yes", "maybe"], created_at=tx.now,
        )  # fmt: skip
        tx.session.add(made)
    world.upload(Person("cyd", ADA.x, ADA.y), cohort_id=made.id)
    tamper(world, "core")
    stuck = world.forget("ada")
    world.work()
    fine = world.forget("cyd")
    world.work()
    assert world.request(fine).outcome == "erased"
    assert world.request(stuck).state == "purging"
    assert len(world.jobs("failed")) == 1  # later purges say nothing new
