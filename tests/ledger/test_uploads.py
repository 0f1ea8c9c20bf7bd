"""Uploads: all of the records or none, nobody's records decide about somebody else's, nothing is left behind."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from sqlalchemy import func, select, update
from support.clock import FixedClock
from support.interrupted import interrupted
from support.locks import waiters
from support.mentions import mentions
from support.waiting import wait_until
from support.world import NewWorld, World, person

from ledger import filing, inventory, purging, requests, tenants, uploads
from ledger.database import Database
from ledger.errors import InvalidIdentifier, RecordsClash, StoreFull, SubjectSuppressed, UploadClosed
from ledger.ledger import Ledger
from ledger.selectors import Selector, SubjectName
from ledger.tables import Base, Change, Event, Job, Record, RecordShard, StoredObject, Subject, SubjectAlias, Upload
from ledger.uploads import NewRecord

PAYLOAD = bytes(24)


@pytest.fixture
def world(new_world: NewWorld, database_url: str) -> World:
    return new_world(database_url, core_people=1)


@pytest.fixture
def postgres(new_world: NewWorld, fresh_postgres_database: str) -> World:
    return new_world(fresh_postgres_database, core_people=1)


def record(subject: str | None, name: str | None = None, row: int = 0) -> NewRecord:
    return NewRecord(row=row, class_index=0, payload=PAYLOAD, external_id=name, subject=subject)


def chunk(
    world: World, upload_id: str, *records: NewRecord, kind: str = "customer", ledger: Ledger | None = None
) -> None:
    with world.ledger.database.read() as tx:
        hasher = tenants.alias_hasher(tx, world.ledger.ring, world.tenant_id)
    uploads.store_chunk(ledger or world.ledger, hasher, upload_id, records, subject_type=kind)


def begin(world: World) -> str:
    return uploads.begin(world.ledger, world.tenant_id, world.user_id)


def send(world: World, *records: NewRecord, kind: str = "customer") -> str:
    upload_id = begin(world)
    chunk(world, upload_id, *records, kind=kind)
    uploads.finish(world.ledger, upload_id)
    return upload_id


def count(world: World, table: type[Base]) -> int:
    with world.ledger.database.read() as tx:
        return tx.session.execute(select(func.count()).select_from(table)).scalar_one()


def state(world: World, upload_id: str) -> Upload:
    with world.ledger.database.read() as tx:
        return tx.session.get_one(Upload, upload_id)


def everything_stored(world: World) -> dict[str, int]:
    tables = (Record, RecordShard, Subject, SubjectAlias, StoredObject)
    return {table.__tablename__: count(world, table) for table in tables} | {
        "files": len(list(world.ledger.objects.names()))
    }


def test_records_become_real_all_at_once(world: World) -> None:
    upload_id = begin(world)
    chunk(world, upload_id, record("a", "1"), record("b", "1"))
    with world.ledger.database.read() as tx:
        assert len(inventory.unfinished(tx, world.tenant_id)) == 1
    hidden = world.forget(everything=True)
    with world.ledger.database.begin() as tx:
        requests.resolve_accepted(tx, world.tenant_id)
    assert world.request(hidden).outcome == "no_match"
    chunk(world, upload_id, record("a", "2"))
    upload, job_id = uploads.finish(world.ledger, upload_id)
    assert (upload.state, upload.records, upload.added_seq) == ("stored", 3, None)
    with world.ledger.database.read() as tx:
        assert inventory.unfinished(tx, world.tenant_id) == []
        job = tx.session.get_one(Job, job_id)
        assert (job.kind, job.upload_id, job.state) == ("ingest_upload", upload_id, "ready")
        change = tx.session.get_one(Change, (world.tenant_id, upload.stored_seq))
        assert (change.kind, change.upload_id) == ("stored", upload_id)
        stored = tx.session.execute(select(Event).where(Event.subject == upload_id)).scalar_one()
        assert stored.kind == "records.stored"


def test_a_core_upload_needs_no_job(world: World) -> None:
    upload_id = uploads.begin(world.ledger, world.tenant_id, world.core_id)
    chunk(world, upload_id, record(None, "x"))
    upload, job_id = uploads.finish(world.ledger, upload_id)
    assert (upload.state, job_id) == ("added", None)
    assert upload.added_seq == upload.stored_seq


@pytest.mark.parametrize("finished", [True, False])
def test_a_closed_upload_takes_nothing_more(world: World, finished: bool) -> None:
    upload_id = begin(world)
    chunk(world, upload_id, record("a", "1"))
    if finished:
        uploads.finish(world.ledger, upload_id)
    else:
        uploads.abandon(world.ledger, upload_id)
    before = everything_stored(world)
    with pytest.raises(UploadClosed):
        chunk(world, upload_id, record("a", "2"))
    with pytest.raises(UploadClosed):
        uploads.finish(world.ledger, upload_id)
    uploads.abandon(world.ledger, upload_id)  # of a finished one: does nothing
    assert everything_stored(world) == before
    assert state(world, upload_id).state == ("stored" if finished else "failed")


def test_abandoning_takes_back_rows_objects_and_subjects_that_only_it_brought(world: World) -> None:
    send(world, record("known", "1"))
    before = everything_stored(world)
    upload_id = begin(world)
    chunk(world, upload_id, record("known", "2"), record("new", "1"), record(None, "x"))
    assert everything_stored(world)["subjects"] == before["subjects"] + 1
    uploads.abandon(world.ledger, upload_id)
    assert everything_stored(world) == before
    assert state(world, upload_id).records == 0


def test_only_uploads_whose_lease_ran_out_are_abandoned(world: World, clock: FixedClock) -> None:
    ledger = replace(world.ledger, database=Database(world.ledger.database.engine, clock, world.ledger.database.random))
    old, fed, young = (uploads.begin(ledger, world.tenant_id, world.user_id) for _ in range(3))
    clock.advance(microseconds=uploads.LEASE_US)
    chunk(world, fed, record("a", "1"), ledger=ledger)
    with ledger.database.begin() as tx:
        tx.session.execute(update(Upload).where(Upload.id == young).values(lease_until=clock() + uploads.LEASE_US))
    assert uploads.abandon_expired(ledger) == 0
    clock.advance(microseconds=1)
    assert uploads.abandon_expired(ledger) == 1
    assert [state(world, i).state for i in (old, fed, young)] == ["failed", "receiving", "receiving"]
    assert uploads.abandon_expired(ledger, everything=True) == 2


def test_an_upload_that_timed_out_cannot_go_on(world: World, clock: FixedClock) -> None:
    """From then on a purge takes its objects for abandoned and deletes them, so its rows must not become real."""
    ledger = replace(world.ledger, database=Database(world.ledger.database.engine, clock, world.ledger.database.random))
    upload_id = uploads.begin(ledger, world.tenant_id, world.user_id)
    chunk(world, upload_id, record("a", "1"), ledger=ledger)
    clock.advance(microseconds=uploads.LEASE_US + 1)
    with pytest.raises(UploadClosed):
        uploads.finish(ledger, upload_id)
    with pytest.raises(UploadClosed):
        chunk(world, upload_id, record("a", "2"), ledger=ledger)


def test_a_chunk_that_is_written_while_its_upload_is_abandoned_leaves_nothing(world: World) -> None:
    before = everything_stored(world)
    upload_id = begin(world)
    with pytest.raises(UploadClosed):
        chunk(
            world,
            upload_id,
            record("a", "1"),
            ledger=interrupted(world, lambda: uploads.abandon(world.ledger, upload_id)),
        )
    assert everything_stored(world) == before
    assert inventory.strangers(world.ledger.database, world.ledger.objects) == []


def test_a_chunk_whose_rows_are_being_stored_while_its_upload_is_abandoned(postgres: World) -> None:
    """The abandoning transaction cannot see the chunk's rows; without a lock they would stay, and nobody find them."""
    before = count(postgres, Record)
    with ThreadPoolExecutor(1) as pool:
        second = begin(postgres)
        with postgres.ledger.database.begin() as tx:
            tx.session.execute(update(Upload).where(Upload.id == second).values(state="failed"))
            storing = pool.submit(chunk, postgres, second, record("a", "1"))
            wait_until(lambda: waiters(postgres.ledger.database) or storing.done(), 10, "the chunk to wait")
        with pytest.raises(UploadClosed):
            storing.result(timeout=20)
    assert count(postgres, Record) == before


def test_a_full_disk_stores_nothing(world: World) -> None:
    def fail() -> None:
        raise StoreFull("no room")

    upload_id = begin(world)
    chunk(world, upload_id, record("a", "1"))
    with pytest.raises(StoreFull):
        chunk(world, upload_id, record("a", "2"), ledger=interrupted(world, fail))
    uploads.abandon(world.ledger, upload_id)
    with world.ledger.database.read() as tx:
        assert inventory.unfinished(tx, world.tenant_id) == []
    assert count(world, Subject) == 0


@pytest.mark.parametrize(
    ("stored", "sent", "clash"),
    [
        (("a", "1"), ("a", "1"), True),
        (("a", "1"), ("a", "2"), False),
        (("a", "1"), ("b", "1"), False),
        (("a", "1"), (None, "1"), False),
        ((None, "1"), ("a", "1"), False),
        ((None, "1"), (None, "1"), True),
        (("a", None), ("a", None), False),
        ((None, None), (None, None), False),
    ],
)
def test_only_the_same_subject_and_id_clash(
    world: World, stored: tuple[str | None, str | None], sent: tuple[str | None, str | None], clash: bool
) -> None:
    send(world, record(*stored))
    if not clash:
        send(world, record(*sent))
        return
    upload_id = begin(world)
    chunk(world, upload_id, record("c", "9"), record(*sent))
    with pytest.raises(RecordsClash) as problem:
        uploads.finish(world.ledger, upload_id)
    assert problem.value.count == 1
    assert state(world, upload_id).state == "receiving"
    uploads.abandon(world.ledger, upload_id)
    assert count(world, Event) == len(world.uploads) + 3  # two cohorts, the stored upload, and the core upload's


def test_an_upload_clashes_with_itself(world: World) -> None:
    upload_id = begin(world)
    chunk(world, upload_id, record("a", "1"), record("b", "1"))
    chunk(world, upload_id, record("a", "1"))
    with pytest.raises(RecordsClash):
        uploads.finish(world.ledger, upload_id)


def test_neither_unfinished_nor_abandoned_nor_forgotten_records_clash(world: World) -> None:
    waiting = begin(world)
    chunk(world, waiting, record("a", "1"))
    abandoned = begin(world)
    chunk(world, abandoned, record("a", "1"))
    uploads.abandon(world.ledger, abandoned)
    first = send(world, record("a", "1"))
    with pytest.raises(RecordsClash):
        uploads.finish(world.ledger, waiting)
    uploads.abandon(world.ledger, waiting)
    request_id = world.forget(everything=True)
    with world.ledger.database.begin() as tx:
        requests.resolve_accepted(tx, world.tenant_id)
    assert world.request(request_id).records == 1
    assert send(world, record("a", "1")) != first


def test_one_person_in_two_spellings_is_one_subject(world: World) -> None:
    send(world, record(" Ann@Example.com", "1"), record("ann@example.COM ", "2"), kind="email")
    send(world, record("ANN@example.com", "3"), kind="email")
    assert count(world, Subject) == 1
    assert count(world, SubjectAlias) == 4


@pytest.mark.parametrize("spelling", ["ann@example.com", " ANN@example.com "])
def test_who_was_forgotten_does_not_come_back(world: World, spelling: str) -> None:
    forget_email(world, "ann@example.com")
    before = everything_stored(world)
    upload_id = begin(world)
    with pytest.raises(SubjectSuppressed) as problem:
        chunk(
            world,
            upload_id,
            record("bob@example.com", "1", row=7),
            record(spelling, "2", row=8),
            record("ann@example.com", "3", row=9),
            kind="email",
        )
    assert problem.value.rows == [8, 9]
    assert not mentions(str(problem.value), "ann")
    assert everything_stored(world) == before


def forget_email(world: World, address: str) -> str:
    with world.ledger.database.begin() as tx:
        hasher = tenants.alias_hasher(tx, world.ledger.ring, world.tenant_id)
        chosen = Selector(subjects=(SubjectName("email", "raw", address),))
        request = filing.accept(tx, world.tenant_id, chosen, hasher, regulation="gdpr")
    with world.ledger.database.begin() as tx:
        requests.resolve_accepted(tx, world.tenant_id)
    return request.id


def test_who_is_forgotten_during_an_upload_does_not_come_back_with_it(world: World) -> None:
    send(world, record("ann@example.com", "0"), kind="email")
    upload_id = begin(world)
    chunk(world, upload_id, record("ann@example.com", "1"), record("bob@example.com", "1"), kind="email")
    request_id = forget_email(world, "ann@example.com")
    assert world.request(request_id).records == 1
    with pytest.raises(SubjectSuppressed):
        uploads.finish(world.ledger, upload_id)
    uploads.abandon(world.ledger, upload_id)
    assert count(world, Subject) == 1


def test_a_suppression_that_was_withdrawn_lets_the_subject_in(world: World) -> None:
    world.forget("a")
    with world.ledger.database.begin() as tx:
        requests.resolve_accepted(tx, world.tenant_id)
    with pytest.raises(SubjectSuppressed):
        world.upload(person("a"))
    world.upload(person("a"), suppressed=False)
    world.forget("a")
    with world.ledger.database.begin() as tx:
        requests.resolve_accepted(tx, world.tenant_id)
    with pytest.raises(SubjectSuppressed):  # a new request renews it
        world.upload(person("a"))


def test_two_uploads_bring_the_same_new_subject_at_once(world: World) -> None:
    ids = [begin(world) for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        done = [pool.submit(chunk, world, i, record("new", f"{n}")) for n, i in enumerate(ids)]
        for one in done:
            one.result(timeout=60)
    assert count(world, Subject) == 1
    assert len({uploads.finish(world.ledger, i)[0].stored_seq for i in ids}) == 6


def test_a_subject_who_comes_back_while_being_dropped(postgres: World) -> None:
    """A purge lets go of a subject's last record while an upload brings a new one of theirs."""
    send(postgres, record("a", "1"))
    upload_id = begin(postgres)
    with postgres.ledger.database.read() as tx:
        (subject_id,) = tx.session.execute(select(Subject.id)).scalars()
    with ThreadPoolExecutor(1) as pool:
        with postgres.ledger.database.begin() as tx:
            tx.session.execute(Record.__table__.delete().where(Record.subject_id == subject_id))  # type: ignore[attr-defined]  # a table
            uploads.drop_unused_subjects(tx, postgres.tenant_id, [subject_id])
            coming = pool.submit(chunk, postgres, upload_id, record("a", "2"))
            wait_until(lambda: waiters(postgres.ledger.database) or coming.done(), 10, "the upload to wait")
        coming.result(timeout=20)
    uploads.finish(postgres.ledger, upload_id)
    with postgres.ledger.database.read() as tx:
        assert purging.shards(tx, []) == []
        assert tx.session.execute(select(Subject.id)).scalars().all() != [subject_id]


def test_identifiers_are_checked_before_anything_is_written(world: World) -> None:
    before = everything_stored(world)
    upload_id = begin(world)
    for subject in ("", "a\nb", "x" * 2000):
        with pytest.raises(InvalidIdentifier):
            chunk(world, upload_id, record("fine", "1"), record(subject, "2"))
    assert everything_stored(world) == before
