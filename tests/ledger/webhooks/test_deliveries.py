"""What is owed: written with what it tells of, sent once at a time, again after each failure, and not for ever."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select
from support.clock import FixedClock

from ledger import events, tenants
from ledger.errors import NotFound, QuotaExceeded, WrongState
from ledger.ledger import Ledger, open_ledger
from ledger.migrate import upgrade
from ledger.settings import LedgerSettings
from ledger.tables import Event, WebhookDelivery, WebhookEndpoint
from ledger.webhooks import deliveries, endpoints, outbox
from ledger.webhooks.deliveries import DELAYS_S, Answer, Claimed
from ledger.webhooks.messages import Message

URL = "https://hooks.example.org/token-17"
HOUR_S = 3600


BOTH = pytest.mark.parametrize("ledger", ["sqlite", "postgres"], indirect=True)
"""For what depends on how rows are locked and taken back; the rest is arithmetic, and the same on both."""


@pytest.fixture
def ledger(request: pytest.FixtureRequest, tmp_path: Path, clock: FixedClock) -> Iterator[Ledger]:
    url = f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    if getattr(request, "param", "sqlite") == "postgres":
        url = request.getfixturevalue("fresh_postgres_database")
    settings = LedgerSettings(data_dir=tmp_path / "data", database_url=url)
    found = open_ledger(settings, clock=clock, random=secrets.token_bytes)
    upgrade(found.database.engine)
    yield found
    found.close()


@pytest.fixture
def tenant(ledger: Ledger) -> str:
    with ledger.database.begin() as tx:
        return tenants.create_tenant(tx, ledger.ring, "default").id


def register(ledger: Ledger, tenant: str, *wanted: str) -> str:
    with ledger.database.begin() as tx:
        return endpoints.register(tx, ledger.ring, tenant, url=URL, label="desk", events=wanted)[0].id


def happen(ledger: Ledger, tenant: str, kind: str = "forget.accepted", **facts: object) -> None:
    with ledger.database.begin() as tx:
        events.append(tx, tenant, kind, tx.new_id(), **facts)


def owed(ledger: Ledger) -> list[WebhookDelivery]:
    with ledger.database.read() as tx:
        rows = select(WebhookDelivery).order_by(WebhookDelivery.created_at, WebhookDelivery.id)
        return list(tx.session.execute(rows).scalars())


def endpoint(ledger: Ledger, endpoint_id: str) -> WebhookEndpoint:
    with ledger.database.read() as tx:
        return tx.session.get_one(WebhookEndpoint, endpoint_id)


def attempt(ledger: Ledger, answer: Answer) -> Claimed:
    claimed = deliveries.claim(ledger.database)
    assert claimed is not None
    with ledger.database.begin() as tx:
        deliveries.note(tx, claimed, answer)
    return claimed


@BOTH
def test_a_message_is_owed_exactly_if_its_event_happened(ledger: Ledger, tenant: str) -> None:
    register(ledger, tenant)
    with ledger.database.begin() as tx:
        events.append(tx, tenant, "forget.accepted", tx.new_id(), due_at=1)
        tx.session.flush()
        tx.session.rollback()
    assert owed(ledger) == []
    happen(ledger, tenant, due_at=1_793_491_200_000_001)
    (row,) = owed(ledger)
    with ledger.database.read() as tx:
        event = tx.session.execute(select(Event)).scalar_one()
    said = json.loads(row.body)
    assert said["type"] == row.type == "request.accepted"
    assert said["data"] == {"request": event.subject, "state": "accepted", "due_at": "2026-11-01T00:00:00.000001Z"}
    assert said["timestamp"] == "2026-11-01T00:00:00.000000Z"


def test_only_who_wants_to_know_is_told_and_no_other_tenant(ledger: Ledger, tenant: str) -> None:
    with ledger.database.begin() as tx:
        stranger = tenants.create_tenant(tx, ledger.ring, "other").id
    everything, some = register(ledger, tenant), register(ledger, tenant, "request.completed")
    register(ledger, stranger)
    happen(ledger, tenant)
    happen(ledger, tenant, "forget.completed", outcome="erased", certificate="0" * 64)
    happen(ledger, tenant, "hold.placed")  # nobody's business outside
    found = [(row.endpoint_id, row.type) for row in owed(ledger)]
    assert sorted(found) == sorted(
        [(everything, "request.accepted"), (everything, "request.completed"), (some, "request.completed")]
    )
    assert not any(b"certificate" in row.body for row in owed(ledger))


def test_neither_the_address_nor_the_secret_stands_readable_in_the_database(ledger: Ledger, tenant: str) -> None:
    with ledger.database.begin() as tx:
        row, secret = endpoints.register(tx, ledger.ring, tenant, url=URL, label="desk", events=[])
    kept = endpoint(ledger, row.id)
    assert b"token-17" not in kept.url
    assert secret.encode() not in kept.secret
    assert endpoints.url_of(kept, ledger.ring) == URL
    assert endpoints.secrets_of(kept, ledger.ring, 0) == [secret]


def test_ten_attempts_within_seventy_six_hours_then_it_has_failed(
    ledger: Ledger, tenant: str, clock: FixedClock
) -> None:
    register(ledger, tenant)
    happen(ledger, tenant)
    began, claimed_ids = clock(), set()
    for pause_s in DELAYS_S:
        claimed_ids.add(attempt(ledger, Answer(500)).delivery_id)
        (row,) = owed(ledger)
        assert row.state == "pending"
        assert pause_s <= (row.not_before - clock()) / 1e6 <= 1.1 * pause_s
        assert deliveries.claim(ledger.database) is None
        clock.advance(microseconds=row.not_before - clock())
    assert 75 * HOUR_S <= (clock() - began) / 1e6 <= 84 * HOUR_S
    attempt(ledger, Answer(None, "the connection failed"))
    (row,) = owed(ledger)
    assert (row.state, row.attempts, row.last_error) == ("failed", 10, "the connection failed")
    assert claimed_ids == {row.id}  # always the same id
    clock.advance(days=9)
    assert deliveries.claim(ledger.database) is None


def test_a_receiver_that_asks_for_patience_gets_it_but_not_for_ever(
    ledger: Ledger, tenant: str, clock: FixedClock
) -> None:
    register(ledger, tenant)
    happen(ledger, tenant)
    attempt(ledger, Answer(503, retry_after_s=600))
    assert owed(ledger)[0].not_before - clock() == 600_000_000
    clock.advance(seconds=600)
    attempt(ledger, Answer(503, retry_after_s=10**9))
    assert owed(ledger)[0].not_before - clock() == 24 * HOUR_S * 1_000_000


def test_gone_disables_at_once_and_success_ends_a_failure(ledger: Ledger, tenant: str, clock: FixedClock) -> None:
    webhook = register(ledger, tenant)
    happen(ledger, tenant)
    attempt(ledger, Answer(500))
    assert endpoint(ledger, webhook).failing_since == clock()
    clock.advance(seconds=6)
    attempt(ledger, Answer(204))
    assert endpoint(ledger, webhook).failing_since is None
    assert owed(ledger)[0].state == "delivered"
    happen(ledger, tenant)
    happen(ledger, tenant)
    attempt(ledger, Answer(410))
    found = endpoint(ledger, webhook)
    assert (found.state, found.why) == ("disabled", "gone")
    assert [row.state for row in owed(ledger)] == ["delivered", "failed", "failed"]
    happen(ledger, tenant)
    assert len(owed(ledger)) == 3  # and nothing more is owed to it


def test_an_address_that_fails_for_five_days_is_disabled(ledger: Ledger, tenant: str, clock: FixedClock) -> None:
    webhook = register(ledger, tenant)
    for _ in range(5):
        happen(ledger, tenant)
        attempt(ledger, Answer(500))
        assert endpoint(ledger, webhook).state == "active"
        clock.advance(days=1)
    attempt(ledger, Answer(500))
    assert endpoint(ledger, webhook).why == "failing"


@BOTH
def test_one_message_at_a_time_to_an_address_and_others_do_not_wait(ledger: Ledger, tenant: str) -> None:
    slow, quick = register(ledger, tenant), register(ledger, tenant)
    happen(ledger, tenant)
    happen(ledger, tenant)
    first, second = deliveries.claim(ledger.database), deliveries.claim(ledger.database)
    assert first is not None
    assert second is not None
    assert {first.endpoint_id, second.endpoint_id} == {slow, quick}
    assert deliveries.claim(ledger.database) is None
    with ledger.database.begin() as tx:
        deliveries.note(tx, second, Answer(200))
    third = deliveries.claim(ledger.database)
    assert third is not None
    assert third.endpoint_id == second.endpoint_id


@BOTH
def test_a_sender_that_dies_is_followed_by_another_and_counts_no_more(
    ledger: Ledger, tenant: str, clock: FixedClock
) -> None:
    webhook = register(ledger, tenant)
    happen(ledger, tenant)
    dead = deliveries.claim(ledger.database)
    assert dead is not None
    assert deliveries.claim(ledger.database) is None
    clock.advance(seconds=121)
    successor = deliveries.claim(ledger.database)
    assert successor is not None
    assert (successor.delivery_id, successor.body, successor.attempt) == (dead.delivery_id, dead.body, 2)
    with ledger.database.begin() as tx:
        deliveries.note(tx, dead, Answer(410))  # it wakes up too late: neither the message nor the address is its own
    assert (endpoint(ledger, webhook).state, owed(ledger)[0].state) == ("active", "pending")
    with ledger.database.begin() as tx:
        deliveries.note(tx, successor, Answer(200))
    assert owed(ledger)[0].state == "delivered"


@BOTH
def test_what_was_missed_is_replayed_under_the_same_ids(ledger: Ledger, tenant: str, clock: FixedClock) -> None:
    webhook = register(ledger, tenant)
    happen(ledger, tenant)
    clock.advance(seconds=10)
    happen(ledger, tenant)
    attempt(ledger, Answer(410))
    before = {row.id for row in owed(ledger)}
    with pytest.raises(WrongState), ledger.database.begin() as tx:
        deliveries.replay_since(tx, endpoints.get(tx, tenant, webhook), 0)
    with ledger.database.begin() as tx:
        endpoints.change(tx, ledger.ring, tenant, webhook, state="active")
        assert deliveries.replay_since(tx, endpoints.get(tx, tenant, webhook), clock()) == 1
        assert deliveries.replay_since(tx, endpoints.get(tx, tenant, webhook), 0) == 1
        assert deliveries.replay_since(tx, endpoints.get(tx, tenant, webhook), 0) == 0
    sent = {attempt(ledger, Answer(200)).delivery_id, attempt(ledger, Answer(200)).delivery_id}
    assert sent == before
    with ledger.database.begin() as tx:  # one that arrived is sent again only when it is named
        deliveries.replay(tx, endpoints.get(tx, tenant, webhook), sent.pop())
    assert [row.state for row in owed(ledger)].count("pending") == 1


def test_old_secrets_sign_for_a_while_beside_new_ones(ledger: Ledger, tenant: str, clock: FixedClock) -> None:
    with ledger.database.begin() as tx:
        row, first = endpoints.register(tx, ledger.ring, tenant, url=URL, label="desk", events=[])
    with ledger.database.begin() as tx:
        row, second = endpoints.rotate(tx, ledger.ring, tenant, row.id, overlap_us=60_000_000)
    assert endpoints.secrets_of(row, ledger.ring, clock()) == [second, first]
    assert endpoints.secrets_of(row, ledger.ring, clock() + 60_000_000) == [second]
    with ledger.database.begin() as tx:
        row, third = endpoints.rotate(tx, ledger.ring, tenant, row.id, overlap_us=0)
    assert endpoints.secrets_of(row, ledger.ring, clock()) == [third]


def test_there_is_room_for_twenty_and_deleting_makes_room(ledger: Ledger, tenant: str, clock: FixedClock) -> None:
    ids = [register(ledger, tenant) for _ in range(endpoints.MOST)]
    happen(ledger, tenant)
    with pytest.raises(QuotaExceeded):
        register(ledger, tenant)
    with ledger.database.begin() as tx:
        endpoints.remove(tx, tenant, ids[0])
        with pytest.raises(NotFound):
            endpoints.get(tx, tenant, ids[0])
    assert len(owed(ledger)) == endpoints.MOST - 1
    register(ledger, tenant)
    gone = endpoint(ledger, ids[0])
    assert (gone.url, gone.secret, gone.label) == (b"", b"", "")
    clock.advance(seconds=3601)
    deliveries.drop_old(ledger.database)
    with ledger.database.read() as tx:
        assert tx.session.get(WebhookEndpoint, ids[0]) is None


@BOTH
def test_whoever_owes_a_message_while_its_address_is_deleted_does_not_fail(
    ledger: Ledger, tenant: str, clock: FixedClock
) -> None:
    webhook = register(ledger, tenant)
    happen(ledger, tenant)
    claimed = deliveries.claim(ledger.database)
    assert claimed is not None
    with ledger.database.begin() as tx:
        endpoints.remove(tx, tenant, webhook)
    with ledger.database.begin() as tx:  # this transaction had looked before
        outbox.owe(tx, tenant, webhook, Message("ping", {}))
    with ledger.database.begin() as tx:
        deliveries.note(tx, claimed, Answer(410))
    assert endpoint(ledger, webhook).state == "deleted"
    assert deliveries.claim(ledger.database) is None
    clock.advance(seconds=3601)
    assert deliveries.drop_old(ledger.database) == 1
    assert owed(ledger) == []


def test_what_ended_a_month_ago_is_deleted_and_what_waits_is_not(
    ledger: Ledger, tenant: str, clock: FixedClock
) -> None:
    register(ledger, tenant)
    happen(ledger, tenant)
    happen(ledger, tenant)
    attempt(ledger, Answer(200))
    assert deliveries.drop_old(ledger.database) == 0
    clock.advance(days=31)
    assert deliveries.drop_old(ledger.database) == 1
    assert [row.state for row in owed(ledger)] == ["pending"]
