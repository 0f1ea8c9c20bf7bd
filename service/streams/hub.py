"""One look at the log for all open streams of a process, however many there are."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable

import structlog
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from ledger.errors import LedgerError
from ledger.ledger import Ledger
from ledger.log import following
from ledger.log.following import Step
from ledger.log.sequencer import sequence
from service.refusals import TooManyStreams

LOOK_S = 0.2
ROOM = 1000
"""Events that wait for a client that reads slowly; after that its stream ends, and it may resume where it was."""

log = structlog.get_logger(__name__)


class Stream:
    """What one client is to be sent from now on. start: the place in the log from which `next` gives events."""

    def __init__(self, key_id: str, tenant_id: str, subject: str | None, start: int) -> None:
        """Make it on the event loop that will read it."""
        self.key_id = key_id
        self.tenant_id = tenant_id
        self.subject = subject
        self.start = start
        self._loop = asyncio.get_running_loop()
        self._steps: asyncio.Queue[Step | None] = asyncio.Queue(ROOM + 1)

    async def next(self) -> Step | None:
        """Return the next event, None when the stream ends."""
        return await self._steps.get()

    def tell(self, step: Step | None) -> None:
        """Have `next` return this. Called from the hub's thread."""
        self._loop.call_soon_threadsafe(self._put, step)

    def _put(self, step: Step | None) -> None:
        if self._steps.qsize() >= ROOM:
            step = None
        if not self._steps.full():
            self._steps.put_nowait(step)


class Hub:
    """`start` a thread. It looks only while streams are open."""

    def __init__(self, ledger: Ledger, *, per_key: int, look_s: float = LOOK_S) -> None:
        """per_key: how many streams one key may have open."""
        self._ledger = ledger
        self._per_key = per_key
        self._look_s = look_s
        self._streams: set[Stream] = set()
        self._keys: Counter[str] = Counter()
        self._position = 0
        self._lock = threading.Lock()
        self._busy = threading.Event()  # there are streams, or it is over
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="streams", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """End every stream at once. None is opened after that, and none hangs."""
        with self._lock:
            self._over.set()
            for stream in self._streams:
                stream.tell(None)
        self._busy.set()

    def stop(self) -> None:
        """Close, and wait for the thread."""
        self.close()
        if self._thread.is_alive():
            self._thread.join()

    def open(self, key_id: str, tenant_id: str, subject: str | None, size: int) -> Stream:
        """Add a stream of this tenant's events, or of one request's. `size` is that of the log, a moment ago.

        What lies before its `start` is not sent by the hub. Raises TooManyStreams.
        """
        with self._lock:
            if self._keys[key_id] >= self._per_key:
                raise TooManyStreams(self._per_key)
            if not self._streams:
                self._position = max(self._position, size)
            stream = Stream(key_id, tenant_id, subject, self._position)
            self._streams.add(stream)
            self._keys[key_id] += 1
            if self._over.is_set():
                stream.tell(None)
            self._busy.set()
            return stream

    def remove(self, stream: Stream) -> None:
        """Let go of a stream. Doing it again changes nothing."""
        with self._lock:
            if stream in self._streams:
                self._streams.remove(stream)
                self._keys[stream.key_id] -= 1
                if not self._keys[stream.key_id]:
                    del self._keys[stream.key_id]
            if not self._streams and not self._over.is_set():
                self._busy.clear()

    def _run(self) -> None:
        said = None
        while not self._over.is_set():
            self._busy.wait()
            failed = _kind_of_failure(self._look)
            if failed not in (None, said):
                log.warning("streams.cannot_look", raised=failed)
            said = failed
            self._over.wait(self._look_s)

    def _look(self) -> None:
        sequence(self._ledger.database, self._ledger.ring)  # without a worker nobody else may do it at this moment
        with self._lock:
            start, tenants = self._position, {stream.tenant_id for stream in self._streams}
        with self._ledger.database.read() as tx:
            end = following.size(tx)
            found = following.steps(tx, tenants, start=start, end=end, limit=None) if end > start and tenants else []
        with self._lock:
            if self._position != start or not {stream.tenant_id for stream in self._streams} <= tenants:
                return  # somebody came meanwhile of whom nothing was read: look again
            self._position = max(end, start)
            for stream in self._streams:
                for step in found:
                    if step.tenant_id == stream.tenant_id and stream.subject in (None, step.subject):
                        stream.tell(step)


def _kind_of_failure(work: Callable[[], None]) -> str | None:
    """Do it; return the kind of error of a ledger that cannot be used now, None: it was done."""
    try:
        work()
    except (DBAPIError, PoolTimeout, LedgerError) as problem:
        return type(problem).__name__
    return None
