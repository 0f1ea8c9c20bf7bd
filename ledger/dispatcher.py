"""Telling workers about jobs, from a thread: woken when there may be one, and by itself when one becomes due.

What was told is remembered in memory only. A message that is lost, with Redis or with the process that should have sent
it, is sent again by whichever dispatcher has `again_after_s`; a message too many does nothing (see `jobs.claim`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

import structlog
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from ledger import nudges
from ledger.database import Database
from ledger.errors import LedgerError
from ledger.nudges import Nudge

RETRY_S = 1.0
"""Pause after Redis or the database could not be reached."""

log = structlog.get_logger(__name__)


class Sender(Protocol):
    """Where messages go (`ledger.broker.Broker`)."""

    def queue_of(self, kind: str) -> str:
        """Return the queue of a kind of job."""

    def send(self, nudge: Nudge) -> None:
        """Send a message. Raises BrokerUnreachable."""

    def waiting(self, queue: str) -> int:
        """Return how many messages nobody has taken. Raises BrokerUnreachable."""

    def close(self) -> None:
        """Let go of connections."""


class Dispatcher:
    """`start` a thread, or call `dispatch` by hand. `wake` may be called from anywhere and never waits."""

    def __init__(
        self,
        database: Database,
        sender: Sender,
        *,
        monotonic: Callable[[], float],
        look_every_s: float | None = None,
        again_after_s: float | None = None,
    ) -> None:
        """`look_every_s`: None looks only when woken or when a job becomes due. `again_after_s`: when to repeat a
        message about a job that nobody has begun although the queue is empty; None never does.
        """
        self._database = database
        self._sender = sender
        self._monotonic = monotonic
        self._look_every_s = look_every_s
        self._again_after_s = again_after_s
        self._told: dict[Nudge, float] = {}
        self._wake = threading.Event()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def wake(self) -> None:
        """Look for jobs at once."""
        self._wake.set()

    def start(self) -> None:
        """Start the thread. It looks once at its start."""
        self._thread = threading.Thread(target=self.run, name="dispatcher", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End `run`, and wait for the thread if there is one."""
        self._over.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()

    def run(self) -> None:
        """Tell workers about jobs until `stop`. A database or a Redis that is away for a while is waited for."""
        said = None
        while not self._over.is_set():
            self._wake.clear()
            try:
                pause_s, failed = self.dispatch(), None
            except (DBAPIError, PoolTimeout, LedgerError) as problem:
                pause_s, failed = None, type(problem).__name__
            if failed not in (None, said):
                log.warning("workers cannot be told about jobs; trying again", why=failed)
            said = failed
            if failed is None:
                self._wake.wait(pause_s)
            else:
                self._over.wait(RETRY_S)  # being woken does not make Redis come back sooner
        self._sender.close()

    def dispatch(self) -> float | None:
        """Send what is to be sent; return after how many seconds to look again, None: when woken.

        Raises BrokerUnreachable, LedgerError, DBAPIError.
        """
        with self._database.read() as tx:
            found = nudges.claimable(tx)
            due, now = nudges.next_due(tx), tx.now
        self._told = {nudge: at for nudge in found if (at := self._told.get(nudge)) is not None}
        for nudge in found:
            if nudge not in self._told or self._is_lost(nudge):
                self._sender.send(nudge)
                self._told[nudge] = self._monotonic()
        pauses = [] if self._look_every_s is None else [self._look_every_s]
        if due is not None:
            pauses.append(max(due - now, 0) / 1e6)
        return min(pauses, default=None)

    def _is_lost(self, nudge: Nudge) -> bool:
        """Whether a message was told long ago, is in the queue no more, and nobody has begun the job."""
        if self._again_after_s is None or self._monotonic() - self._told[nudge] < self._again_after_s:
            return False
        return self._sender.waiting(self._sender.queue_of(nudge.kind)) == 0
