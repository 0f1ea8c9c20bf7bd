"""Messages that are owed: which one to send now, what came of it, when to try again, and sending one once more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, delete, exists, or_, select, update
from sqlalchemy.orm import aliased

from ledger import paging
from ledger.database import Database, Transaction
from ledger.errors import NotFound, WrongState
from ledger.tables import WebhookDelivery, WebhookEndpoint

PENDING, DELIVERED, FAILED = "pending", "delivered", "failed"
GONE, FAILING = "gone", "failing"
SECOND_US = 1_000_000
HOUR_US = 3600 * SECOND_US
DELAYS_S = (5, 300, 1800, 2 * 3600, 5 * 3600, 10 * 3600, 14 * 3600, 20 * 3600, 24 * 3600)
"""Pauses after each failed attempt: ten attempts over 75 and a half hours (Standard Webhooks 1.0.0)."""
LONGEST_PAUSE_S = 24 * 3600
"""A receiver that asks to be left alone for longer is tried again after this."""
LEASE_US = 120 * SECOND_US
"""Longer than any attempt may take. If a sender dies, its message is sent again after that."""
PATIENCE_US = 5 * 24 * HOUR_US
"""An address that has answered no message for so long is disabled."""
KEPT_US = 30 * 24 * HOUR_US
REPLAYED_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Claimed:
    """A message that this process sends now. attempt: the how manieth, from 1."""

    delivery_id: str
    endpoint_id: str
    body: bytes
    attempt: int
    lease_until: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of an attempt. status: HTTP, None: no answer, and `error` says why. retry_after_s: as it asked."""

    status: int | None
    error: str | None = None
    retry_after_s: int | None = None

    @property
    def is_success(self) -> bool:
        """Whether the message arrived."""
        return self.status is not None and 200 <= self.status < 300


def is_any_due(tx: Transaction) -> bool:
    """Whether there is something to send at this moment."""
    return tx.session.execute(select(WebhookDelivery.id).where(_due(tx)).limit(1)).first() is not None


def claim(database: Database) -> Claimed | None:
    """Take the message that has waited longest, of an address that nobody sends to at this moment; None: there is none.

    A cheap look comes first: a transaction that writes would keep others from writing.
    """
    with database.read() as tx:
        if not is_any_due(tx):
            return None
    with database.begin() as tx:
        query = select(WebhookDelivery).where(_due(tx)).order_by(WebhookDelivery.not_before, WebhookDelivery.id)
        query = query.limit(1).with_for_update(skip_locked=True, of=WebhookDelivery)
        row = tx.session.execute(query).scalars().first()
        if row is None:
            return None
        row.attempts += 1
        row.lease_until = tx.now + LEASE_US
        return Claimed(row.id, row.endpoint_id, row.body, row.attempts, row.lease_until)


def _due(tx: Transaction) -> ColumnElement[bool]:
    other = aliased(WebhookDelivery)
    busy = exists().where(other.endpoint_id == WebhookDelivery.endpoint_id, other.state == PENDING)
    busy = busy.where(other.lease_until > tx.now).correlate(WebhookDelivery)
    listening = exists().where(WebhookEndpoint.id == WebhookDelivery.endpoint_id, WebhookEndpoint.state == "active")
    listening = listening.correlate(WebhookDelivery)
    return and_(WebhookDelivery.state == PENDING, WebhookDelivery.not_before <= tx.now, listening, ~busy)


def note(tx: Transaction, claimed: Claimed, answer: Answer) -> None:
    """Write down what came of an attempt. Nothing, if somebody else has taken the message over, or deleted it."""
    # The address first, as whoever disables or deletes it does: in one order, nobody waits in a circle.
    # This lock lets others go on owing messages to it.
    lock = {"key_share": True}
    endpoint = tx.session.get(WebhookEndpoint, claimed.endpoint_id, with_for_update=lock, populate_existing=True)
    row = tx.session.get(WebhookDelivery, claimed.delivery_id, with_for_update=True, populate_existing=True)
    if endpoint is None or endpoint.state == "deleted" or row is None or row.lease_until != claimed.lease_until:
        return
    row.lease_until = None
    row.last_status, row.last_error = answer.status, answer.error
    if answer.is_success:
        row.state, row.delivered_at, endpoint.failing_since = DELIVERED, tx.now, None
        return
    if row.state == PENDING:
        pause_us = _pause_us(tx, row.attempts, answer.retry_after_s)
        row.state = FAILED if pause_us is None else PENDING
        row.not_before = tx.now + (pause_us or 0)
    endpoint.failing_since = endpoint.failing_since or tx.now
    if answer.status == 410:
        disable(tx, endpoint, GONE)
    elif tx.now - endpoint.failing_since >= PATIENCE_US:
        disable(tx, endpoint, FAILING)


def _pause_us(tx: Transaction, attempts: int, retry_after_s: int | None) -> int | None:
    """Return how long to wait after so many attempts, None: that was the last one.

    Up to a tenth more, at random, so that messages that failed together do not come back together.
    """
    if attempts > len(DELAYS_S):
        return None
    wait_s = DELAYS_S[attempts - 1]
    pause_us = wait_s * SECOND_US + wait_s * SECOND_US // 10 * tx.random(1)[0] // 256
    return max(pause_us, min(retry_after_s or 0, LONGEST_PAUSE_S) * SECOND_US)


def disable(tx: Transaction, endpoint: WebhookEndpoint, why: str) -> None:
    """Send nothing more to an address. What was owed to it counts as failed, and can be replayed later."""
    endpoint.state, endpoint.why = "disabled", why
    owed = update(WebhookDelivery).where(WebhookDelivery.endpoint_id == endpoint.id, WebhookDelivery.state == PENDING)
    tx.session.execute(owed.values(state=FAILED).execution_options(synchronize_session="fetch"))


def get(tx: Transaction, endpoint_id: str, delivery_id: str) -> WebhookDelivery:
    """Return a message of an address. Raises NotFound."""
    row = tx.session.get(WebhookDelivery, delivery_id)
    if row is None or row.endpoint_id != endpoint_id:
        raise NotFound("delivery", delivery_id)
    return row


def list_newest(
    tx: Transaction, endpoint_id: str, *, state: str | None, limit: int, after: paging.Position | None
) -> Sequence[WebhookDelivery]:
    """Return an address's newest messages, in a state or in any. `after`: when the last one before was made, its id."""
    query = select(WebhookDelivery).where(WebhookDelivery.endpoint_id == endpoint_id)
    if state is not None:
        query = query.where(WebhookDelivery.state == state)
    order = (WebhookDelivery.created_at, True), (WebhookDelivery.id, False)
    return tx.session.execute(paging.ordered(query, *order, after=after, limit=limit)).scalars().all()


def replay(tx: Transaction, endpoint: WebhookEndpoint, delivery_id: str) -> WebhookDelivery:
    """Send a message again, with the same id, as if for the first time. Raises NotFound, WrongState."""
    get(tx, endpoint.id, delivery_id)
    _require_active(endpoint)
    row = tx.session.get_one(WebhookDelivery, delivery_id, with_for_update=True, populate_existing=True)
    row.state, row.attempts, row.not_before, row.lease_until = PENDING, 0, tx.now, None
    return row


def replay_since(tx: Transaction, endpoint: WebhookEndpoint, since: int) -> int:
    """Send again what was made since and has not arrived, the oldest first, at most 1,000; return how many.

    Raises WrongState.
    """
    _require_active(endpoint)
    missed = select(WebhookDelivery.id).where(
        WebhookDelivery.endpoint_id == endpoint.id, WebhookDelivery.created_at >= since, WebhookDelivery.state == FAILED
    )
    missed = missed.order_by(WebhookDelivery.created_at, WebhookDelivery.id).limit(REPLAYED_AT_ONCE)
    again = update(WebhookDelivery).where(WebhookDelivery.id.in_(missed))
    again = again.values(state=PENDING, attempts=0, not_before=tx.now, lease_until=None)
    return tx.session.connection().execute(again).rowcount


def _require_active(endpoint: WebhookEndpoint) -> None:
    if endpoint.state != "active":
        raise WrongState("webhook", endpoint.state, "active")


def drop_old(database: Database) -> int:
    """Delete messages that ended a month ago, and addresses that were deleted an hour ago; return how many messages."""
    with database.read() as tx:
        gone = and_(WebhookEndpoint.state == "deleted", WebhookEndpoint.failing_since < tx.now - HOUR_US)
        ended = and_(WebhookDelivery.state.in_((DELIVERED, FAILED)), WebhookDelivery.created_at < tx.now - KEPT_US)
        old = or_(ended, WebhookDelivery.endpoint_id.in_(select(WebhookEndpoint.id).where(gone)))
        found = [select(WebhookDelivery.id).where(old), select(WebhookEndpoint.id).where(gone)]
        if all(tx.session.execute(query.limit(1)).first() is None for query in found):
            return 0
    with database.begin() as tx:
        connection = tx.session.connection()
        dropped = connection.execute(delete(WebhookDelivery).where(old)).rowcount
        connection.execute(delete(WebhookEndpoint).where(gone))
        return dropped
