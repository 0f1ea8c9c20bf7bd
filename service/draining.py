"""Stopping in two steps: first the process says that it is not ready, and only later it stops answering.

Whoever spreads requests over several processes notices the first, and sends no more; so a rolling restart refuses
nobody. Told twice, the process stops at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable


class Draining:
    """Whether the process was told to stop. `told` may be called from a signal handler."""

    def __init__(self, drain_s: float) -> None:
        """`drain_s`: for how long it goes on answering; 0: it stops at once."""
        self._drain_s = drain_s
        self.begun = False

    def told(self, stop: Callable[[], None]) -> None:
        """Begin to drain, and call `stop` when that is over, from a thread of its own; the second time at once."""
        if self.begun or not self._drain_s:
            self.begun = True
            stop()
            return
        self.begun = True
        timer = threading.Timer(self._drain_s, stop)
        timer.daemon = True
        timer.start()
