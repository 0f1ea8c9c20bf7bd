"""Opening the ledger's database: SQLite (embedded) or PostgreSQL, and its transactions."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.orm import Session

from ledger.errors import StoreFailed, StoreFull, StoreReadOnly
from ledger.postgres import open_postgres

Clock = Callable[[], int]  # UTC integer microseconds
Random = Callable[[int], bytes]  # cryptographic bytes

TURN_S = 5.0
STATEMENT_S = 60.0
CHECKPOINT_MS = 20
_SQLITE_PRAGMAS = (
    "PRAGMA busy_timeout = 15000",
    "PRAGMA synchronous = FULL",  # durable before 202
    "PRAGMA foreign_keys = ON",
    "PRAGMA recursive_triggers = ON",  # else INSERT OR REPLACE deletes behind the triggers that forbid it
    "PRAGMA secure_delete = ON",  # freed pages are overwritten, not left to be found
    "PRAGMA temp_store = MEMORY",  # no temporary files with rows in them
    "PRAGMA journal_size_limit = 67108864",
)
_WAL_TRIES = 300
_WAL_PAUSE_S = 0.05


def open_engine(url: str, *, statement_s: float = STATEMENT_S) -> Engine:
    """Return an engine for `url` (`sqlite:///...` or `postgresql+psycopg://...`) with Lacuna's settings.

    `statement_s`: how long a statement may take on a database server.

    On SQLite a transaction opened for writing begins IMMEDIATE, so that two writers queue instead of failing midway.
    """
    if make_url(url).get_backend_name() == "sqlite":
        engine = create_engine(url, pool_size=16, max_overflow=32)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    return open_postgres(url, statement_s=statement_s)


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves
    cursor = connection.cursor()
    for pragma in _SQLITE_PRAGMAS:
        cursor.execute(pragma)
    _switch_to_wal(cursor)
    cursor.close()


def _switch_to_wal(cursor: sqlite3.Cursor) -> None:
    """Use a write-ahead log. Only a new file is switched; while others write to it SQLite does not wait by itself."""
    for _ in range(_WAL_TRIES):
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as problem:
            if problem.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise
            time.sleep(_WAL_PAUSE_S)
    cursor.execute("PRAGMA journal_mode = WAL")


def _begin_sqlite(connection: Connection) -> None:
    if not connection.get_execution_options().get("lacuna_write", False):
        connection.exec_driver_sql("BEGIN")
        return
    raw = connection.connection.driver_connection
    assert isinstance(raw, sqlite3.Connection)
    (patience_ms,) = raw.execute("PRAGMA busy_timeout").fetchone()
    raw.execute("PRAGMA busy_timeout = 0")
    try:
        _wait_for_turn(raw, patience_ms / 1000)
        if not raw.in_transaction:
            connection.exec_driver_sql("BEGIN IMMEDIATE")  # once more, so that the error is SQLAlchemy's
    finally:
        raw.execute(f"PRAGMA busy_timeout = {patience_ms}")


def _wait_for_turn(raw: sqlite3.Connection, patience_s: float) -> None:
    """Begin a writing transaction as soon as the other process lets go, or give up after `patience_s`.

    SQLite itself looks again only every 100 ms in the end, and somebody who writes often is there before.
    """
    until = time.monotonic() + patience_s
    while True:
        try:
            raw.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as problem:
            if problem.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= until:
                return
            time.sleep(0.001)
        else:
            return


_SQLITE_FACTS: dict[int, type[StoreFailed]] = {8: StoreReadOnly, 10: StoreFailed, 13: StoreFull}
_DENIED = "42501"
_POSTGRES_FACTS: dict[str, type[StoreFailed]] = {"25006": StoreReadOnly, "53100": StoreFull, "58030": StoreFailed}


def storage_fact(problem: DBAPIError) -> StoreFailed | None:
    """Return what a database error says about the disk under the database, None when it says nothing about that."""
    code = getattr(problem.orig, "sqlite_errorcode", None)
    if isinstance(code, int):
        fact = _SQLITE_FACTS.get(code & 0xFF)  # the primary code: sqlite.org/rescode.html
    else:
        fact = _POSTGRES_FACTS.get(getattr(problem.orig, "sqlstate", None) or "")
    return None if fact is None else fact("the database's files cannot be written")


def refusal(problem: DBAPIError) -> str | None:
    """Return why the database cannot be reached or does not let us in, as it says; None: it says something else.

    Only its first line: what follows may hold values of a statement.
    """
    denied = getattr(problem.orig, "sqlstate", None) == _DENIED
    if not denied and not isinstance(problem, (OperationalError, InterfaceError)):
        return None
    return " ".join(str(problem.orig).partition("\n")[0].split())


@contextmanager
def _facts() -> Iterator[None]:
    """Turn what the database says about its disk into the ledger's errors."""
    try:
        yield
    except DBAPIError as problem:
        fact = storage_fact(problem)
        if fact is None:
            raise
        raise fact from problem


@dataclass(frozen=True, slots=True)
class Transaction:
    """One open transaction: its session, its time (UTC microseconds) and a source of random bytes."""

    session: Session
    now: int
    random: Random

    def new_id(self) -> str:
        """Return a random id of 128 bits in hexadecimal."""
        return self.random(16).hex()


@dataclass(frozen=True, slots=True)
class Database:
    """The database with the clock and the randomness that its transactions use."""

    engine: Engine
    clock: Clock
    random: Random
    # SQLite lets one writer in and makes the others look again and again, the unlucky ones for seconds. So the threads
    # of a process wait here for each other, and only one of them competes with other processes.
    _turn: threading.RLock = field(default_factory=threading.RLock, repr=False, compare=False)

    @property
    def is_sqlite(self) -> bool:
        """Whether this is the embedded database."""
        return self.engine.dialect.name == "sqlite"

    @contextmanager
    def _in_turn(self) -> Iterator[None]:
        """Wait for this process's other writers; after TURN_S go on anyway, and SQLite says that it is busy."""
        mine = self.is_sqlite and self._turn.acquire(timeout=TURN_S)
        try:
            yield
        finally:
            if mine:
                self._turn.release()

    @contextmanager
    def begin(self) -> Iterator[Transaction]:
        """Open a transaction that writes; it commits on leaving and rolls back on any error.

        Raises StoreFull, StoreReadOnly, StoreFailed: the disk under the database fails; nothing was changed.
        """
        with (
            _facts(),
            self._in_turn(),
            self.engine.connect().execution_options(lacuna_write=True) as connection,
            Session(connection, expire_on_commit=False, autoflush=True) as session,
            session.begin(),
        ):
            yield Transaction(session, self.clock(), self.random)

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """Open a transaction that only reads. Rows stay usable after it; nothing is written. Raises as `begin`."""
        with (
            _facts(),
            self.engine.connect() as connection,
            Session(connection, expire_on_commit=False, autoflush=False) as session,
        ):
            yield Transaction(session, self.clock(), self.random)

    def checkpoint(self) -> bool:
        """Write SQLite's log back into the database and cut it to nothing. True when no reader was in the way.

        Until this has succeeded, deleted rows can still be read in the log file. Other databases answer True.
        """
        if not self.is_sqlite:
            return True
        with _facts(), self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            (patience_ms,) = connection.exec_driver_sql("PRAGMA busy_timeout").one()
            # While it waits for a reader, a checkpoint keeps every writer out. So wait shortly, and be called again.
            connection.exec_driver_sql(f"PRAGMA busy_timeout = {CHECKPOINT_MS}")
            try:
                busy, _, _ = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()
            finally:
                connection.exec_driver_sql(f"PRAGMA busy_timeout = {patience_ms}")
            return bool(busy == 0)
