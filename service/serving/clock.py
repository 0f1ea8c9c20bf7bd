"""The clock that leases are measured with."""

from __future__ import annotations

import time

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boottime_ns() -> int:
    """Return nanoseconds that also pass while the machine sleeps, where the system counts them (Linux)."""
    return time.clock_gettime_ns(_CLOCK)
