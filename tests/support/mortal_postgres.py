"""A PostgreSQL that a test may kill, stop, start again and freeze, with what was committed kept as on a real disk."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import time
from pathlib import Path

import psycopg

from support import postgres
from support.ports import free_port
from support.processes import GuardedServer, ServerStartError, server_account, server_folder, start_guarded
from support.waiting import wait_until

START_S = 60.0
# A process may die at any moment here, the machine not: what was written to the kernel is there after it.
SERVER_OPTIONS = ("fsync=off", "synchronous_commit=on", "unix_socket_directories=")


class MortalPostgres:
    """One server of our own, at one address through all its lives. `stop` it at the end."""

    def __init__(self) -> None:
        """Start an empty server."""
        self._account = server_account()
        self._folder = server_folder("lacuna-mortal-postgres-", self._account)
        self._port, password = free_port(), secrets.token_hex(32)
        try:
            self._programs = postgres.reachable_programs(self._folder, self._account)
            postgres.initdb(self._programs, self._folder / "data", password, self._account)
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        self.url = f"{postgres.DRIVER}://postgres:{password}@127.0.0.1:{self._port}/postgres"
        self._server: GuardedServer | None = None
        self.start()

    def start(self) -> None:
        """Start it on the data that there are, and wait until it answers.

        The processes of a killed server may hold its memory for a moment longer; until then the new one refuses.
        """
        wait_until(self._started, START_S, "PostgreSQL to start again")

    def _started(self) -> bool:
        pid_file = self._folder / "data" / "postmaster.pid"
        before = pid_file.read_text() if pid_file.exists() else None
        options = [part for option in SERVER_OPTIONS for part in ("-c", option)]
        arguments = ["-D", str(pid_file.parent), "-h", "127.0.0.1", "-p", str(self._port), *options]
        try:
            self._server = start_guarded(
                [str(self._programs / "postgres"), *arguments],
                self._folder,
                account=self._account,
                ready=lambda: pid_file.exists() and pid_file.read_text() != before and postgres.says_ready(pid_file),
                stop_signal=signal.SIGINT,
                keep_folder=True,
            )
        except ServerStartError:
            return False
        return True

    def kill(self) -> None:
        """Kill the postmaster (-9); the others notice and end. Nothing is written any more: `start` has to recover."""
        self._end(signal.SIGKILL)

    def stop_at_once(self) -> None:
        """An immediate shutdown: everybody ends without finishing, and `start` has to recover."""
        self._end(signal.SIGQUIT)

    def stop_fast(self) -> None:
        """A fast shutdown, as for a restart: transactions are rolled back, connections closed."""
        self._end(signal.SIGINT)

    def _end(self, number: signal.Signals) -> None:
        assert self._server is not None
        os.kill(self._postmaster(), number)
        self._server.forget()

    def kill_backend(self) -> None:
        """Kill one client's process (-9), as the kernel does without memory: all others are ended, and it recovers."""
        with postgres.admin_connection(self.url) as victim, postgres.admin_connection(self.url) as witness:
            os.kill(victim.info.backend_pid, signal.SIGKILL)
            wait_until(lambda: not _answers(witness), START_S, "PostgreSQL to end the others")
        wait_until(self._answers, START_S, "PostgreSQL to recover")

    def _answers(self) -> bool:
        try:
            with postgres.admin_connection(self.url) as connection:
                return _answers(connection)
        except psycopg.OperationalError:
            return False

    def freeze(self, seconds: float) -> None:
        """Stop all its processes for a while: connections stay open, new ones are accepted by the kernel alone."""
        frozen = [self._postmaster(), *self._children()]
        try:
            for pid in frozen:
                _signal(pid, signal.SIGSTOP)
            time.sleep(seconds)
        finally:
            for pid in frozen:
                _signal(pid, signal.SIGCONT)

    @property
    def frozen(self) -> bool:
        """Whether all of it is stopped at this moment."""
        return all(_state(pid) == "T" for pid in (self._postmaster(), *self._children()))

    def stop(self) -> None:
        """Stop it for good; what it held is gone."""
        if self._server is not None:
            self._server.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _postmaster(self) -> int:
        return int((self._folder / "data" / "postmaster.pid").read_text().splitlines()[0])

    def _children(self) -> list[int]:
        postmaster = self._postmaster()
        return [int(n) for n in Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()]


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _state(pid: int) -> str:
    """Return the state of a process as a letter: T is stopped; nothing if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _answers(connection: psycopg.Connection) -> bool:
    try:
        connection.execute("SELECT 1")
    except psycopg.OperationalError:
        return False
    return True
