"""A clock that moves only when told to."""

from __future__ import annotations

MICROSECONDS_PER_SECOND = 1_000_000
NOVEMBER_2026_US = 1_793_491_200 * MICROSECONDS_PER_SECOND  # 2026-11-01T00:00:00Z


class FixedClock:
    """A callable that returns integer microseconds since 1970 (UTC), and stands still between calls of `advance`."""

    def __init__(self, now_us: int = NOVEMBER_2026_US) -> None:
        self._now_us = now_us

    def __call__(self) -> int:
        return self._now_us

    def advance(self, *, microseconds: int = 0, seconds: int = 0, days: int = 0) -> int:
        """Move forward by the sum of the arguments; return the new time in microseconds.

        Raises ValueError: the step is negative; a test for a clock that runs backwards builds a second clock.
        """
        step_us = microseconds + (seconds + days * 86_400) * MICROSECONDS_PER_SECOND
        if step_us < 0:
            raise ValueError(f"a clock cannot be advanced by {step_us} microseconds; use a step of zero or more")
        self._now_us += step_us
        return self._now_us
