"""Accepting several forget requests in one transaction."""

from __future__ import annotations

import pytest
from sqlalchemy import event, func, select, update
from support.world import NewWorld, World, person

from ledger import batching, filing, jobs, tenants
from ledger.errors import InvalidIdentifier, NotFound, QuotaExceeded, SelectorInvalid
from ledger.filing import Asked
from ledger.selectors import Selector, SubjectName
from ledger.tables import Event, ForgetRequest, Job, Model


@pytest.fixture
def world(new_world: NewWorld, database_url: str) -> World:
    return new_world(database_url, core_people=1)


def about(name: str, regulation: str = "gdpr") -> Asked:
    return Asked(Selector(subjects=(SubjectName("email", "raw", name),)), regulation)


def accept(world: World, *asked: Asked, most: int | None = None) -> list[object]:
    with world.ledger.database.begin() as tx:
        hasher = tenants.alias_hasher(tx, world.ledger.ring, world.tenant_id)
        return list(filing.accept_all(tx, world.tenant_id, asked, hasher, most=most))


def waiting_jobs(world: World, kind: str) -> list[int]:
    with world.ledger.database.read() as tx:
        return list(tx.session.execute(select(Job.not_before).where(Job.kind == kind, Job.state == "ready")).scalars())


def test_those_that_are_refused_leave_nothing_and_the_others_are_accepted(world: World) -> None:
    everything = Selector(everything=True, cohort_ids=("0" * 32,))
    outcomes = accept(world, about("a@x.org"), Asked(Selector(), "gdpr"), Asked(everything, "gdpr"), about(""))
    accepted, *refused = outcomes
    assert isinstance(accepted, ForgetRequest)
    assert [type(one) for one in refused] == [SelectorInvalid, NotFound, InvalidIdentifier]
    with world.ledger.database.read() as tx:
        assert tx.session.execute(select(ForgetRequest.id)).scalars().all() == [accepted.id]
        events = select(Event.subject).where(Event.kind == "forget.accepted")
        assert tx.session.execute(events).scalars().all() == [accepted.id]


def test_as_many_are_accepted_as_there_is_room_for(world: World) -> None:
    outcomes = accept(world, about("a@x.org"), about(""), about("b@x.org"), about("c@x.org"), most=2)
    assert [type(one) for one in outcomes] == [ForgetRequest, InvalidIdentifier, ForgetRequest, QuotaExceeded]
    assert isinstance(accept(world, about("d@x.org"), most=2)[0], QuotaExceeded)


def test_a_model_gets_one_job_that_begins_when_the_most_urgent_says(world: World) -> None:
    """A model that collects is begun seven days before the nearest deadline; GDPR's comes before CCPA's."""
    with world.ledger.database.begin() as tx:
        tx.session.execute(update(Job).values(state="done"))
    collecting = world.register("collecting")
    with world.ledger.database.begin() as tx:
        tx.session.execute(update(Job).values(state="done"))
        tx.session.execute(update(Model).where(Model.id == collecting).values(state="ready", batch_minimum=10))
    later, sooner = accept(world, about("a@x.org", "ccpa"), about("b@x.org", "gdpr"))
    assert isinstance(sooner, ForgetRequest)
    assert isinstance(later, ForgetRequest)
    assert later.due_at > sooner.due_at
    assert waiting_jobs(world, jobs.ADVANCE) == [sooner.due_at - batching.LATEST_US]
    assert waiting_jobs(world, jobs.PURGE) == []


def test_without_a_model_one_purge_serves_all(world: World) -> None:
    world.upload(person("somebody"))
    accept(world, *(about(f"p{i}@x.org") for i in range(5)))
    assert len(waiting_jobs(world, jobs.PURGE)) == 1


def test_the_database_is_asked_no_more_often_for_many_than_for_one(world: World) -> None:
    asked: list[str] = []
    engine = world.ledger.database.engine
    # SQLite, which is asked without a journey, is given events one by one.
    counted = "SELECT" if world.ledger.database.is_sqlite else ""
    event.listen(engine, "before_cursor_execute", lambda *call: asked.append(call[2]) if counted in call[2] else None)
    accept(world, about("a@x.org"))
    for_one = len(asked)
    asked.clear()
    accept(world, *(about(f"{i}@x.org") for i in range(50)))
    assert len(asked) == for_one
    with world.ledger.database.read() as tx:
        assert tx.session.execute(select(func.count()).select_from(ForgetRequest)).scalar_one() == 51
