"""Recomputing the whole log while the visitor watches: what was looked at so far, and at the end what was found.

The work is done in a thread of its own, so that no other request waits, and one at a time in a process.
"""

from __future__ import annotations

import queue
import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import structlog
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from ledger import signing_keys
from ledger.errors import LedgerError
from ledger.ledger import Ledger
from ledger.log.verify import LogKey, Verified, verify_log

log = structlog.get_logger(__name__)

PATIENCE_S = 1.0
_STEPS = (
    ("signatures", "Every checkpoint is signed by a key of this log, and says what its row says",
     r"checkpoint \d+ was edited|your checkpoint"),
    ("events", "Every entry has the hash of its event, and every event is what its content says",
     r"event \d+, entry|entry \d+ does not have"),
    ("order", "No entry is missing or moved: every checkpoint's root is that of the entries before it",
     r"entries \d+ to|checkpoint \d+ does not fit|checkpoint \d+ speaks|no checkpoint speaks"),
    ("tree", "The stored nodes of the tree are those of its entries", r"node \d+ of level"),
    ("places", "The log's state counts its entries, and no event stands outside", r"the log's state|event \d+ has no"),
)  # fmt: skip
_EVENT = re.compile(r"event (\d+)")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not what it was, and the event concerned, if one is named."""

    words: str
    event_id: int | None


@dataclass(frozen=True, slots=True)
class Step:
    """One of the things that were checked, and what was found wrong in it."""

    name: str
    words: str
    findings: Sequence[Finding]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of a check. problem: None, or why it could not be done."""

    size: int = 0
    checkpoints: int = 0
    waiting: int = 0
    steps: Sequence[Step] = ()
    problem: str | None = None

    @property
    def whole(self) -> bool:
        """Whether nothing is wrong."""
        return self.problem is None and not any(step.findings for step in self.steps)


def sorted_out(found: Verified) -> Outcome:
    """Return what was found, each finding under the step that it belongs to."""
    under: dict[str, list[Finding]] = {name: [] for name, _, _ in _STEPS}
    for words in found.findings:
        name = next((name for name, _, pattern in _STEPS if re.match(pattern, words)), "order")
        named = _EVENT.search(words)
        under[name].append(Finding(words, None if named is None else int(named[1])))
    steps = [Step(name, words, under[name]) for name, words, _ in _STEPS]
    return Outcome(found.size, found.checkpoints, found.waiting, steps)


def check(ledger: Ledger, turn: threading.Lock) -> Iterator[float | Outcome]:
    """Yield how much of the log has been recomputed (0 to 1), again and again, and in the end the outcome.

    `turn` is held while a check goes on. Whoever stops asking leaves the thread to end by itself.
    """
    told: queue.SimpleQueue[float | Outcome] = queue.SimpleQueue()

    def work() -> None:
        if not turn.acquire(blocking=False):
            told.put(Outcome(problem="another check is going on; look again in a moment"))
            return
        try:
            with ledger.database.read() as tx:
                known = signing_keys.known(tx, ledger.ring)
                keys = [LogKey(key.public, revoked=key.state == signing_keys.REVOKED) for key in known]
                told.put(sorted_out(verify_log(tx, keys, on_progress=told.put)))
        except (DBAPIError, PoolTimeout, LedgerError) as problem:
            log.warning("log.check_failed", raised=type(problem).__name__)
            told.put(Outcome(problem="the database does not answer; try again later"))
        finally:
            turn.release()

    thread = threading.Thread(target=work, name="log-check", daemon=True)
    thread.start()
    while True:
        try:
            said = told.get(timeout=PATIENCE_S)
        except queue.Empty:
            if not thread.is_alive():
                yield Outcome(problem="it ended unexpectedly; its operator finds why in the service's log")
                return
            continue
        yield said
        if isinstance(said, Outcome):
            return
