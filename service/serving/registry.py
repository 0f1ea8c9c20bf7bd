"""Which version this process may answer from, at every moment.

A thread looks at the ledger every few milliseconds. A new version is loaded beside the old one, then takes its place on
the event loop, and only then is the lease renewed in its name. The lease is a promise to whoever destroys old versions:
"until it expires, I answer from this version or a later one". So:

* an answer is sent only while the lease holds by this process's own clock, which was read *before* the promise was
  written down, so it runs out here before it runs out in the ledger;
* an answer is sent only from the version in memory, which is never older than the one the lease names;
* without an answer from the ledger nothing is renewed, and soon nothing is answered.

Queries name a line, leases a generation of it. When a successor takes over, a lease on it is taken before it takes the
old generation's place, so no query goes without an answer; the old generation's lease is given up after that.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import structlog
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from ledger import leases
from ledger.errors import LedgerError
from ledger.ledger import Ledger
from ledger.serving import Servable, servable
from service.serving.model import TABLES, ServedModel, load
from unlearning.architectures import BUILT_IN, Architectures

log = structlog.get_logger(__name__)

RETRY_LOAD_NS = 2_000_000_000
"""After this long, a version that could not be loaded is tried again."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How long a lease holds, and how long to wait between two looks at the ledger."""

    ttl_ms: int
    poll_ms: int


@dataclass(frozen=True, slots=True)
class _Held:
    """A lease: the version it names, and when it ends by our own clock."""

    number: int
    until_ns: int


@dataclass(frozen=True, slots=True)
class _Load:
    """A version that is being loaded, or could not be."""

    model_id: str
    number: int
    result: Future[ServedModel]
    begun_ns: int


class Registry:
    """The versions in memory, by line, and the leases on them, by generation.

    `current` belongs to the event loop, the rest to one thread.
    """

    def __init__(
        self,
        ledger: Ledger,
        timing: Timing,
        *,
        process_id: str,
        monotonic_ns: Callable[[], int],
        architectures: Architectures = BUILT_IN,
        together: str = TABLES,
    ) -> None:
        """`monotonic_ns` must count on while the machine sleeps (CLOCK_BOOTTIME). `together`: as `model.load`."""
        self._architectures = architectures
        self._together = together
        self._ledger = ledger
        self._timing = timing
        self._process_id = process_id
        self._monotonic_ns = monotonic_ns
        self._served: dict[str, ServedModel] = {}
        self._held: Mapping[str, _Held] = {}
        self._loads: dict[str, _Load] = {}
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="load-version")
        self._wake = threading.Event()
        self._stopping = False
        self._settled = threading.Event()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def current(self, line_id: str) -> ServedModel | None:
        """Return the version that may be answered from at this very moment, or None. Asks nobody and never waits."""
        model = self._served.get(line_id)
        held = None if model is None else self._held.get(model.model_id)
        if model is None or held is None or model.number < held.number or self._monotonic_ns() >= held.until_ns:
            return None
        return model

    def line_of(self, tenant_id: str, name: str) -> str | None:
        """Return the id of the tenant's model that goes by this name, or by this id, and is in memory; else None."""
        model = self._served.get(name)
        if model is not None:
            return name if model.tenant_id == tenant_id else None
        served = self._served.values()
        return next((one.line_id for one in served if (one.tenant_id, one.name) == (tenant_id, name)), None)

    @property
    def running(self) -> bool:
        """Whether the thread that renews the leases is alive."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def ready(self) -> bool:
        """Whether every version that can be read has been in service once: before, queries are refused."""
        return self.running and self._settled.is_set()

    def wait_until_ready(self, timeout_s: float) -> bool:
        """Wait for what was active when this process began, but no longer than this. Not to be called on the loop."""
        return self._settled.wait(timeout_s)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to watch the ledger. `loop` is the event loop on which answers are sent."""
        self._loop = loop
        self._thread = threading.Thread(target=self._run, name="serving", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread and give up the leases. Not to be called on the event loop, which the thread may wait for."""
        self._stopping = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
        self._loader.shutdown(cancel_futures=True)
        self._held = {}
        try:
            leases.release(self._ledger.database, self._process_id)
        except (DBAPIError, PoolTimeout, LedgerError):
            log.warning("serving.not_released")  # they run out by themselves

    def _run(self) -> None:
        silent = False
        while not self._stopping:
            try:
                self.refresh()
                silent = False
            except (DBAPIError, PoolTimeout, LedgerError) as problem:
                if not silent:
                    log.warning("serving.ledger_silent", raised=type(problem).__name__)
                silent = True
            self._wake.wait(self._timing.poll_ms / 1000)
            self._wake.clear()

    def refresh(self) -> None:
        """Look at the ledger once: take over what has been loaded, load what is new, renew the leases in time.

        Raises DBAPIError, the pool's TimeoutError.
        """
        with self._ledger.database.read() as tx:
            wanted = {version.line_id: version for version in servable(tx)}
        loaded = [model for model in map(self._loaded, wanted.values()) if model is not None]
        unwanted = [line_id for line_id in self._served if line_id not in wanted or self._is_broken(wanted[line_id])]
        successors = [model for model in loaded if model.model_id not in self._held]
        if successors:
            self._renew(successors)
        if loaded or unwanted:
            self._on_the_loop(loaded, unwanted)
        self._loads = {i: one for i, one in self._loads.items() if i in wanted}
        if loaded or unwanted or self._half_over():
            self._renew()
        if all(self._is_broken(one) or self._is_held(one) for one in wanted.values()):
            self._settled.set()

    def _loaded(self, wanted: Servable) -> ServedModel | None:
        """Return the wanted version if it is newly there; otherwise see to it that it is being loaded."""
        served, begun = self._served.get(wanted.line_id), self._loads.get(wanted.line_id)
        if served is not None and served.model_id == wanted.model_id and served.number >= wanted.number:
            return None
        if begun is not None and (begun.model_id, begun.number) == (wanted.model_id, wanted.number):
            if not begun.result.done():
                return None
            if begun.result.exception() is None:
                del self._loads[wanted.line_id]
                return begun.result.result()
            if self._monotonic_ns() - begun.begun_ns < RETRY_LOAD_NS:
                return None
        result = self._loader.submit(load, self._ledger, wanted, served, self._architectures, self._together)
        result.add_done_callback(lambda done: self._report(wanted, done))
        self._loads[wanted.line_id] = _Load(wanted.model_id, wanted.number, result, self._monotonic_ns())
        return None

    def _report(self, wanted: Servable, done: Future[ServedModel]) -> None:
        problem = None if done.cancelled() else done.exception()
        if problem is not None:
            log.error("serving.unreadable", model=wanted.model_id, version=wanted.number, why=type(problem).__name__)
        self._wake.set()

    def _is_broken(self, wanted: Servable) -> bool:
        """Whether the active version cannot be read: then its predecessor must not stay in memory either."""
        begun = self._loads.get(wanted.line_id)
        return (
            begun is not None
            and (begun.model_id, begun.number) == (wanted.model_id, wanted.number)
            and begun.result.done()
            and begun.result.exception() is not None
        )

    def _is_held(self, wanted: Servable) -> bool:
        """Whether the line is in service under a lease."""
        served = self._served.get(wanted.line_id)
        return served is not None and served.model_id in self._held

    def _on_the_loop(self, loaded: Sequence[ServedModel], unwanted: Sequence[str]) -> None:
        """Swap on the event loop and wait for it: between two of its steps, `current` never changes."""
        if self._loop is None:
            self._swap(loaded, unwanted)
            return
        done: Future[None] = Future()

        def swap() -> None:
            self._swap(loaded, unwanted)
            done.set_result(None)

        self._loop.call_soon_threadsafe(swap)
        done.result()

    def _swap(self, loaded: Sequence[ServedModel], unwanted: Sequence[str]) -> None:
        for line_id in unwanted:
            self._served.pop(line_id, None)
        for model in loaded:
            self._served[model.line_id] = model
            log.info("serving.version", model=model.line_id, version=model.number)

    def _half_over(self) -> bool:
        """Whether a lease is missing or has less than half of its time left."""
        soon = self._monotonic_ns() + self._timing.ttl_ms * 500_000
        served = [model.model_id for model in self._served.values()]
        return any(i not in self._held or self._held[i].until_ns <= soon for i in served)

    def _renew(self, successors: Sequence[ServedModel] = ()) -> None:
        """Renew the leases on what is served, and take leases on what is about to be. All others are given up."""
        named = {model.model_id: model.number for model in (*self._served.values(), *successors)}
        until_ns = self._monotonic_ns() + self._timing.ttl_ms * 1_000_000  # read before the ledger writes its own
        granted = leases.renew(self._ledger.database, self._process_id, named, ttl_us=self._timing.ttl_ms * 1000)
        renewed = {model_id: _Held(named[model_id], until_ns) for model_id in granted}
        # Where the ledger says no, a newer version is active or the model retired: the old promise runs out by itself.
        self._held = {i: renewed.get(i) or self._held[i] for i in named if i in renewed or i in self._held}
