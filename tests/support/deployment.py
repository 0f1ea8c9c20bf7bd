"""Real server and worker processes on one installation, for acceptance tests."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ledger.ledger import open_ledger
from ledger.settings import LedgerSettings
from service.client import LacunaClient
from support.leftovers import leftovers
from support.nursery import Process, Start, start_alone
from support.waiting import wait_until
from support.world import CLASSES, SHAPE, Person, clock_us, person

PATIENCE_S = 60.0
DYING_WORKER = Path(__file__).with_name("dying_worker.py")
FAILING_DISK_WORKER = Path(__file__).with_name("failing_disk_worker.py")
CORE_PEOPLE = [person(f"public-{i}", 5) for i in range(12)]


@dataclass
class Deployment:
    """An installation in `folder`; without a database URL it is an embedded one, on SQLite.

    Its processes are started by `start`: by themselves, or by `nursery.start`, which saves their imports.
    """

    folder: Path
    database_url: str | None = None
    settings: dict[str, str] = field(default_factory=dict)
    key: str = ""
    url: str = ""
    start: Start = start_alone
    processes: list[Process] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """The environment of every process of this installation, and of no other."""
        own = {name: value for name, value in os.environ.items() if not name.startswith("LACUNA_")}
        own |= {"LACUNA_DATA_DIR": str(self.folder / "data"), "LACUNA_JOB_LEASE_MS": "500", "LACUNA_POLL_MS": "100"}
        if self.database_url is not None:
            own["LACUNA_DATABASE_URL"] = self.database_url
        return own | self.settings

    def _start(self, name: str, *arguments: str, start: Start | None = None) -> Process:
        count = len(self.processes)
        self.folder.mkdir(parents=True, exist_ok=True)
        out_path, err_path = self.folder / f"{name}-{count}.out", self.folder / f"{name}-{count}.err"
        with out_path.open("wb") as out, err_path.open("wb") as err:
            process = (start or self.start)(arguments, environment=self.environment, out=out, err=err)
        self.processes.append(process)
        return process

    def start_server(self, *, with_worker: bool = False) -> Process:
        """Start an API process on a free port; note its address and, the first time, its key."""
        options = [] if with_worker else ["--no-worker"]
        count = len(self.processes)
        server = self._start("server", "-m", "service.cli", "server", "--port", "0", "--json", *options)
        said = self.folder / f"server-{count}.out"
        err = self.folder / f"server-{count}.err"

        def announced() -> dict[str, Any] | None:
            assert server.poll() is None, err.read_text()
            text = said.read_text()
            return json.loads(text) if text.endswith("\n") else None

        started = wait_until(announced, PATIENCE_S, "the server to start")
        self.url, self.key = started["url"], started["first_key"] or self.key
        return server

    def start_server_on(self, port: int) -> Process:
        """Start an API process on a port that clients know, without waiting for it."""
        return self._start("server", "-m", "service.cli", "server", "--port", str(port), "--json", "--no-worker")

    def start_worker(self, *, die_at: str | tuple[str, ...] = ()) -> Process:
        """Start a worker; with `die_at` one that kills itself at that point, or at the first of several."""
        if not die_at:
            return self._start("worker", "-m", "workers")
        return self._start("dying", str(DYING_WORKER), *((die_at,) if isinstance(die_at, str) else die_at))

    def died_at(self, worker: Process) -> str:
        """Return the point at which a worker has killed itself."""
        assert worker.poll() == -signal.SIGKILL, worker.poll()
        return (self.folder / f"dying-{self.processes.index(worker)}.out").read_text()

    def start_worker_with_failing_disk(self, at: str, disk: Path, how: str) -> Process:
        """Start a worker whose disk is `full` or `read-only` from that point on."""
        return self._start("worker", str(FAILING_DISK_WORKER), at, str(disk), how)

    def refused_start(self) -> str:
        """Start a server that cannot start; return what it says about that."""
        count = len(self.processes)
        server = self._start("server", "-m", "service.cli", "server", "--port", "0", "--no-worker")
        assert server.wait(PATIENCE_S) != 0
        return (self.folder / f"server-{count}.err").read_text()

    def upgrade(self) -> None:
        """Bring a database server's tables up to date, as the operator does before the first start."""
        done = self._start("upgrade", "-m", "service.cli", "db", "upgrade")
        assert done.wait(PATIENCE_S) == 0

    def worker_pid(self) -> int:
        """Return the process number of an embedded server's worker."""
        (server,) = [process for process in self.processes if process.poll() is None]
        children = Path(f"/proc/{server.pid}/task/{server.pid}/children")

        def found() -> int | None:
            numbers = children.read_text().split()
            return int(numbers[0]) if numbers else None

        return wait_until(found, PATIENCE_S, "the worker to start")

    def client(self, url: str | None = None) -> LacunaClient:
        """Return a client with the first key. Close it."""
        return LacunaClient(url or self.url, self.key)

    def train(self, client: LacunaClient, people: list[Person]) -> str:
        """Create cohorts, upload, register a model, wait for its first version, and return the model's id."""
        cohorts = [
            client.create_cohort(kind, kind=kind, shape=SHAPE, dtype="float32", class_names=CLASSES)["id"]
            for kind in ("core", "user")
        ]
        upload_people(client, cohorts[0], CORE_PEOPLE, subjects=False)
        upload_people(client, cohorts[1], people)
        made = client.create_model(
            "model",
            core_cohort=cohorts[0],
            user_cohorts=[cohorts[1]],
            architecture="mlp",
            feature_map="head",
            alpha=5.0,
            mu=1e-3,
            epochs=3,
            seed=7,
        )
        client.wait_for_version(made["model"]["id"], timeout_s=PATIENCE_S)
        model_id: str = made["model"]["id"]
        return model_id

    def leftovers(self) -> list[str]:
        """Stop everything as an operator does, and return what `support.leftovers` finds in the stores."""
        running = [process for process in self.processes if process.poll() is None]
        for process in running:
            process.terminate()
        # The one is told to end while it works, the other while it starts.
        assert all(process.wait(PATIENCE_S) in (0, -signal.SIGTERM) for process in running)
        settings = LedgerSettings(data_dir=self.folder / "data", database_url=self.database_url)
        ledger = open_ledger(settings, clock=clock_us, random=os.urandom)
        try:
            return leftovers(ledger)
        finally:
            ledger.close()

    def stop(self) -> None:
        """Kill everything that still runs."""
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.wait()


def upload_people(client: LacunaClient, cohort: str, people: list[Person], *, subjects: bool = True) -> None:
    """Upload these people's records, with the ids and subjects that `World.upload` would give them."""
    client.upload(
        cohort,
        np.concatenate([p.x for p in people]),
        np.concatenate([p.y for p in people]),
        subjects=np.array([p.name for p in people for _ in p.y]) if subjects else None,
        ids=np.array([f"{p.name}/{i}" for p in people for i in range(len(p.y))]),
    )
