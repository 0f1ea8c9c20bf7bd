"""A process that brings a database up to date beside others. It imports no more than that takes."""

from __future__ import annotations

from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier

from sqlalchemy.exc import DBAPIError

from ledger.database import open_engine
from ledger.migrate import require_current, upgrade


def upgrade_together(url: str, start: Barrier, results: Queue[str]) -> None:
    """Wait for the others, upgrade, and put down `fine` or what the database said."""
    start.wait()
    engine = open_engine(url)
    try:
        upgrade(engine)
        require_current(engine)
        results.put("fine")
    except DBAPIError as problem:
        results.put(str(problem.orig))
    finally:
        engine.dispose()
