"""What each key has seen: noted before the first answer from a version, counted in memory after it, and judged.

The first time that a key asks a version of this process, the ledger notes it, in the transaction that also judges the
key's budget: an answer that nobody would know of is never given. After that the judgement is known here, and a query
costs a look into a dictionary. After FRESH_NS it is made anew beside the queries, so that they do not wait for the
database; one that is older than STALE_NS is waited for. Counts follow about once a minute.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool

from ledger import leakage, sightings
from ledger.api_keys import LABEL, Outputs
from ledger.database import Database
from ledger.errors import LeakageSpent
from ledger.leakage import Judgement
from ledger.ledger import Ledger
from ledger.sightings import Place, Uses
from service.principal import Principal
from service.serving.model import ServedModel
from service.serving.outputs import Allowed, Answer

FRESH_NS, STALE_NS = 1_000_000_000, 3_000_000_000
"""A change of a budget is followed by every process after STALE_NS, by those that are asked meanwhile sooner."""
MOST_KNOWN = 65_536


@dataclass(frozen=True, slots=True)
class _Known:
    """A judgement, and when the ledger was asked for it by our own clock."""

    judgement: Judgement
    asked_ns: int


class Meter:
    """The judgements of one process. `admit` and `count` belong to the event loop, `flush` to any thread."""

    def __init__(self, ledger: Ledger, *, monotonic_ns: Callable[[], int]) -> None:
        """`monotonic_ns` measures how long a judgement has been known."""
        self._ledger = ledger
        self._monotonic_ns = monotonic_ns
        self._known: dict[Place, _Known] = {}
        self._asking: dict[Place, asyncio.Task[Judgement]] = {}
        self._uses: dict[Place, Uses] = {}
        self._lock = threading.Lock()

    async def admit(self, principal: Principal, model: ServedModel) -> Allowed:
        """Say how an answer from this version may look; its being seen is noted durably then.

        Raises LeakageSpent: the key may not be answered; DBAPIError, LedgerError: it cannot be noted.
        """
        place = Place(principal.key_id, model.model_id, model.number)
        known = self._known.get(place)
        age_ns = STALE_NS if known is None else self._monotonic_ns() - known.asked_ns
        if known is None or age_ns >= STALE_NS:
            judgement = await asyncio.shield(self._ask(place, principal, model))
        else:
            judgement = known.judgement
            if age_ns >= FRESH_NS:
                self._ask(place, principal, model)
        if judgement.then == leakage.REFUSE:
            raise LeakageSpent
        return Allowed(
            Outputs(LABEL) if judgement.then == leakage.COARSEN else principal.outputs, spent=judgement.spent
        )

    def count(self, principal: Principal, answer: Answer) -> None:
        """Count an answer that is being sent. It only touches memory."""
        place = Place(principal.key_id, answer.model_id, answer.number)
        with self._lock:
            before = self._uses.get(place)
            self._uses[place] = Uses(1 if before is None else before.queries + 1, self._ledger.database.clock())

    def flush(self, database: Database) -> None:
        """Write what was counted. Raises what the database does; then it is kept for the next time."""
        with self._lock:
            counted, self._uses = self._uses, {}
        if not counted:
            return
        try:
            with database.begin() as tx:
                sightings.add(tx, counted)
        except BaseException:
            with self._lock:
                for place, more in counted.items():
                    now = self._uses.get(place)
                    self._uses[place] = more if now is None else Uses(more.queries + now.queries, now.last_at)
            raise

    def forget(self) -> None:
        """Judge everything anew: a budget or a key was changed in this process."""
        self._known.clear()

    def _ask(self, place: Place, principal: Principal, model: ServedModel) -> asyncio.Task[Judgement]:
        """Ask the ledger, once for all queries that wait for the same judgement."""
        asking = self._asking.get(place)
        if asking is None:
            asking = asyncio.create_task(self._judge_in_thread(place, principal, model))
            self._asking[place] = asking
            asking.add_done_callback(lambda done: self._asked(place, done))
        return asking

    def _asked(self, place: Place, done: asyncio.Task[Judgement]) -> None:
        self._asking.pop(place, None)
        if not done.cancelled():
            done.exception()  # looked at, in case that everybody who waited has gone away

    async def _judge_in_thread(self, place: Place, principal: Principal, model: ServedModel) -> Judgement:
        asked_ns = self._monotonic_ns()  # before the ledger is read
        judgement = await run_in_threadpool(judge, self._ledger, place, principal, model.line_id)
        if len(self._known) >= MOST_KNOWN:
            self._known.clear()
        self._known[place] = _Known(judgement, asked_ns)
        return judgement


def judge(ledger: Ledger, place: Place, principal: Principal, line_id: str) -> Judgement:
    """Judge a key's budget as if it had been answered; unless it is refused, note that it is answered.

    Only the first time something is written: looking again must not wait for whoever writes.
    """
    with ledger.database.read() as tx:
        judgement = leakage.judge(tx, principal.client_id, line_id, sightings.version(tx, place))
        if judgement.then == leakage.REFUSE or sightings.is_noted(tx, place):
            return judgement
    with ledger.database.begin() as tx:
        sightings.lock_client(tx, principal.client_id)
        judgement = leakage.judge(tx, principal.client_id, line_id, sightings.version(tx, place))
        if judgement.then != leakage.REFUSE:
            sightings.note(tx, principal.tenant_id, place)
        return judgement
