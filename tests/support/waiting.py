"""Wait for a condition instead of sleeping for a guessed time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


def wait_until(
    condition: Callable[[], Result], timeout_s: float, what: str, *, between_s: float = 0.01, slowest_s: float = 0.2
) -> Result:
    """Call `condition` until it returns something true, and return that.

    The pause between two calls starts at `between_s` and grows to `slowest_s`, both in seconds.
    The condition is always tried once more after the last pause, so a slow machine gets the full time.
    Raises TimeoutError: nothing true came within `timeout_s` seconds; the message names `what` and the last value.
    """
    deadline_s = time.monotonic() + timeout_s
    pause_s = between_s
    while True:
        last_try = time.monotonic() >= deadline_s
        if result := condition():
            return result
        if last_try:
            raise TimeoutError(f"waited {timeout_s} s for {what}; the condition last gave {result!r}")
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, slowest_s)
