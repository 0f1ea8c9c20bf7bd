"""What an API process does once a minute, in a thread, so that no request waits for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import structlog
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from ledger import api_keys, idempotency
from ledger.database import Database
from ledger.errors import LedgerError

EVERY_S = 60.0

log = structlog.get_logger(__name__)


class Housekeeping:
    """Writes when each key was used last, and drops answers that were kept long enough.

    `start` a thread, or call `tidy` by hand.
    """

    def __init__(
        self, database: Database, *, every_s: float = EVERY_S, also: Sequence[Callable[[Database], None]] = ()
    ) -> None:
        """`every_s`: seconds between two rounds, so a key's last use is written no more often.

        `also` is done in every round.
        """
        self._also = also
        self._database = database
        self._every_s = every_s
        self._used_at: dict[str, int] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="housekeeping", daemon=True)

    def used(self, key_id: str) -> None:
        """Note that a key was used now. It only touches memory."""
        with self._lock:
            self._used_at[key_id] = self._database.clock()

    def tidy(self) -> None:
        """Write what was noted, and sweep. Raises what the database does; then it is kept for the next round."""
        self._write_uses()
        for chore in self._also:
            chore(self._database)
        idempotency.sweep(self._database)

    def _write_uses(self) -> None:
        with self._lock:
            noted, self._used_at = self._used_at, {}
        if not noted:
            return
        try:
            with self._database.begin() as tx:
                api_keys.note_uses(tx, noted)
        except BaseException:
            with self._lock:
                self._used_at = {**noted, **self._used_at}
            raise

    def start(self) -> None:
        """Begin with the rounds."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread, after a last round."""
        self._stopping.set()
        self._thread.join()
        self._tidy_if_possible()

    def _run(self) -> None:
        while not self._stopping.wait(self._every_s):
            self._tidy_if_possible()

    def _tidy_if_possible(self) -> None:
        try:
            self.tidy()
        except (DBAPIError, PoolTimeout, LedgerError) as problem:
            log.warning("housekeeping.failed", raised=type(problem).__name__)  # the next round tries again
