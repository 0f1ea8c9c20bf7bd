"""An installation as in production: PostgreSQL, Valkey, API processes, Celery workers and reconcilers, all real."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import redis

from ledger.ledger import Ledger, open_ledger
from ledger.settings import LedgerSettings
from support.deployment import Deployment
from support.mortal_postgres import MortalPostgres
from support.nursery import Process, start_alone
from support.processes import GuardedServer
from support.valkey import start_valkey
from support.world import clock_us

CHECKOUT = Path(__file__).parents[2]
SIGNALLING_WORKER = Path(__file__).with_name("signalling_worker.py")
# Short, so that what is repeated by the clock is repeated within a test; the lease is one that only a dead or stopped
# worker loses, also on a busy machine.
SETTINGS = {
    "LACUNA_JOB_LEASE_MS": "6000",
    "LACUNA_LOOK_MS": "300",
    "LACUNA_AGAIN_MS": "1000",
    "LACUNA_SWEEP_S": "1",
}


@dataclass
class Production(Deployment):
    """A deployment with a Redis of its own that can be stopped, started and emptied.

    `postgres` is the server of its database, if that may be broken too; it belongs to the caller.
    """

    redis_url: str = ""
    postgres: MortalPostgres | None = field(default=None, repr=False)
    server: GuardedServer | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Start Valkey."""
        self.server, self.redis_url = start_valkey()
        self.settings = SETTINGS | self.settings | {"LACUNA_REDIS_URL": self.redis_url}

    @property
    def environment(self) -> dict[str, str]:
        """The environment of every process: scripts of the tests find the packages of this checkout too."""
        return super().environment | {"PYTHONPATH": str(CHECKOUT)}

    def stop_redis(self) -> None:
        """Stop Valkey; what it held is gone."""
        assert self.server is not None
        self.server.stop()

    def start_redis(self) -> None:
        """Start an empty Valkey at the same address."""
        url = urlsplit(self.redis_url)
        self.server, _ = start_valkey(port=url.port, password=url.password)

    def flush_redis(self) -> None:
        """Delete everything that Valkey holds."""
        with redis.Redis.from_url(self.redis_url) as client:
            client.flushall()

    def messages(self, queue: str = "cpu") -> int:
        """Count the messages that nobody has taken."""
        with redis.Redis.from_url(self.redis_url) as client:
            return sum(int(client.llen(key)) for key in client.keys(f"{queue}*"))

    def start_celery(self, queue: str = "cpu", **settings: str) -> Process:
        """Start a worker of a queue, with more variables in its environment.

        Alone: its child imports torch, and its parent must not.
        """
        before = self.settings
        self.settings = before | settings
        try:
            return self._start("celery", "-m", "service.cli", "worker", "--queue", queue, start=start_alone)
        finally:
            self.settings = before

    def start_signalling(self, number: signal.Signals, point: str) -> tuple[Process, Path]:
        """Start a worker whose child sends itself a signal at a point; return it and the file that tells of it."""
        note = self.folder / f"{number.name}-{len(self.processes)}"
        return self._start("signalling", str(SIGNALLING_WORKER), number.name, point, str(note), start=start_alone), note

    @contextlib.contextmanager
    def ledger(self) -> Iterator[Ledger]:
        """Open the ledger in this process, to look at it."""
        settings = LedgerSettings(data_dir=self.folder / "data", database_url=self.database_url)
        opened = open_ledger(settings, clock=clock_us, random=os.urandom)
        try:
            yield opened
        finally:
            opened.close()

    def start_reconciler(self) -> Process:
        """Start a reconciler."""
        return self._start("reconciler", "-m", "service.cli", "reconcile")

    def log_of(self, process: Process) -> str:
        """Return what a process wrote to standard error."""
        number = self.processes.index(process)
        (file,) = self.folder.glob(f"*-{number}.err")
        return file.read_text()

    def kill(self, processes: Sequence[Process]) -> None:
        """Kill these and their children."""
        children = [child for process in processes for child in children_of(process)]
        for process in processes:
            process.kill()
            process.wait()
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)

    def stop(self) -> None:
        """Kill everything that still runs."""
        self.kill(self.processes)
        self.stop_redis()


def children_of(process: Process) -> list[int]:
    """Return the numbers of a running process's children."""
    if process.poll() is not None:
        return []
    return [int(n) for n in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
