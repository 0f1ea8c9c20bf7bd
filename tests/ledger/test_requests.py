"""Forget requests: states, overlaps, and two things happening to one request at the same moment."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select, update
from support.locks import waiters
from support.versions import add_version, publish_version
from support.waiting import wait_until
from support.world import NewWorld, World, person

from ledger import jobs, purging, requests, versions
from ledger.errors import NotFound, WrongState
from ledger.tables import Change, Event, ForgetRequest, Job, Record, RequestModel, Suppression


@pytest.fixture
def world(new_world: NewWorld, database_url: str) -> World:
    return new_world(database_url, core_people=1)


@pytest.fixture
def postgres(new_world: NewWorld, fresh_postgres_database: str) -> World:
    return new_world(fresh_postgres_database, core_people=1)


def resolve(world: World) -> int:
    with world.ledger.database.begin() as tx:
        return requests.resolve_accepted(tx, world.tenant_id)


def ready_model(world: World, name: str, applied_seq: int | None = None) -> str:
    """Register a model and declare it ready with a version, without any mathematics."""
    model_id = world.register(name)
    with world.ledger.database.begin() as tx:
        tx.session.execute(update(Job).values(state="done"))
        publish_version(tx, model_id, 1, applied_seq or 0)
    return model_id


def events_of(world: World, subject: str) -> list[str]:
    with world.ledger.database.read() as tx:
        return list(tx.session.execute(select(Event.kind).where(Event.subject == subject).order_by(Event.id)).scalars())


def open_jobs(world: World) -> list[tuple[str, str | None]]:
    with world.ledger.database.read() as tx:
        found = tx.session.execute(select(Job).where(Job.state == "ready").order_by(Job.id)).scalars()
        return [(job.kind, job.model_id) for job in found if job.kind in (jobs.ADVANCE, jobs.PURGE)]


def test_accepting_marks_no_record_and_asks_every_model_to_advance(world: World) -> None:
    world.upload(person("a"))
    models = sorted(ready_model(world, name) for name in "xy")
    request_id = world.forget("a")
    request = world.request(request_id)
    assert (request.state, request.outcome, request.seq, request.records) == ("accepted", None, None, None)
    assert request.due_at > request.received_at
    with world.ledger.database.read() as tx:
        assert not tx.session.execute(select(Record).where(Record.removed_seq.is_not(None))).all()
    assert open_jobs(world) == [(jobs.ADVANCE, model_id) for model_id in models]
    assert events_of(world, request_id) == ["forget.accepted"]


def test_without_a_model_the_purge_comes_at_once(world: World) -> None:
    world.upload(person("a"))
    request_id = world.forget("a")
    assert open_jobs(world) == [(jobs.PURGE, None)]
    resolve(world)
    assert world.request(request_id).state == "published"


def test_resolving_removes_the_matching_records_once(world: World) -> None:
    world.upload(person("a", 3), person("b", 2))
    ready_model(world, "x")
    request_id = world.forget("a")
    seq = resolve(world)
    request = world.request(request_id)
    assert (request.state, request.seq, request.records, request.waits_for) == ("scrubbing", seq, 3, [])
    with world.ledger.database.read() as tx:
        marked = tx.session.execute(select(Record.removed_seq).where(Record.request_id == request_id)).scalars().all()
        assert marked == [seq] * 3
        change = tx.session.get_one(Change, (world.tenant_id, seq))
        assert (change.kind, change.request_id) == ("removed", request_id)
    assert resolve(world) == seq
    assert events_of(world, request_id) == ["forget.accepted", "forget.resolved"]


def test_nobody_of_that_name_is_completed_without_a_change_and_still_suppressed(world: World) -> None:
    world.upload(person("a"))
    ready_model(world, "x")
    before = resolve(world)
    request_id = world.forget("nobody")
    assert resolve(world) == before
    request = world.request(request_id)
    assert (request.state, request.outcome, request.records, request.selector) == ("completed", "no_match", 0, None)
    assert request.completed_at is not None
    with world.ledger.database.read() as tx:
        rows = tx.session.execute(select(Suppression)).scalars().all()
        facts = {(row.format, row.request_id, row.withdrawn_at) for row in rows}
        assert facts == {(form, request_id, None) for form in ("raw", "md5", "sha1", "sha256")}
        assert requests.certificate(tx, world.tenant_id, request_id) is None


def test_a_known_subject_is_suppressed_in_every_form(world: World) -> None:
    world.upload(person("a"))
    world.forget("a")
    resolve(world)
    with world.ledger.database.read() as tx:
        formats = tx.session.execute(select(Suppression.format)).scalars().all()
    assert sorted(formats) == ["md5", "raw", "sha1", "sha256"]


def test_a_request_for_the_same_records_waits_for_the_first(world: World) -> None:
    world.upload(person("a", 3))
    model_id = ready_model(world, "x")
    first = world.forget("a")
    resolve(world)
    world.upload(person("b", 2))
    second = world.forget(everything=True)
    third = world.forget("a")
    seq = resolve(world)
    a, b, c = (world.request(i) for i in (first, second, third))
    assert (b.records, b.seq, b.waits_for) == (5, seq, [first])
    assert (c.records, c.seq, c.waits_for) == (3, a.seq, [first])
    with world.ledger.database.begin() as tx:
        version = add_version(tx, model_id, 2, seq)
        requests.model_passed(tx, model_id, version.id, a.seq or 0)
    assert [world.request(i).state for i in (first, second, third)] == ["published", "scrubbing", "published"]
    with world.ledger.database.read() as tx:
        assert purging.can_complete(tx, [third]) == []
        assert purging.can_complete(tx, [first, third]) == [first, third]


def test_a_model_that_is_past_the_removal_already_covers_the_request(world: World) -> None:
    """A model that became ready after the first request never saw the records; no later job would say so again."""
    world.upload(person("a", 3))
    ready_model(world, "x")
    first = world.forget("a")
    seq = resolve(world)
    late = ready_model(world, "late", applied_seq=seq)
    second = world.forget("a")
    with world.ledger.database.begin() as tx:
        tx.session.execute(update(Job).values(state="done"))  # another model's job does the resolving
    resolve(world)
    with world.ledger.database.read() as tx:
        covered = dict(requests.models_of(tx, [first, second])[second])
    assert covered[late] == 1


def test_cancelling_is_possible_only_while_accepted(world: World) -> None:
    world.upload(person("a"))
    ready_model(world, "x")
    request_id = world.forget("a")
    with world.ledger.database.begin() as tx:
        requests.cancel(tx, world.tenant_id, request_id)
    request = world.request(request_id)
    assert (request.state, request.selector) == ("cancelled", None)
    resolve(world)
    assert world.request(request_id).state == "cancelled"
    with world.ledger.database.read() as tx:
        assert not tx.session.execute(select(Record).where(Record.removed_seq.is_not(None))).all()
    assert events_of(world, request_id) == ["forget.accepted", "forget.cancelled"]
    for state in ("scrubbing", "published", "purging", "completed", "cancelled", "failed"):
        with world.ledger.database.begin() as tx:
            tx.session.get_one(ForgetRequest, request_id).state = state
        with world.ledger.database.begin() as tx, pytest.raises(WrongState):
            requests.cancel(tx, world.tenant_id, request_id)


def test_requests_of_another_tenant_are_not_found(world: World) -> None:
    request_id = world.forget("a")
    with world.ledger.database.begin() as tx:
        for act in (requests.get, requests.cancel, requests.certificate):
            with pytest.raises(NotFound):
                act(tx, "0" * 32, request_id)
        assert requests.list_newest(tx, "0" * 32) == []
        assert [r.id for r in requests.list_newest(tx, world.tenant_id, state="accepted")] == [request_id]
        assert requests.list_newest(tx, world.tenant_id, state="completed") == []


def test_cancelling_while_a_worker_resolves(postgres: World) -> None:
    """Whoever is second must see what the first has done: else a cancelled request has taken records out."""
    postgres.upload(person("a"))
    ready_model(postgres, "x")
    request_id = postgres.forget("a")
    with ThreadPoolExecutor(1) as pool:
        with postgres.ledger.database.begin() as tx:
            requests.resolve_accepted(tx, postgres.tenant_id)

            def cancel() -> None:
                with postgres.ledger.database.begin() as other:
                    requests.cancel(other, postgres.tenant_id, request_id)

            cancelled = pool.submit(cancel)
            wait_until(
                lambda: waiters(postgres.ledger.database) or cancelled.done(), 10, "the second transaction to wait"
            )
        with pytest.raises(WrongState):
            cancelled.result(timeout=20)
    assert postgres.request(request_id).state == "scrubbing"


def test_two_models_that_pass_at_the_same_moment_publish_the_request(postgres: World) -> None:
    """Neither transaction sees the other's version; without a lock each leaves the last step to the other, for ever."""
    postgres.upload(person("a"))
    models = [ready_model(postgres, name) for name in "xy"]
    request_id = postgres.forget("a")
    seq = resolve(postgres)
    with ThreadPoolExecutor(1) as pool:
        with postgres.ledger.database.begin() as tx:
            version = add_version(tx, models[0], 2, seq)
            requests.model_passed(tx, models[0], version.id, seq)

            def pass_second() -> None:
                with postgres.ledger.database.begin() as other:
                    second = add_version(other, models[1], 2, seq)
                    requests.model_passed(other, models[1], second.id, seq)

            passed = pool.submit(pass_second)
            wait_until(
                lambda: waiters(postgres.ledger.database) or passed.done(), 10, "the second transaction to wait or end"
            )
        passed.result(timeout=20)
    assert postgres.request(request_id).state == "published"
    assert events_of(postgres, request_id).count("forget.published") == 1


def test_a_failed_model_holds_no_request_up(world: World) -> None:
    world.upload(person("a"))
    models = [ready_model(world, name) for name in "xy"]
    request_id = world.forget("a")
    seq = resolve(world)
    with world.ledger.database.begin() as tx:
        version = versions.active(tx, models[0])
        assert version is not None
        requests.model_passed(tx, models[0], version.id, seq - 1)
    assert world.request(request_id).state == "scrubbing"
    with world.ledger.database.begin() as tx:
        requests.model_passed(tx, models[0], version.id, seq)
        requests.release_model(tx, models[1])
    assert world.request(request_id).state == "published"
    with world.ledger.database.read() as tx:
        assert tx.session.execute(select(RequestModel.model_id)).scalars().all() == [models[0]]


def test_what_a_request_waits_for_is_shown_until_that_model_has_passed(world: World) -> None:
    world.upload(person("a"))
    first, second = ready_model(world, "x"), ready_model(world, "y")
    request_id = world.forget("a")
    resolve(world)
    before = len(events_of(world, request_id))

    def passed(model_id: str) -> None:
        with world.ledger.database.begin() as tx:
            version = versions.active(tx, model_id)
            assert version is not None
            requests.model_passed(tx, model_id, version.id, 10**6)

    for model_id, shown in ((first, "model x: full"), (second, "model y: full")):
        with world.ledger.database.begin() as tx:
            requests.show_waiting(tx, world.tenant_id, model_id, "full")
        assert world.request(request_id).error == shown
    assert len(events_of(world, request_id)) == before
    passed(first)
    assert world.request(request_id).error == "model y: full"  # that one still waits
    passed(second)
    assert (world.request(request_id).state, world.request(request_id).error) == ("published", None)


def test_stuck_requests_say_so(world: World) -> None:
    world.upload(person("a"), person("b"))
    model_id = ready_model(world, "x")
    scrubbing = world.forget("a")
    resolve(world)
    accepted = world.forget("b")
    with world.ledger.database.begin() as tx:
        requests.mark_stuck(tx, world.tenant_id, None, "purge")
        requests.mark_stuck(tx, world.tenant_id, model_id, "advance")
    assert (world.request(scrubbing).error, world.request(accepted).error) == ("model x: advance", None)
    assert events_of(world, scrubbing)[-1] == "forget.stuck"
