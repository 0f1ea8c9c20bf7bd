"""Telling people how far a job is, at most a few times a second."""

from __future__ import annotations

from ledger import jobs
from workers.deps import Deps

INTERVAL_US = 250_000


class Progress:
    """Writes a fraction of 0 to 1 into the job's row; call it as often as you like."""

    def __init__(self, deps: Deps, claim: jobs.Claim, *, note: str) -> None:
        self._deps = deps
        self._claim = claim
        self._note = note
        self._last_us = 0

    def __call__(self, fraction: float) -> None:
        """Report `fraction`, unless the last report was a moment ago. Raises LeaseLost: then stop working."""
        now = self._deps.clock_us()
        if now - self._last_us >= INTERVAL_US:
            jobs.report(self._deps.ledger.database, self._claim, fraction, self._note)
            self._last_us = now
