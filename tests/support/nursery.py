"""Start Lacuna's processes without their imports, which cost more than anything that most tests let them do.

A nursery is a process beside the tests that has imported torch, FastAPI, SQLAlchemy ... (support/nursery_process.py)
and forks whatever is asked for: real processes, to be killed, stopped and waited for. There is one per process of
tests, from the first time that somebody needs it until that process ends, however it ends.

Not for what must be seen to start from nothing: a child has the imports, the hash seed and the command line (in `ps`)
of the nursery.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

SCRIPT = Path(__file__).with_name("nursery_process.py")
# These are read when a program does something; all others may have been read by what the nursery has imported.
# Importing parts of torch sets one of TORCHINDUCTOR, so it appears in the tests' own environment at some time.
READ_LATE = ("LACUNA_", "AWS_", "PYTEST_", "PYTHONPATH", "TORCHINDUCTOR_")
# The latter are loaded only when a server, a connection, a network or an optimizer is made.
MODULES = (
    "service.cli",
    "workers.__main__",
    "workers.reconciler",
    "service.embedded",
    "uvicorn.lifespan.on",
    "uvicorn.loops.auto",
    "uvicorn.protocols.http.auto",
    "uvicorn.protocols.websockets.auto",
    "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.dialects.sqlite.pysqlite",
    "torch._dynamo",
)


class NurseryGone(Exception):
    """The nursery has ended. What it printed is in the message; no process can be started or waited for any more."""


class Child:
    """A process that a nursery started. It has what tests use of `subprocess.Popen`, and behaves like that."""

    def __init__(self, nursery: Nursery, argv: Sequence[str], pid: int) -> None:
        """`pid` is the number of a child of the nursery that was not waited for."""
        self.args = list(argv)
        self.pid = pid
        self.returncode: int | None = None
        self._nursery = nursery
        self._lock = threading.Lock()
        # A number can be given to another process, this cannot. It becomes readable when the process ends.
        self._handle = os.pidfd_open(pid)
        weakref.finalize(self, os.close, self._handle)

    def poll(self) -> int | None:
        """Return the exit status, negative for a signal, or None while it runs."""
        return self._look(0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait, at most this many seconds, for its end and return the exit status. Raises TimeoutExpired."""
        status = self._look(None if timeout is None else timeout * 1000)
        if status is None:
            assert timeout is not None
            raise subprocess.TimeoutExpired(self.args, timeout)
        return status

    def _look(self, timeout_ms: float | None) -> int | None:
        if self.returncode is None:
            end = select.poll()
            end.register(self._handle, select.POLLIN)
            if end.poll(timeout_ms):
                with self._lock:
                    if self.returncode is None:
                        self.returncode = self._nursery.reap(self.pid)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            signal.pidfd_send_signal(self._handle, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


Process = subprocess.Popen[bytes] | Child


class Start(Protocol):
    """How a process is started: `start` or `start_alone`."""

    def __call__(self, argv: Sequence[str], *, environment: Mapping[str, str], out: BinaryIO, err: BinaryIO) -> Process:
        """Start `python *argv` with this environment alone, nothing to read, and these files for what it prints."""


class Nursery:
    """The process that forks others, and the socket on which it is asked to. Threads may share it."""

    def __init__(self, modules: Sequence[str] = MODULES) -> None:
        """Start it; it imports the modules while the caller goes on."""
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith(READ_LATE)}
        self._lock = threading.Lock()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  # closed by `close`
        self._orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, str(SCRIPT), str(theirs.fileno()), *modules],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._log,
                env=self._environment,
                pass_fds=[theirs.fileno()],
            )

    @property
    def pid(self) -> int:
        """The nursery's own number."""
        return self._process.pid

    def can_start(self, environment: Mapping[str, str]) -> bool:
        """Whether what was imported in the nursery's environment would be the same if imported in this one."""
        differ = dict(self._environment.items() ^ environment.items())
        return all(name.startswith(READ_LATE) for name in differ)

    def start(self, argv: Sequence[str], *, environment: Mapping[str, str], out: BinaryIO, err: BinaryIO) -> Child:
        """Start what `python *argv` starts: a script's path, or -m and a module, then its arguments.

        `environment` is all that it gets; standard input is empty. Raises NurseryGone.
        """
        order = {"argv": list(argv), "environment": dict(environment), "folder": str(Path.cwd())}
        return Child(self, argv, self._ask(order, out.fileno(), err.fileno()))

    def reap(self, pid: int) -> int:
        """Return the exit status of a child that has ended. To be asked once. Raises NurseryGone."""
        return self._ask({"reap": pid})

    def _ask(self, order: Mapping[str, object], *files: int) -> int:
        with self._lock:
            try:
                socket.send_fds(self._orders, [json.dumps(order).encode()], files)
                answer = self._orders.recv(100)
            except (BrokenPipeError, ConnectionResetError):
                answer = b""
            if not answer:
                self._process.wait()
                self._log.seek(0)
                raise NurseryGone(f"status {self._process.returncode}:\n{self._log.read().decode(errors='replace')}")
        return int(answer)

    def close(self) -> None:
        """Kill all its children and end it."""
        self._orders.close()
        self._process.wait()
        self._log.close()


@functools.cache
def _nursery(tests: int) -> Nursery:
    nursery = Nursery()
    atexit.register(nursery.close)
    return nursery


def start(argv: Sequence[str], *, environment: Mapping[str, str], out: BinaryIO, err: BinaryIO) -> Process:
    """Start `python *argv` as a child of this process' nursery, or by itself if its imports would not be the same."""
    if sys.platform == "linux":
        nursery = _nursery(os.getpid())
        if nursery.can_start(environment):
            return nursery.start(argv, environment=environment, out=out, err=err)
    return start_alone(argv, environment=environment, out=out, err=err)


def start_alone(argv: Sequence[str], *, environment: Mapping[str, str], out: BinaryIO, err: BinaryIO) -> Process:
    """Start `python *argv` as everybody does."""
    return subprocess.Popen(
        [sys.executable, *argv], stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=dict(environment)
    )
