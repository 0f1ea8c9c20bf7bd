"""Sending what is owed: one message at a time to each address, a few addresses at a time.

A receiver that is slow holds up its own messages only, never a job. If this process dies between sending and writing
that down, the message is sent again under the same id: at least once.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import structlog
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from standardwebhooks import Webhook

from ledger.errors import LedgerError
from ledger.ledger import Ledger
from ledger.tables import WebhookEndpoint
from ledger.webhooks import deliveries, endpoints
from ledger.webhooks.deliveries import Answer, Claimed
from ledger.webhooks.targets import Rules
from workers.webhooks.posting import Poster

LOOK_S = 0.5
AT_ONCE = 4
USER_AGENT = "Lacuna-Webhooks/1"

Post = Callable[[str, bytes, Mapping[str, str]], Answer]
log = structlog.get_logger(__name__)


def nothing(_point: str) -> None:
    """Go on: this is where a test may end the process."""


def deliver_one(ledger: Ledger, post: Post, *, point: Callable[[str], None] = nothing) -> bool:
    """Send one message that is due and write down what came of it. False: none is due."""
    claimed = deliveries.claim(ledger.database)
    if claimed is None:
        return False
    _deliver(ledger, claimed, post, point)
    return True


def _deliver(ledger: Ledger, claimed: Claimed, post: Post, point: Callable[[str], None]) -> None:
    with ledger.database.read() as tx:
        endpoint = tx.session.get(WebhookEndpoint, claimed.endpoint_id)
        if endpoint is None or endpoint.state != "active":  # deleted or disabled a moment ago
            return
        secrets, now = endpoints.secrets_of(endpoint, ledger.ring, tx.now), tx.now
        url = endpoints.url_of(endpoint, ledger.ring)
    answer = post(url, claimed.body, headers(claimed, secrets, now))
    point("webhook.sent")
    with ledger.database.begin() as tx:
        deliveries.note(tx, claimed, answer)
    log.info("webhook", endpoint=claimed.endpoint_id, status=answer.status, why=answer.error, attempt=claimed.attempt)


def headers(claimed: Claimed, secrets: list[str], now: int) -> dict[str, str]:
    """Return the headers of Standard Webhooks 1.0.0: id, time, and one signature for each secret. now: microseconds."""
    message_id, at = f"msg_{claimed.delivery_id}", datetime.fromtimestamp(now // 1_000_000, UTC)
    signed = [Webhook(secret).sign(message_id, at, claimed.body.decode()) for secret in secrets]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(now // 1_000_000),
        "webhook-signature": " ".join(signed),
        "User-Agent": USER_AGENT,
    }


def open_courier(ledger: Ledger, rules: Rules) -> Courier:
    """Return a courier that sends over the network, with this machine's trusted certificates."""
    return Courier(ledger, Poster(rules, ssl.create_default_context()).post)


class Courier:
    """`start` a thread that looks for messages twice a second, until `stop`."""

    def __init__(self, ledger: Ledger, post: Post, *, look_s: float = LOOK_S, at_once: int = AT_ONCE) -> None:
        """at_once: how many addresses are sent to at the same time."""
        self._ledger = ledger
        self._post = post
        self._look_s = look_s
        self._room = threading.Semaphore(at_once)
        self._over = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="courier", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Take no more messages. What is being sent may be cut off by the end of the process, and is sent again."""
        self._over.set()
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        said = None
        while not self._over.is_set():
            self._wake.clear()
            failed = self._guarded(self._look)
            if failed not in (None, said):
                log.warning("webhooks cannot be looked for; trying again", why=failed)
            said = failed
            self._wake.wait(self._look_s)

    def _look(self) -> None:
        while not self._over.is_set() and self._room.acquire(blocking=False):
            claimed = None
            try:
                claimed = deliveries.claim(self._ledger.database)
            finally:
                if claimed is None:
                    self._room.release()
            if claimed is None:
                return
            threading.Thread(target=self._send, args=(claimed,), name="webhook", daemon=True).start()

    def _send(self, claimed: Claimed) -> None:
        try:
            failed = self._guarded(lambda: _deliver(self._ledger, claimed, self._post, nothing))
            if failed is not None:
                log.warning("end of a webhook's attempt not noted; it will be sent again", why=failed)
        finally:
            self._room.release()
            self._wake.set()  # the next message of the same address can go

    @staticmethod
    def _guarded(work: Callable[[], None]) -> str | None:
        """Do it; return the kind of error of a ledger that cannot be used now, None: it was done."""
        try:
            work()
        except (DBAPIError, PoolTimeout, LedgerError) as problem:
            return type(problem).__name__
        return None
