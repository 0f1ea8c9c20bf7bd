"""Finding forget requests: every filter, every order, and pages that leave nothing out and show nothing twice."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import update
from support.world import NewWorld, World

from ledger import request_search, tenants
from ledger.request_search import Search
from ledger.tables import ForgetRequest

DAY_US = 86_400_000_000
ROWS = 12


@pytest.fixture
def world(new_world: NewWorld, database_url: str) -> World:
    return new_world(database_url, core_people=1)


@pytest.fixture
def filed(world: World) -> list[str]:
    """Requests in pairs received at the same moment: every third completed, every fourth overdue, two regulations."""
    ids = [world.forget(f"person-{i}") for i in range(ROWS)]
    with world.ledger.database.begin() as tx:
        for i, request_id in enumerate(ids):
            done = i % 3 == 0
            values = {
                "received_at": tx.now + i // 2,
                "due_at": tx.now + (-DAY_US if i % 4 == 0 else DAY_US * (ROWS - i)),
                "state": "completed" if done else "scrubbing",
                "outcome": "erased" if done else None,
                "completed_at": tx.now + i if done else None,
                "regulation": "ccpa" if i < 5 else "gdpr",
            }
            tx.session.execute(update(ForgetRequest).where(ForgetRequest.id == request_id).values(**values))
    return ids


def found(world: World, search: Search) -> list[str]:
    with world.ledger.database.read() as tx:
        rows = [row.id for row in request_search.find(tx, world.tenant_id, search, limit=None)]
        assert request_search.count(tx, world.tenant_id, search) == len(rows)
    return rows


def test_filters_and_orders(world: World, filed: list[str]) -> None:
    assert len(found(world, Search())) == ROWS
    assert set(found(world, Search(state="open"))) == {filed[i] for i in range(ROWS) if i % 3}
    assert set(found(world, Search(state="completed", outcome="erased"))) == set(filed[::3])
    assert set(found(world, Search(regulation="ccpa"))) == set(filed[:5])
    assert set(found(world, Search(overdue=True))) == {filed[4], filed[8]}  # 0 is overdue by its date, and completed
    assert found(world, Search(state="accepted")) == []
    by_completion = found(world, Search(order="completed"))
    assert by_completion[:4] == [filed[9], filed[6], filed[3], filed[0]]
    assert found(world, Search(order="due", overdue=False))[-1] == filed[1]
    assert set(found(world, Search(order="due"))[:3]) == {filed[0], filed[4], filed[8]}


def test_pages_leave_nothing_out(world: World, filed: list[str]) -> None:
    for order in request_search.ORDERS:
        search, seen = Search(order=order), list[str]()
        after = None
        while True:
            with world.ledger.database.read() as tx:
                rows = request_search.find(tx, world.tenant_id, search, limit=5, after=after)
                seen += [row.id for row in rows]
                assert len(seen) <= ROWS
                if len(rows) < 5:
                    break
                after = request_search.position(rows[-1], order)
        assert seen == found(world, search), order
        assert sorted(seen) == sorted(filed)


def test_everything_comes_in_groups(world: World, filed: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_search, "AT_ONCE", 4)
    groups = list(request_search.every(world.ledger.database, world.tenant_id, Search(regulation="gdpr")))
    assert [len(group) for group in groups] == [4, 3]
    assert [row.id for group in groups for row in group] == found(world, Search(regulation="gdpr"))


def test_another_tenant_finds_nothing_of_ours(world: World, filed: list[str]) -> None:
    with world.ledger.database.begin() as tx:
        other = tenants.create_tenant(tx, world.ledger.ring, "other").id
    assert found(replace(world, tenant_id=other), Search()) == []
