"""Every process is restarted, one after another, under predictions and deletions: none of them fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx
import pytest
from support import nursery
from support.deployment import PATIENCE_S, Deployment
from support.ports import free_port
from support.waiting import wait_until
from support.world import person

from service.client import LacunaClient
from service.client_errors import ClientError

pytestmark = pytest.mark.acceptance
PEOPLE = [person(f"person-{i}") for i in range(14)]
DRAIN_S = 1.5
LOOK_EVERY_S = 0.1
ROUNDS, RETRY_AFTER_S = 3, 1.0


@dataclass
class Balancer:
    """Knows which servers are ready, as a load balancer does: it asks now and then, and believes what it was told."""

    urls: list[str]
    ready: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        with httpx.Client(timeout=5, trust_env=False) as client:
            while not self._over.wait(LOOK_EVERY_S):
                for url in self.urls:
                    try:
                        good = client.get(f"{url}/readyz").status_code == 200
                    except httpx.HTTPError:
                        good = False
                    self.ready = self.ready | {url} if good else self.ready - {url}

    def __enter__(self) -> Balancer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


@dataclass
class Traffic:
    """Predictions from two threads, and one person after another who asks to be forgotten."""

    balancer: Balancer
    key: str
    model: str
    answered: int = 0
    failed: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._predict) for _ in range(2)]
        self._threads.append(threading.Thread(target=self._forget))

    def _ask(self, what: Callable[[LacunaClient], object]) -> object:
        """Ask a server that is ready; if it does not answer, another one. Each is asked on a connection of its own.

        When all have refused, wait as a 503 tells, at most twice: a starved process loses its lease for a moment.
        """
        problem = "no server was ready"
        until = time.monotonic() + PATIENCE_S
        tried: set[str] = set()
        rounds = 0
        while time.monotonic() < until:
            left = self.balancer.ready - tried
            if not left and tried:
                rounds += 1
                if rounds == ROUNDS:
                    break
                time.sleep(RETRY_AFTER_S)
                tried.clear()
                continue
            if not left:
                time.sleep(0.01)
                continue
            url = sorted(left)[threading.get_ident() % len(left)]
            tried.add(url)
            try:
                with LacunaClient(url, self.key, timeout_s=PATIENCE_S) as client:
                    return what(client)
            except ClientError as raised:
                problem = f"{type(raised).__name__}: {raised}"
        self.failed.append(problem)
        return None

    def _predict(self) -> None:
        while not self._over.is_set():
            self._ask(lambda client: client.predict(self.model, PEOPLE[-1].x, patience_s=0))
            self.answered += 1

    def _forget(self) -> None:
        for one in PEOPLE[:8]:
            request = self._ask(lambda client, name=one.name: client.forget(subjects=[name])["id"])  # type: ignore[misc]
            self.requests.append(str(request))
            if self._over.wait(1.0):
                return

    def __enter__(self) -> Traffic:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


def test_a_rolling_restart_under_load_fails_nobody(
    deploy: Callable[..., Deployment], fresh_postgres_database: str
) -> None:
    deployment = deploy(fresh_postgres_database, LACUNA_DRAIN_S=str(DRAIN_S), LACUNA_LEASE_TTL_MS="10000")
    deployment.upgrade()
    deployment.start_server()  # and note its first key
    first = deployment.processes[-1]
    ports = [free_port() for _ in range(2)]
    servers = [deployment.start_server_on(port) for port in ports]
    worker = deployment.start_worker()
    with deployment.client() as client:
        model = deployment.train(client, PEOPLE)
    first.terminate()
    with Balancer([f"http://127.0.0.1:{port}" for port in ports]) as balancer:
        wait_until(lambda: len(balancer.ready) == 2, PATIENCE_S, "both servers to be ready")
        with Traffic(balancer, deployment.key, model) as traffic:
            wait_until(lambda: traffic.answered > 20, PATIENCE_S, "answers")
            for number, port in enumerate(ports):
                end(servers[number])
                wait_until(lambda: len(balancer.ready) == 1, PATIENCE_S, "it to be seen gone")
                servers[number] = deployment.start_server_on(port)
                wait_until(lambda: len(balancer.ready) == 2, 2 * PATIENCE_S, "it to be ready again")
            end(worker)
            deployment.start_worker()
            reached = traffic.answered
            wait_until(lambda: traffic.answered > reached + 20, PATIENCE_S, "answers after the last restart")
        assert traffic.failed == []
        with LacunaClient(balancer.urls[0], deployment.key) as client:
            outcomes = [client.wait_for_request(one, timeout_s=PATIENCE_S)["outcome"] for one in traffic.requests]
        assert outcomes == ["erased"] * len(traffic.requests)
        assert len(outcomes) >= 3
    assert deployment.leftovers() == []


def end(process: nursery.Process) -> None:
    """Stop a process as an operator does."""
    process.terminate()
    assert process.wait(PATIENCE_S) == 0
