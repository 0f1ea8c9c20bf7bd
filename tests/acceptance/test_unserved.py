"""Under concurrent queries to two API processes, no answer sent after `completed` comes from an older version."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from support.deployment import PATIENCE_S, Deployment
from support.waiting import wait_until
from support.world import person

from service.client import LacunaClient
from service.client_errors import ApiProblem, ServiceUnreachable

pytestmark = pytest.mark.acceptance
PEOPLE = [person(f"person-{i}") for i in range(10)]


@dataclass(frozen=True)
class Answer:
    """A prediction: when the query was sent (monotonic seconds), and the version that answered."""

    asked_at: float
    version: int


class Asking:
    """Clients that ask two servers all the time."""

    def __init__(self, clients: list[LacunaClient], model: str) -> None:
        self.answers: list[Answer] = []
        self.refusals: list[int] = []
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(c, model)) for c in clients]

    def _ask(self, client: LacunaClient, model: str) -> None:
        while not self._over.is_set():
            asked_at = time.monotonic()
            try:
                answer = client.predict(model, PEOPLE[0].x, patience_s=0)
            except ApiProblem as problem:
                self.refusals.append(problem.status)
            except ServiceUnreachable:
                self.refusals.append(0)
            else:
                self.answers.append(Answer(asked_at, answer["model_version"]))

    def __enter__(self) -> Asking:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


def covering_version(client: LacunaClient, request: str) -> int:
    (covered,) = client.request(request)["models"]
    version: int = covered["version"]
    return version


def test_two_api_processes_and_queries_all_the_time(
    deploy: Callable[..., Deployment], fresh_postgres_database: str
) -> None:
    deployment = deploy(fresh_postgres_database)
    deployment.upgrade()
    deployment.start_server()
    first = deployment.url
    deployment.start_server()
    deployment.start_worker()
    with (
        deployment.client(first) as a,
        deployment.client() as b,
        deployment.client(first) as asking_a,
        deployment.client() as asking_b,
    ):
        model = deployment.train(a, PEOPLE)
        completed: list[tuple[float, int]] = []
        with Asking([asking_a, asking_b], model) as asking:
            wait_until(lambda: len(asking.answers) > 20, PATIENCE_S, "answers from both servers")
            for i in range(6):
                request = (a, b)[i % 2].forget(subjects=[f"person-{i}"])["id"]
                a.wait_for_request(request, timeout_s=PATIENCE_S)
                completed.append((time.monotonic(), covering_version(a, request)))
            reached = len(asking.answers)
            wait_until(lambda: len(asking.answers) > reached + 20, PATIENCE_S, "answers after the last erasure")
    for at, version in completed:
        late = [answer.version for answer in asking.answers if answer.asked_at > at]
        assert late, "there were answers after the erasure"
        assert min(late) >= version
    assert {answer.version for answer in asking.answers} >= {1, completed[-1][1]}
    assert set(asking.refusals) <= {503}


def test_a_server_that_was_stopped_beyond_its_lease_answers_nothing_old(
    deploy: Callable[..., Deployment], fresh_postgres_database: str
) -> None:
    """It sleeps through the erasure; the request completes without it; awake again, it may only answer from the new."""
    deployment = deploy(fresh_postgres_database, LACUNA_LEASE_TTL_MS="500")
    deployment.upgrade()
    deployment.start_server()
    awake = deployment.url
    sleeper = deployment.start_server()
    deployment.start_worker()
    with deployment.client(awake) as client, deployment.client() as sleeping:
        model = deployment.train(client, PEOPLE)
        assert sleeping.predict(model, PEOPLE[0].x)["model_version"] == 1
        os.kill(sleeper.pid, signal.SIGSTOP)
        with Asking([sleeping], model) as asking:  # this query waits in the stopped process's socket
            request = client.forget(subjects=["person-3"])["id"]
            client.wait_for_request(request, timeout_s=PATIENCE_S)
            assert asking.answers == []
            os.kill(sleeper.pid, signal.SIGCONT)
            wait_until(lambda: len(asking.answers) > 5, PATIENCE_S, "the sleeper to answer again")
        assert min(answer.version for answer in asking.answers) >= covering_version(client, request)
