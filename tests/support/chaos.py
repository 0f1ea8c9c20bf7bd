"""Many forget requests while everything that they rest on is broken again and again (support/storm.py).

Everything random follows from a seed, except what the machine adds. After the storm an operator's eyes: every request
completed once, certificates, rebuilds, leftovers.
"""

from __future__ import annotations

import contextlib
import json
import random
import signal
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

from sqlalchemy import func, select

from ledger import dsse
from ledger.ledger import Ledger
from ledger.tables import Event, ForgetRequest, Job, ModelVersion, StoredObject
from service.client import LacunaClient
from service.client_errors import ClientError
from support.deployment import CORE_PEOPLE, upload_people
from support.nursery import Process
from support.ports import free_port
from support.production import Production
from support.storm import Storm, send_signal
from support.waiting import wait_until
from support.world import CLASSES, SHAPE, person

KEPT_PEOPLE = 12


@dataclass(frozen=True)
class Plan:
    """How much of what. `storm_s`: how long things break, each at most `longest_pause_s` after the one before; requests
    are spread over that time.
    """

    seed: int
    requests: int
    clients: int
    storm_s: float
    models: int = 2
    servers: int = 1
    workers: int = 2
    reconcilers: int = 2
    longest_pause_s: float = 2.0
    patience_s: float = 300.0


@dataclass
class Report:
    """What happened. `wrong` is empty when everything held."""

    seed: int
    accepted: int = 0
    stored: int = 0
    completed: int = 0
    versions: int = 0
    retried_jobs: int = 0
    refused: int = 0
    seconds: float = 0.0
    calm_s: float = 0.0
    broken: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def lines(self) -> str:
        """Return the report for people."""
        broken = ", ".join(f"{what} {count}" for what, count in sorted(self.broken.items()))
        return (
            f"seed {self.seed}: {self.accepted} requests answered 202, {self.stored} stored (some answers are lost), "
            f"{self.completed} completed, {self.versions} versions published, {self.retried_jobs} failed jobs "
            f"retried by the operator, {self.refused} calls refused or unanswered; {self.seconds:.0f} s, of which "
            f"{self.calm_s:.0f} s after the storm.\nBroken: {broken}.\n"
            + ("Everything held." if not self.wrong else "WRONG:\n" + "\n".join(self.wrong))
        )


class Chaos:
    """One run over an installation that is migrated and runs nothing yet."""

    def __init__(self, production: Production, plan: Plan) -> None:
        self.production = production
        self.plan = plan
        self.report = Report(plan.seed)
        self.random = random.Random(plan.seed)
        self.ports = [free_port() for _ in range(plan.servers)]
        self.roles: dict[str, Process] = {}
        self.orphans: list[int] = []
        self.accepted: dict[str, str] = {}
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._next = 0

    def run(self) -> Report:
        """Train, break things while requests come, calm down, look."""
        begun = time.monotonic()
        self.production.start_server()
        (first,) = [p for p in self.production.processes if p.poll() is None]
        for role in self._all_roles():
            self._start(role)
        with self.production.client() as client:
            models = self._train(client)
        first.terminate()
        first.wait()
        with self.production.ledger() as ledger:
            wait_until(lambda: self._published(ledger) == len(models), self.plan.patience_s, "the first versions")
            threads = [threading.Thread(target=self._send, daemon=True) for _ in range(self.plan.clients)]
            for thread in threads:
                thread.start()
            Storm(self.production, self.random, self.roles, self.orphans, self._start).rage(
                self.plan.storm_s, self.plan.longest_pause_s, self.report.broken
            )
            self._over.set()
            calm = time.monotonic()
            for child in self.orphans:
                send_signal(child, signal.SIGCONT)

            def all_sent() -> bool:
                self._revive()
                return not any(thread.is_alive() for thread in threads)

            wait_until(all_sent, self.plan.patience_s, "every request to be accepted")
            self._wait_for_all(ledger)
            self.report.calm_s = time.monotonic() - calm
            self._look(ledger, models)
        self.report.seconds = time.monotonic() - begun
        return self.report

    def _all_roles(self) -> list[str]:
        plan = self.plan
        return [
            *(f"server-{i}" for i in range(plan.servers)),
            *(f"worker-{i}" for i in range(plan.workers)),
            *(f"reconciler-{i}" for i in range(plan.reconcilers)),
        ]

    def _start(self, role: str) -> None:
        kind, _, number = role.partition("-")
        if kind == "server":
            self.roles[role] = self.production.start_server_on(self.ports[int(number)])
        else:
            start = self.production.start_celery if kind == "worker" else self.production.start_reconciler
            self.roles[role] = start()

    def _revive(self) -> None:
        """Start what has ended, as every supervisor does: a server that comes up without its database ends, too."""
        for role, process in self.roles.items():
            if process.poll() is not None:
                self._start(role)

    def _train(self, client: LacunaClient) -> list[str]:
        cohorts = [
            client.create_cohort(kind, kind=kind, shape=SHAPE, dtype="float32", class_names=CLASSES)["id"]
            for kind in ("core", "user")
        ]
        upload_people(client, cohorts[0], CORE_PEOPLE, subjects=False)
        everybody = [person(f"person-{i}", 2) for i in range(self.plan.requests + KEPT_PEOPLE)]
        upload_people(client, cohorts[1], everybody)
        settings = {"architecture": "mlp", "feature_map": "head", "alpha": 5.0, "mu": 1e-3, "epochs": 1}
        made = [
            client.create_model(f"model-{i}", core_cohort=cohorts[0], user_cohorts=[cohorts[1]], seed=i, **settings)
            for i in range(self.plan.models)
        ]
        ids = [one["model"]["id"] for one in made]
        for model in ids:
            client.wait_for_version(model, timeout_s=self.plan.patience_s)
        return ids

    def _client(self, number: int) -> LacunaClient:
        url = f"http://127.0.0.1:{self.ports[number % len(self.ports)]}"
        return LacunaClient(url, self.production.key, timeout_s=10)

    def _send(self) -> None:
        """Forget one person after another, each until some server says 202."""
        pause_s = self.plan.storm_s * self.plan.clients / max(self.plan.requests, 1)
        tries = 0
        while True:
            with self._lock:
                number, self._next = self._next, self._next + 1
            if number >= self.plan.requests:
                return
            name = f"person-{number}"
            while True:
                tries += 1
                try:
                    with self._client(number + tries) as client:
                        request = client.forget(subjects=[name])["id"]
                except ClientError:
                    with self._lock:
                        self.report.refused += 1
                    time.sleep(0.2)
                else:
                    with self._lock:
                        self.accepted[request] = name
                    break
            self._over.wait(pause_s * 0.8)

    def _published(self, ledger: Ledger) -> int:
        with ledger.database.read() as tx:
            return tx.session.execute(select(func.count()).select_from(ModelVersion)).scalar_one()

    def _wait_for_all(self, ledger: Ledger) -> None:
        """Wait until nothing is left to do; retry what has failed, as an operator who reads the list of jobs does."""

        def done() -> bool:
            self._revive()
            with ledger.database.read() as tx:
                states = tx.session.execute(select(Job.id, Job.state).where(Job.state != "done")).all()
                waiting = tx.session.execute(
                    select(func.count()).select_from(ForgetRequest).where(ForgetRequest.state != "completed")
                ).scalar_one()
                unfinished = tx.session.execute(
                    select(func.count()).select_from(StoredObject).where(StoredObject.state != "live")
                ).scalar_one()
            for job_id, state in states:
                if state == "failed":
                    with contextlib.suppress(ClientError), self._client(job_id) as client:
                        client.call("POST", f"/v1/jobs/{job_id}/retry")
                        self.report.retried_jobs += 1
            return not states and waiting == 0 and unfinished == 0

        try:
            wait_until(done, self.plan.patience_s, "everything to be done")
        except TimeoutError as problem:
            self.report.wrong.append(str(problem))

    def _look(self, ledger: Ledger, models: list[str]) -> None:
        wrong, report = self.report.wrong, self.report
        with ledger.database.read() as tx:
            rows = {row.id: row for row in tx.session.execute(select(ForgetRequest)).scalars()}
            completions = Counter(
                tx.session.execute(select(Event.subject).where(Event.kind == "forget.completed")).scalars()
            )
        report.accepted, report.stored = len(self.accepted), len(rows)
        report.completed = sum(row.state == "completed" for row in rows.values())
        report.versions = self._published(ledger)
        wrong += [f"request {one} was accepted and is unknown" for one in self.accepted if one not in rows]
        wrong += [f"request {row.id} is {row.state}: {row.error}" for row in rows.values() if row.state != "completed"]
        wrong += [f"request {one} was completed {completions[one]} times" for one in rows if completions[one] != 1]
        # Who asked again because the answer was lost may find nobody there any more.
        erased = [one for one, row in rows.items() if row.outcome == "erased"]
        others = {row.outcome for row in rows.values()} - {"erased", "no_match"}
        if len(erased) < self.plan.requests or others:
            wrong.append(f"{len(erased)} requests erased somebody; other outcomes: {sorted(map(str, others))}")
        with self._answering() as client:
            (key,) = client.signing_keys()
            for one in erased:
                statement = json.loads(dsse.verify_envelope(client.certificate(one), key["public_key_pem"]))
                if not all(fact["holds"] for fact in statement["predicate"]["facts"].values()):
                    wrong.append(f"the certificate of request {one} states a fact that does not hold")
            for model in models:
                try:
                    rebuilt = client.wait_for_job(client.rebuild(model)["job"], timeout_s=self.plan.patience_s)
                except ClientError as problem:
                    wrong.append(f"model {model} cannot be rebuilt: {problem}")
                    continue
                if rebuilt["result"]["equal"] is not True:
                    wrong.append(f"the statistics of model {model} are not those of its stored records")
                if rebuilt["result"]["records"] != 2 * KEPT_PEOPLE:
                    wrong.append(f"model {model} knows {rebuilt['result']['records']} records")
        for role in [name for name in self.roles if name.startswith("reconciler")]:
            self.roles[role].terminate()
        wrong += self.production.leftovers()

    def _answering(self) -> LacunaClient:
        def found() -> LacunaClient | None:
            client = self._client(0)
            try:
                client.me()
            except ClientError:
                client.close()
                return None
            return client

        return wait_until(found, self.plan.patience_s, "a server to answer")


def run(production: Production, plan: Plan) -> Report:
    """Run one storm on a migrated installation and return what happened. The caller stops the installation."""
    chaos = Chaos(production, plan)
    try:
        return chaos.run()
    finally:
        for child in chaos.orphans:
            send_signal(child, signal.SIGKILL)
