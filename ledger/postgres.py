"""Connections to PostgreSQL that never wait for ever: not for a lock, not for a statement, not for a silent server.

The server ends statements and waits for locks that take too long. That does not help when the server itself hangs: a
stopped process's kernel still accepts connections and bytes, so neither its timeouts nor TCP's notice anything.
Therefore this side has a patience of its own, and while a server is silent only one thread at a time tries it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from functools import partial
from typing import Any, TypeVar

import psycopg
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.exc import InvalidatePoolError

CONNECT_S, POOL_S = 3, 5
"""Seconds to wait for a database server, and for one of our own connections: after that a client is told 503."""
VANISHED_MS = 10_000
ASK_S = 2.0
"""Seconds in which an idle connection must answer that it is still there."""
BEYOND_S = 1.0
"""How much longer than its longest statement a server may be silent."""
LOCK_S = 10.0
AGAIN_S = 1.0
"""For how long after it was silent a server is not tried again."""

Result = TypeVar("Result")


class PatientConnection(psycopg.Connection[Any]):
    """A connection that is given up when the server has not finished a statement within `patience_s`."""

    patience_s: float = 60.0
    asked_before = False
    door: Door | None = None

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        """Wait for the server, as psycopg does. Raises OperationalError: it was silent; the connection is closed."""
        try:
            return super().wait(_until(gen, time.monotonic() + self.patience_s), interval, timeout)
        except _SilentError:
            self.close()
            if self.door is not None:
                self.door.silent()
            raise psycopg.OperationalError(f"the server did not answer within {self.patience_s:g} s") from None

    def ask(self) -> None:
        """Ask whether the server is still there, with little patience. Raises OperationalError."""
        patience_s, autocommit = self.patience_s, self.autocommit
        self.patience_s, self.autocommit = min(ASK_S, patience_s), True
        self.execute("SELECT 1")
        self.patience_s, self.autocommit = patience_s, autocommit


class _SilentError(Exception):
    """The server has been silent for too long."""


def _until(gen: Generator[Any, Any, Result], until: float) -> Generator[Any, Any, Result]:
    """Pass on what psycopg waits for. Raises _SilentError once nothing has come by `until` (monotonic seconds)."""
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() >= until:  # psycopg tells several times a second that nothing has come
                raise _SilentError
            wanted = gen.send(ready)
    except StopIteration as end:
        result: Result = end.value
        return result


class Door:
    """Opens connections, and keeps all but one thread from waiting for a server that was silent a moment ago."""

    def __init__(self, *, statement_s: float) -> None:
        """`statement_s`: how long a statement may take."""
        self._statement_s = statement_s
        self._lock = threading.Lock()
        self._shut_until = float("-inf")
        self._doubtful = False

    def open(self, *args: Any, **options: Any) -> PatientConnection:
        """Connect. Raises OperationalError, at once if the server has just been silent."""
        with self._lock:
            now = time.monotonic()
            if now < self._shut_until:
                raise psycopg.OperationalError("the server did not answer a moment ago")
            if self._doubtful:  # one tries; the others need not wait to be told the same
                self._shut_until = now + CONNECT_S + AGAIN_S
        try:
            connection = PatientConnection.connect(*args, **options)
        except psycopg.OperationalError as problem:
            if isinstance(problem, psycopg.errors.ConnectionTimeout):
                self.silent()
            else:  # it said no, and will say so again without anybody having to wait
                self._found(doubtful=False, shut_until=float("-inf"))
            raise
        self._found(doubtful=False, shut_until=float("-inf"))
        connection.patience_s, connection.door = self._statement_s + BEYOND_S, self
        return connection

    def silent(self) -> None:
        """Note that the server does not answer."""
        self._found(doubtful=True, shut_until=time.monotonic() + AGAIN_S)

    def _found(self, *, doubtful: bool, shut_until: float) -> None:
        with self._lock:
            self._doubtful, self._shut_until = doubtful, shut_until

    def ask(self, connection: PatientConnection) -> None:
        """See that a pooled connection still works before it is used. Raises InvalidatePoolError: none of them does."""
        if not connection.asked_before:
            connection.asked_before = True  # it was opened a moment ago
            return
        try:
            connection.ask()
        except psycopg.Error as problem:
            connection.close()
            raise InvalidatePoolError from problem


def open_postgres(url: str, *, statement_s: float) -> Engine:
    """Return an engine whose statements take at most `statement_s` seconds, and whose callers wait not much longer."""
    lock_s = min(LOCK_S, statement_s / 2)
    limits = {
        "lock_timeout": f"{lock_s * 1000:.0f}ms",
        "statement_timeout": f"{statement_s * 1000:.0f}ms",
        "idle_in_transaction_session_timeout": "120s",
        "timezone": "UTC",
    }
    engine = create_engine(
        url,
        pool_size=16,
        max_overflow=16,
        pool_timeout=POOL_S,
        connect_args={
            "options": " ".join(f"-c {name}={value}" for name, value in limits.items()),
            "connect_timeout": CONNECT_S,
            # A server that vanished without closing is noticed by the kernel, not after its default of many minutes.
            "tcp_user_timeout": VANISHED_MS,
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
        },
    )
    door = Door(statement_s=statement_s)
    event.listen(engine, "do_connect", partial(_connect, door))
    event.listen(engine, "checkout", partial(_check_out, door))
    return engine


def _connect(door: Door, _dialect: Any, _record: Any, args: Any, options: Any) -> PatientConnection:
    return door.open(*args, **options)


def _check_out(door: Door, connection: PatientConnection, _record: Any, _proxy: Any) -> None:
    door.ask(connection)
