"""A deadline that comes near is told once, and again after an extension."""

from __future__ import annotations

import pytest
from sqlalchemy import select, update
from support.world import NewWorld, World

from ledger import due_soon, extensions
from ledger.tables import Event, ForgetRequest

DAY_US = 86_400_000_000


@pytest.fixture
def world(new_world: NewWorld, database_url: str) -> World:
    return new_world(database_url, core_people=1)


def told(world: World) -> list[str]:
    with world.ledger.database.read() as tx:
        return list(tx.session.execute(select(Event.subject).where(Event.kind == "forget.due_soon")).scalars())


def due_in(world: World, request_id: str, days: float) -> None:
    with world.ledger.database.begin() as tx:
        at = tx.now + int(days * DAY_US)
        tx.session.execute(update(ForgetRequest).where(ForgetRequest.id == request_id).values(due_at=at))


def test_each_deadline_is_told_once(world: World) -> None:
    near, far, overdue, ended = (world.forget(name) for name in "abcd")
    for request_id, days in ((near, 2.9), (far, 3.1), (overdue, -1), (ended, 1)):
        due_in(world, request_id, days)
    with world.ledger.database.begin() as tx:
        tx.session.get_one(ForgetRequest, ended).state = "completed"
    for _ in range(2):
        due_soon.tell(world.ledger.database, world.tenant_id)
        assert sorted(told(world)) == sorted([near, overdue])
    with world.ledger.database.begin() as tx:
        extensions.extend(tx, world.ledger.ring, world.tenant_id, near, "a case")
    due_in(world, near, 1)
    assert due_soon.tell(world.ledger.database, world.tenant_id) == 1
    assert due_soon.tell(world.ledger.database, world.tenant_id) == 0
