"""Recognising keys for as long as a lease lasts while the database does not answer.

Predictions come from memory under a lease, and asking whose key it is must not be what stops them. Nobody can revoke a
key in a database that is away; of one that only this process cannot reach, a revocation takes effect when leases on
old versions end too.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from typing import Generic, TypeVar

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.concurrency import run_in_threadpool

from ledger.errors import StoreFailed

SLOW_S = 0.25
"""How long the database is waited for when the key was recognised a moment ago."""
MOST = 4096
"""How many keys are remembered."""

Owner = TypeVar("Owner")


class RememberedKeys(Generic[Owner]):
    """Who presented which key lately, by the key's SHA-256. Belongs to the event loop."""

    def __init__(self, *, monotonic_ns: Callable[[], int]) -> None:
        """`monotonic_ns` must count on while the machine sleeps."""
        self._monotonic_ns = monotonic_ns
        self._known: dict[bytes, tuple[Owner, int, int]] = {}
        self._late: asyncio.Task[Owner] | None = None

    def forget(self) -> None:
        """Ask the database about every key anew: one was changed or revoked in this process."""
        self._known.clear()

    async def owner(self, secret: str, ask: Callable[[], Owner], *, for_ms: int, fresh_ms: int = 0) -> Owner:
        """Return whose key this is, from the database: `ask`. If that does not answer, from memory, for `for_ms`.

        For `fresh_ms` after it was asked, the database is not asked again.
        Raises what `ask` raises: always when it says that the key opens nothing.
        """
        name = hashlib.sha256(secret.encode()).digest()
        asked_ns = self._monotonic_ns()
        known = self._known.get(name)
        if known is not None and asked_ns < known[2] + fresh_ms * 1_000_000:
            return known[0]
        if known is None or asked_ns >= known[1]:
            found = await run_in_threadpool(ask)
        elif self._late is not None and not self._late.done():
            return known[0]  # one thread that waits is enough
        else:
            asking = asyncio.create_task(run_in_threadpool(ask))
            answered, _ = await asyncio.wait((asking,), timeout=SLOW_S)
            if not answered:
                self._late = asking
                asking.add_done_callback(_ignore)
                return known[0]
            try:
                found = asking.result()
            except (DBAPIError, PoolTimeout, StoreFailed):
                return known[0]
            except BaseException:
                self._known.pop(name, None)
                raise
        if len(self._known) >= MOST:
            self._known.clear()
        self._known[name] = found, asked_ns + for_ms * 1_000_000, asked_ns
        return found


def _ignore(late: asyncio.Task[Owner]) -> None:
    """Look at what a late answer was, so that asyncio does not complain that nobody did."""
    if not late.cancelled():
        late.exception()
