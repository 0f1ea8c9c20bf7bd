"""Where the library `limits` keeps its counts: in memory, without the thread that its own storage starts now and then.

Starting a thread takes longer than a prediction. Windows that are over are dropped when there are many.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from limits.storage import Storage

MANY = 10_000


class Windows(Storage):
    """Fixed windows: a count, and when it ends. Belongs to one thread."""

    STORAGE_SCHEME = None

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        """`now` gives seconds."""
        super().__init__()
        self._now = now
        self._windows: dict[str, tuple[int, float]] = {}

    @property
    def base_exceptions(self) -> type[Exception]:
        """What may go wrong here: nothing that the library would have to wrap."""
        return MemoryError

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Count; begin a window of `expiry` seconds if there is none. Returns the count."""
        now = self._now()
        count, end = self._windows.get(key, (0, 0.0))
        if now >= end:
            if len(self._windows) >= MANY:
                self._windows = {name: window for name, window in self._windows.items() if window[1] > now}
            count, end = 0, now + expiry
        self._windows[key] = count + amount, end
        return count + amount

    def get(self, key: str) -> int:
        """Return the count of the window that runs, 0 if none does."""
        count, end = self._windows.get(key, (0, 0.0))
        return count if self._now() < end else 0

    def get_expiry(self, key: str) -> float:
        """Return when the window ends, now if none runs."""
        return max(self._now(), self._windows.get(key, (0, 0.0))[1])

    def check(self) -> bool:
        """Whether counts can be kept."""
        return True

    def reset(self) -> int:
        """Drop all windows; return how many there were."""
        dropped, self._windows = len(self._windows), {}
        return dropped

    def clear(self, key: str) -> None:
        """Drop one window."""
        self._windows.pop(key, None)
