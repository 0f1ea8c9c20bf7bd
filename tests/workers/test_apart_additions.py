"""A correction or an addition whose features are missing or damaged fails alone, too, and can be tried again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from sqlalchemy import select
from support.damaging import damage_last, deferred, features_of, lose, rebuilt, records_of, retry, settle, states
from support.leftovers import leftovers
from support.world import NewWorld, Person, World, clock_us, person

from evidence.certificate import examine
from ledger import certificates, folding, generations, jobs, lines, requests
from ledger.errors import SuccessorNotReady
from ledger.log.sequencer import sequence
from ledger.tables import Model, RequestModel, Upload
from workers import summing
from workers.replay.run import Asked, replay
from workers.runner import run_next

RECORDS = 3
PEOPLE = {name: person(name, RECORDS) for name in ("anna", "berta", "clara", "dora")}
Learned = Callable[..., bytes]


def corrected(name: str, by: int = 1) -> Person:
    return replace(PEOPLE[name], x=PEOPLE[name].x + by)


def trained(world: World) -> World:
    """Each person's records are in a shard of their own."""
    for one in PEOPLE.values():
        world.upload(one)
    world.register()
    world.work()
    return world


@pytest.fixture
def world(new_world: NewWorld) -> World:
    return trained(new_world(shard_records=RECORDS))


@pytest.fixture
def any_world(new_world: NewWorld, database_url: str) -> World:
    return trained(new_world(database_url, shard_records=RECORDS))


@pytest.fixture(scope="module")
def known() -> dict[bytes, bytes]:
    """Statistics of services that were made before, by their people: the bytes are the same for each of them."""
    return {}


@pytest.fixture
def learned(new_world: NewWorld, known: dict[bytes, bytes]) -> Learned:
    """A function that returns the statistics of a service that only ever had these people's records."""

    def statistics(*people: Person) -> bytes:
        key = b"".join(one.x.tobytes() for one in people)
        if key not in known:
            other = new_world()
            other.upload(*people)
            other.register()
            other.work()
            known[key] = other.statistics()
        return known[key]

    return statistics


def people(*changed: Person, without: tuple[str, ...] = ()) -> list[Person]:
    now = PEOPLE | {one.name: one for one in changed}
    return [one for name, one in now.items() if name not in without]


def correct(world: World, *whom: Person) -> str:
    """Have a correction accepted and put into the sequence of changes; return its request."""
    upload_id = world.upload(*whom, corrects=True)
    jobs_done(world, jobs.INGEST_UPLOAD)
    with world.ledger.database.read() as tx:
        request_id = tx.session.get_one(Upload, upload_id).request_id
    assert request_id is not None
    return request_id


def jobs_done(world: World, kind: str) -> None:
    """Run jobs up to the last one of a kind."""
    while any(job.kind == kind for job in world.jobs("ready")):
        assert run_next(world.deps)


def held(world: World, model_id: str | None = None) -> dict[int, int]:
    """Return ids and classes of what a model's active version holds by the ledger's rows."""
    with world.ledger.database.read() as tx:
        model = tx.session.get_one(Model, model_id or world.model_id)
        shards = folding.held(tx, model.id, model.applied_seq or 0)
    return {record_id: label for shard in shards for record_id, label in shard.classes.items()}


def failing(world: World) -> dict[str, str]:
    """Replay the model as an auditor does; return the checks that fail."""
    sequence(world.ledger.database, world.ledger.ring)
    report = replay(world.deps, Asked("model", "default", 10), lambda *_: None)
    return {check.name: check.what for check in report.checks if not check.passed}


def is_certified(world: World, request_id: str) -> bool:
    with world.ledger.database.read() as tx:
        envelope = certificates.get(tx, world.tenant_id, request_id)
    now = datetime.fromtimestamp(clock_us() / 1e6, UTC)
    said = examine(envelope, world.ledger.ring.public_key_pem(), now=now).statement["predicate"]
    return bool(said["request"]["id"] == request_id) and all(fact["holds"] for fact in said["facts"].values())


@pytest.mark.parametrize("lost", ["old", "new"])
def test_a_correction_whose_features_are_missing_fails_alone(any_world: World, learned: Learned, lost: str) -> None:
    """No version holds old beside new, nor neither; what an auditor sums anew is what it says."""
    world = any_world
    old = features_of(world, "berta")
    bad = correct(world, corrected("berta"))
    put_back = lose(world, old if lost == "old" else features_of(world, "berta"))
    good = world.forget("anna")
    other = correct(world, corrected("dora"))
    settle(world)
    assert states(world, bad, good, other) == ["failed", "completed", "completed"]
    assert (world.request(bad).error or "").startswith("model model: ObjectMissing: ")
    assert len(held(world)) == 3 * RECORDS
    assert world.statistics() == learned(*people(corrected("dora"), without=("anna",)))
    assert [job.kind for job in world.jobs("failed")] == [jobs.ADVANCE]
    retry(world)
    assert (states(world, bad), deferred(world)) == (["failed"], 1), "nothing was repaired"
    put_back()
    assert rebuilt(world) == {"equal": True, "records": 3 * RECORDS}
    assert failing(world) == {}
    retry(world)
    assert (states(world, bad), deferred(world)) == (["completed"], 0)
    assert all(is_certified(world, one) for one in (bad, good, other))
    assert world.statistics() == learned(*people(corrected("berta"), corrected("dora"), without=("anna",)))
    assert rebuilt(world) == {"equal": True, "records": 3 * RECORDS}
    assert failing(world) == {}
    assert (world.jobs("failed"), leftovers(world.ledger)) == ([], [])


@pytest.mark.parametrize("when", ["in the same batch", "later"])
def test_a_correction_of_what_a_deferred_one_brings_waits_for_it(any_world: World, learned: Learned, when: str) -> None:
    world = any_world
    put_back = lose(world, features_of(world, "berta"))
    first = correct(world, corrected("berta"), corrected("clara"))
    if when == "later":
        settle(world)
    second = correct(world, corrected("berta", 2))
    good = world.forget("anna")
    settle(world)
    assert states(world, first, second, good) == ["failed", "scrubbing", "completed"]
    assert world.statistics() == learned(*people(without=("anna",)))
    put_back()
    assert rebuilt(world) == {"equal": True, "records": 3 * RECORDS}
    retry(world)
    assert (states(world, first, second), deferred(world)) == (["completed", "completed"], 0)
    assert world.statistics() == learned(*people(corrected("berta", 2), corrected("clara"), without=("anna",)))
    assert (failing(world), leftovers(world.ledger)) == ({}, [])


def test_old_records_that_are_missing_fail_the_purge_of_one_correction(world: World, learned: Learned) -> None:
    """Every model has the new records by then; that the old ones are gone cannot be seen."""
    put_back = lose(world, records_of(world, "berta"))
    bad, good = correct(world, corrected("berta")), world.forget("anna")
    settle(world)
    assert states(world, bad, good) == ["failed", "completed"]
    assert world.statistics() == learned(*people(corrected("berta"), without=("anna",)))
    put_back()
    assert retry(world) == jobs.PURGE
    assert states(world, bad) == ["completed"]
    assert leftovers(world.ledger) == []


def test_only_the_second_of_two_corrections_fails(world: World, learned: Learned) -> None:
    """The first one's records count until the second one can be made."""
    first, second = correct(world, corrected("berta")), correct(world, corrected("berta", 2))
    put_back = lose(world, features_of(world, "berta"))
    settle(world)
    assert states(world, first, second) == ["completed", "failed"]
    assert world.statistics() == learned(*people(corrected("berta")))
    put_back()
    retry(world)
    assert states(world, second) == ["completed"]
    assert world.statistics() == learned(*people(corrected("berta", 2)))
    assert leftovers(world.ledger) == []


def test_what_was_removed_before_it_was_added_is_in_no_version(world: World, learned: Learned) -> None:
    """A request is deferred because of one record; its other one was stored and not added when it was removed."""
    eva = person("eva", RECORDS)
    world.upload(eva)
    bad = world.forget("berta", "eva")
    with world.ledger.database.begin() as tx:
        requests.resolve_accepted(tx, world.tenant_id)
    put_back = lose(world, features_of(world, "berta"))
    settle(world)
    assert states(world, bad) == ["failed"]
    assert world.statistics() == learned(*people())
    put_back()
    assert rebuilt(world) == {"equal": True, "records": 4 * RECORDS}
    retry(world)
    assert states(world, bad) == ["completed"]
    assert world.statistics() == learned(*people(without=("berta",)))
    assert leftovers(world.ledger) == []


def test_who_is_forgotten_while_a_correction_is_deferred_is_forgotten_with_it(world: World, learned: Learned) -> None:
    put_back = lose(world, features_of(world, "berta"))
    bad = correct(world, corrected("berta"), corrected("clara"))
    settle(world)
    again, good = world.forget("berta"), world.forget("dora")
    settle(world)
    assert states(world, bad, again, good) == ["failed", "scrubbing", "completed"]
    assert world.statistics() == learned(*people(without=("dora",)))
    put_back()
    retry(world)
    assert states(world, bad, again) == ["completed", "completed"]
    assert world.statistics() == learned(*people(corrected("clara"), without=("berta", "dora")))
    assert leftovers(world.ledger) == []


def test_another_model_takes_the_correction_at_its_own_place(world: World, learned: Learned) -> None:
    other = world.register("another")
    settle(world)
    bad = correct(world, corrected("berta"))
    put_back = lose(world, features_of(world, "berta", other))
    settle(world)
    with world.ledger.database.read() as tx:
        query = select(RequestModel.model_id).where(RequestModel.request_id == bad, RequestModel.version_id.is_(None))
        assert tx.session.execute(query).scalars().all() == [other]
    assert (world.request(bad).error or "").startswith("model another: ObjectMissing: ")
    assert world.statistics() == learned(*people(corrected("berta")))
    assert len(held(world).keys() & held(world, other).keys()) == 3 * RECORDS
    assert len(held(world).keys() | held(world, other).keys()) == 5 * RECORDS
    put_back()
    retry(world)
    assert states(world, bad) == ["completed"]
    assert held(world) == held(world, other)
    assert rebuilt(world, other) == {"equal": True, "records": 4 * RECORDS}


def test_records_that_cannot_be_added_hold_up_nobody(any_world: World, learned: Learned) -> None:
    """Not even somebody of whom some lie among them; who is intact in the same upload is added."""
    world = any_world
    eva, fritz, gerda = (person(name, RECORDS) for name in ("eva", "fritz", "gerda"))
    world.upload(replace(eva, x=np.concatenate([eva.x, eva.x[:2]]), y=np.concatenate([eva.y, eva.y[:2]])), fritz, gerda)
    jobs_done(world, jobs.INGEST_UPLOAD)
    damaged = features_of(world, "fritz")  # eva's fourth and fifth record, and fritz' first
    damage_last(world, damaged)
    good, also = world.forget("anna"), world.forget("eva")
    settle(world)
    assert states(world, good, also) == ["completed", "completed"]
    (job,) = world.jobs("failed")
    assert (job.kind, (job.error or "").partition(":")[0], deferred(world)) == (jobs.ADVANCE, "ObjectCorrupt", 1)
    assert len(held(world)) == 3 * RECORDS + 5, "all but the damaged shard's"
    later = world.forget("gerda")
    settle(world)
    assert states(world, later) == ["completed"]
    damage_last(world, features_of(world, "fritz"))
    retry(world)
    assert (world.jobs("failed"), deferred(world)) == ([], 0)
    assert world.statistics() == learned(*people(without=("anna",)), fritz)
    assert rebuilt(world) == {"equal": True, "records": 4 * RECORDS}
    assert leftovers(world.ledger) == []


def test_a_shard_whose_records_are_all_forgotten_is_deferred_no_longer(world: World) -> None:
    world.upload(person("eva", RECORDS))
    jobs_done(world, jobs.INGEST_UPLOAD)
    damage_last(world, features_of(world, "eva"))
    settle(world)
    assert deferred(world) == 1
    request_id = world.forget("eva")
    settle(world)
    assert (states(world, request_id), deferred(world)) == (["completed"], 0)
    retry(world)
    assert (world.jobs("failed"), leftovers(world.ledger)) == ([], [])


@pytest.mark.parametrize("in_parts", [False, True])
def test_a_first_version_leaves_out_what_cannot_be_read(
    new_world: NewWorld, learned: Learned, monkeypatch: pytest.MonkeyPatch, in_parts: bool
) -> None:
    if in_parts:
        monkeypatch.setattr(summing, "DIRECT_SHARDS", 2)
        monkeypatch.setattr(summing, "PART_SHARDS", 2)
        monkeypatch.setattr(jobs, "MAX_ATTEMPTS", 3)
    world = new_world(shard_records=RECORDS)
    world.upload(*PEOPLE.values())
    world.register()
    jobs_done(world, jobs.INGEST_UPLOAD)
    jobs_done(world, jobs.TRAIN_CORE)
    jobs_done(world, jobs.INGEST_MODEL)
    put_back = lose(world, features_of(world, "berta"))
    good = world.forget("clara")
    settle(world)
    assert (states(world, good), deferred(world)) == (["completed"], 1)
    assert world.statistics() == learned(*people(without=("berta", "clara")))
    put_back()
    assert rebuilt(world) == {"equal": True, "records": 2 * RECORDS}
    retry(world)
    assert (world.jobs("failed"), deferred(world)) == ([], 0)
    assert world.statistics() == learned(*people(without=("clara",)))
    assert (failing(world), leftovers(world.ledger)) == ({}, [])


def test_a_first_version_does_not_subtract_what_was_lost_after_it_was_summed(
    new_world: NewWorld, learned: Learned, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It sums anew instead, without who was forgotten meanwhile; only the purge misses the object."""
    monkeypatch.setattr(summing, "DIRECT_SHARDS", 2)
    monkeypatch.setattr(summing, "PART_SHARDS", 2)
    world = new_world(shard_records=RECORDS)
    world.upload(*PEOPLE.values())
    world.register()
    for kind in (jobs.INGEST_UPLOAD, jobs.TRAIN_CORE, jobs.INGEST_MODEL):
        jobs_done(world, kind)
    assert run_next(world.deps)  # the `advance`, which leaves the sum to parts
    jobs_done(world, jobs.SUM_PART)
    put_back = lose(world, features_of(world, "berta"))
    bad, good = world.forget("berta"), world.forget("clara")
    settle(world)
    assert states(world, bad, good) == ["failed", "completed"]
    assert world.statistics() == learned(*people(without=("berta", "clara")))
    put_back()
    assert retry(world) == jobs.PURGE
    assert states(world, bad) == ["completed"]
    assert leftovers(world.ledger) == []


def test_a_successor_that_lacks_records_does_not_take_over(world: World) -> None:
    with world.ledger.database.begin() as tx:
        plan = lines.plan_of(tx, generations.current(tx, world.model_id))
        new = lines.register_successor(tx, world.model_id, plan, cut_over=lines.MANUAL)[0].id
    jobs_done(world, jobs.TRAIN_CORE)
    jobs_done(world, jobs.INGEST_MODEL)
    put_back = lose(world, features_of(world, "berta", new))
    settle(world)
    with pytest.raises(SuccessorNotReady, match="lacks records"), world.ledger.database.begin() as tx:
        lines.cut_over(tx, world.model_id)
    put_back()
    retry(world)
    with world.ledger.database.begin() as tx:
        assert lines.cut_over(tx, world.model_id)[0].id == new
