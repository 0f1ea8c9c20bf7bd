"""The worker's loop: jobs while there are any, then wait for a nudge or the next look."""

from __future__ import annotations

import threading

import structlog
from sqlalchemy.exc import DBAPIError

from ledger import batching
from ledger.errors import LedgerError, LogDamaged
from ledger.log.sequencer import sequence
from workers import sweeping
from workers.deps import Deps
from workers.runner import run_next

SWEEP_EVERY_US = 60_000_000
FLUSH_EVERY_US = 1_000_000

log = structlog.get_logger(__name__)


class Loop:
    """Runs jobs one after another. `nudge` and `stop` may be called from other threads and signal handlers."""

    def __init__(self, deps: Deps, *, poll_s: float) -> None:
        self._deps = deps
        self._poll_s = poll_s
        self._wake = threading.Event()
        self._over = False
        self._swept_us = self._flushed_us = 0
        self._log_damaged = False

    def nudge(self) -> None:
        """Look for jobs at once."""
        self._wake.set()

    def stop(self) -> None:
        """Finish the job in hand, then leave `run`."""
        self._over = True
        self._wake.set()

    def run(self) -> None:
        """Work until `stop`. A database that is away for a while is waited for."""
        said = None
        while not self._over:
            self._wake.clear()
            try:
                self._sweep()
                busy, failed = run_next(self._deps), None
            except (DBAPIError, LedgerError) as problem:
                busy, failed = False, type(problem).__name__
            if failed not in (None, said):  # once: the log may lie on the disk that is full
                log.warning("looking for jobs failed; trying again", why=failed)
            said = failed
            if not busy and not self._over:
                self._wake.wait(self._poll_s)

    def _sweep(self) -> None:
        """Now and then: begin full batches, give events their places in the log, take back what crashes left."""
        if self._deps.clock_us() - self._flushed_us >= FLUSH_EVERY_US:
            self._flushed_us = self._deps.clock_us()
            batching.flush(self._deps.ledger.database)
            self._grow_log()
        if self._deps.clock_us() - self._swept_us < SWEEP_EVERY_US:
            return
        self._swept_us = self._deps.clock_us()
        sweep(self._deps)

    def _grow_log(self) -> None:
        """Give events their places. A damaged log holds nothing else up: deadlines run, and events wait for places."""
        try:
            sequence(self._deps.ledger.database, self._deps.ledger.ring)
            self._log_damaged = False
        except LogDamaged as problem:
            if not self._log_damaged:  # once, not every second
                log.error("log damaged", why=str(problem))
            self._log_damaged = True


def sweep(deps: Deps) -> None:
    """Take back what crashed processes left (workers/sweeping.py)."""
    sweeping.sweep(deps.ledger)
