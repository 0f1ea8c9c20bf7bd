"""Corrections: the old record leaves and the new one enters in one version, and the rest is as for forgetting."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy import func, select, update
from support.world import NewWorld, Person, World, person, same_bytes

from ledger import catalog, certificates, changes, purging
from ledger.errors import LedgerError, RecordsClash, RecordsUnknown, SubjectHeld, WrongState
from ledger.requests import cancel
from ledger.tables import Change, ForgetRequest, Job, Model, Record, RequestModel, Upload
from workers import ingest
from workers.runner import run_next

ADA, BOB, CYD = (person(name) for name in ("ada", "bob", "cyd"))


def other_content(p: Person) -> Person:
    return replace(p, x=p.x + 1)


def other_labels(p: Person) -> Person:
    return replace(p, y=(p.y + 1) % 3)


@pytest.fixture
def world(new_world: NewWorld, database_url: str) -> World:
    world = new_world(database_url)
    world.upload(ADA, BOB)
    world.register()
    world.work()
    return world


def correction_request(world: World, upload_id: str) -> ForgetRequest:
    with world.ledger.database.read() as tx:
        request_id = tx.session.get_one(Upload, upload_id).request_id
    assert request_id is not None
    return world.request(request_id)


def records(world: World) -> int:
    with world.ledger.database.read() as tx:
        return catalog.count_records(tx, world.user_id)


@pytest.mark.parametrize("change", [other_content, other_labels])
def test_a_correction_equals_only_ever_having_had_it(
    world: World, only_ever: Callable[..., World], change: Callable[[Person], Person]
) -> None:
    before = world.statistics()
    upload_id = world.upload(change(ADA), corrects=True)
    accepted = correction_request(world, upload_id)
    assert (accepted.state, accepted.selector_kind, accepted.records) == ("accepted", "correction", None)
    assert accepted.due_at > accepted.received_at
    assert records(world) == 6  # those on their way are not counted
    world.work()
    done = correction_request(world, upload_id)
    assert (done.state, done.outcome, done.records, done.selector) == ("completed", "erased", 3, None)
    assert records(world) == 6
    assert world.active().number == 2
    assert world.statistics() != before
    assert same_bytes(world, only_ever(change(ADA), BOB))
    with world.ledger.database.read() as tx:
        envelope = certificates.get(tx, world.tenant_id, done.id)
        (job,) = tx.session.execute(select(Job).where(Job.upload_id == upload_id)).scalars()
        assert tx.session.execute(select(func.count()).select_from(Record)).scalar_one() == 6 + 60
    assert b"payload" in envelope
    assert job.result == {"in_core": 0, "forget_request": done.id}


def test_both_happen_under_one_sequence_number(world: World) -> None:
    upload_id = world.upload(other_content(ADA), corrects=True)
    assert run_next(world.deps)  # ingest: features made, upload added
    with world.ledger.database.read() as tx:
        upload = tx.session.get_one(Upload, upload_id)
        removed = select(Record.removed_seq).where(Record.removed_seq.is_not(None)).distinct()
        assert tx.session.execute(removed).scalars().all() == [upload.added_seq]
        change = tx.session.get_one(Change, (world.tenant_id, upload.added_seq))
    assert (change.kind, change.upload_id, change.request_id) == (changes.CORRECTED, upload_id, upload.request_id)


def test_no_version_has_both_or_neither(world: World) -> None:
    """Every version that is published on the way, whatever the order of the jobs, counts six records."""
    world.upload(other_content(ADA), corrects=True)
    world.upload(other_labels(BOB), corrects=True)
    world.upload(other_labels(ADA), corrects=True)  # corrected again before the first correction is done
    seen = []
    while run_next(world.deps):
        measured = world.active().measured
        assert measured is not None
        seen.append(measured["records"])
    assert set(seen) == {6}
    assert world.active().number > 1


def test_the_last_correction_stays_whichever_is_added_first(world: World, only_ever: Callable[..., World]) -> None:
    first = world.upload(other_content(ADA), corrects=True)
    second = world.upload(other_labels(ADA), corrects=True)
    with world.ledger.database.begin() as tx:  # the second goes first
        tx.session.execute(update(Job).where(Job.upload_id == first).values(priority=9))
    world.work()
    assert correction_request(world, second).records == 6  # the first one's records too, before they ever counted
    assert correction_request(world, first).outcome == "no_match"
    assert same_bytes(world, only_ever(other_labels(ADA), BOB))


def test_a_record_that_is_not_in_any_version_yet_can_be_corrected(
    world: World, only_ever: Callable[..., World]
) -> None:
    world.upload(CYD)
    world.upload(other_content(CYD), corrects=True)
    world.work()
    assert same_bytes(world, only_ever(ADA, BOB, other_content(CYD)))


def test_without_a_model_it_is_purged_all_the_same(new_world: NewWorld, only_ever: Callable[..., World]) -> None:
    world = new_world()
    world.upload(ADA)
    upload_id = world.upload(other_content(ADA), corrects=True)
    world.work()
    assert correction_request(world, upload_id).outcome == "erased"
    world.register()
    world.work()
    assert same_bytes(world, only_ever(other_content(ADA)))


def test_forgetting_before_after_and_while_a_correction_is_on_its_way(
    world: World, only_ever: Callable[..., World]
) -> None:
    world.upload(other_content(ADA), corrects=True)
    world.forget("ada")  # while
    world.work()
    assert same_bytes(world, only_ever(BOB))
    world.upload(CYD)
    world.work()
    world.upload(other_labels(BOB), corrects=True)
    world.work()
    world.forget("bob")  # after
    world.work()
    assert same_bytes(world, only_ever(CYD))
    world.forget("cyd")  # before
    with pytest.raises(RecordsUnknown):
        world.upload(other_content(CYD), corrects=True)


def test_forgetting_the_new_class_of_a_record_on_its_way_forgets_the_record(
    world: World, only_ever: Callable[..., World]
) -> None:
    one = Person("one", ADA.x[:1], np.array([0]))
    world.upload(one)
    world.work()
    world.upload(replace(one, y=np.array([2])), corrects=True)
    world.forget(labels=(2,))
    world.work()
    rest = [replace(p, x=p.x[p.y != 2], y=p.y[p.y != 2]) for p in (ADA, BOB)]
    assert same_bytes(world, only_ever(*(p for p in rest if len(p.y))))


def test_forgetting_the_old_class_of_a_record_on_its_way_leaves_the_corrected_one(
    world: World, only_ever: Callable[..., World]
) -> None:
    upload_id = world.upload(replace(ADA, y=np.full(3, 2)), corrects=True)
    world.forget(labels=(0, 1))
    world.work()
    rest = replace(BOB, x=BOB.x[BOB.y == 2], y=BOB.y[BOB.y == 2])
    people = [replace(ADA, y=np.full(3, 2)), *([rest] if len(rest.y) else [])]
    assert same_bytes(world, only_ever(*people))
    assert correction_request(world, upload_id).state == "completed"


def test_whoever_asks_while_a_correction_is_being_accepted_does_not_come_back(
    world: World, only_ever: Callable[..., World]
) -> None:
    with world.ledger.database.read() as tx:
        before = changes.current_sequence(tx, world.tenant_id)
    world.upload(other_content(ADA), corrects=True)
    request_id = world.forget("ada")
    with world.ledger.database.begin() as tx:  # as if neither had seen the other
        tx.session.execute(update(ForgetRequest).where(ForgetRequest.id == request_id).values(high_water=before))
    world.work()
    assert world.request(request_id).records == 6
    assert same_bytes(world, only_ever(BOB))


def refused(world: World, *people: Person, subjects: bool = True) -> LedgerError:
    """Return why a correction is refused, and check that nothing of it is left."""
    before = records(world)
    with pytest.raises((RecordsUnknown, SubjectHeld, RecordsClash)) as caught:
        world.upload(*people, corrects=True, subjects=subjects)
    with world.ledger.database.read() as tx:
        kinds = tx.session.execute(select(ForgetRequest.selector_kind)).scalars().all()
    assert "correction" not in kinds
    assert records(world) == before
    return caught.value


def test_what_is_not_stored_is_refused_with_its_rows(world: World) -> None:
    unknown = refused(world, Person("ada", np.repeat(ADA.x, 2, axis=0), np.repeat(ADA.y, 2)))  # places 3 to 5: none
    assert isinstance(unknown, RecordsUnknown)
    assert unknown.rows == [3, 4, 5]
    assert "rows 3, 4, 5" in str(unknown)
    assert isinstance(refused(world, CYD), RecordsUnknown)
    # The same ids under no subject, or another one, are other records.
    assert isinstance(refused(world, ADA, subjects=False), RecordsUnknown)


def test_a_record_on_its_way_out_is_refused(world: World) -> None:
    request_id = world.forget("ada")
    assert isinstance(refused(world, other_content(ADA)), RecordsUnknown)
    with world.ledger.database.begin() as tx:
        cancel(tx, world.tenant_id, request_id)
    world.upload(other_content(ADA), corrects=True)


def test_a_record_on_hold_is_refused_until_it_is_released(world: World) -> None:
    hold = world.hold("ada")
    held = refused(world, other_content(BOB), other_content(ADA))
    assert isinstance(held, SubjectHeld)
    assert held.rows == [0, 1, 2]  # the rows of ada, numbered by the helper
    world.release(hold)
    world.upload(other_content(ADA), corrects=True)


def test_a_correction_cannot_be_cancelled_as_a_request(world: World) -> None:
    upload_id = world.upload(other_content(ADA), corrects=True)
    request = correction_request(world, upload_id)
    with world.ledger.database.begin() as tx, pytest.raises(WrongState, match="correction"):
        cancel(tx, world.tenant_id, request.id)
    world.work()
    assert correction_request(world, upload_id).outcome == "erased"


def test_a_correction_that_cannot_be_added_is_shown_as_stuck(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    upload_id = world.upload(other_content(ADA), corrects=True)

    def broken(*_: object) -> None:
        raise OSError("the disk is on fire")

    monkeypatch.setattr("ledger.jobs.MAX_ATTEMPTS", 1)
    monkeypatch.setattr(ingest.features, "add_upload", broken)
    world.work()
    stuck = correction_request(world, upload_id)
    assert (stuck.state, stuck.outcome) == ("accepted", None)
    assert "disk is on fire" in (stuck.error or "")


def test_every_model_over_the_cohort_takes_the_correction_at_once(world: World) -> None:
    world.register("second", feature_map="pooled")
    world.work()
    upload_id = world.upload(other_content(ADA), corrects=True)
    world.work()
    request = correction_request(world, upload_id)
    with world.ledger.database.read() as tx:
        covered = tx.session.execute(select(RequestModel).where(RequestModel.request_id == request.id)).scalars().all()
        models = tx.session.execute(select(Model.id)).scalars().all()
        assert purging.records_left(tx, [request.id]) == 0
    assert {row.model_id for row in covered} == set(models)
    assert all(row.version_id is not None for row in covered)
