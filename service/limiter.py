"""How often each key has asked within a minute."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from limits import RateLimitItemPerMinute
from limits.strategies import FixedWindowRateLimiter

from service.limit_windows import Windows

POLICY = "key"


class Limiter:
    """Counts what keys ask, in memory: every API process counts by itself. Belongs to the event loop."""

    def __init__(self, per_minute: int, now: Callable[[], float] = time.time) -> None:
        """`per_minute`: how many requests of one key are answered within a minute. `now` gives seconds."""
        self._item = RateLimitItemPerMinute(per_minute)
        self._now = now
        self._counter = FixedWindowRateLimiter(Windows(now))
        self.policy = f'"{POLICY}";q={per_minute};w={self._item.get_expiry()}'

    def count(self, key_id: str) -> tuple[bool, int, int]:
        """Count one request. Returns whether it may be answered, how many more may, and seconds until all may again."""
        allowed = self._counter.hit(self._item, key_id)
        stats = self._counter.get_window_stats(self._item, key_id)
        return allowed, stats.remaining, max(1, math.ceil(stats.reset_time - self._now()))
