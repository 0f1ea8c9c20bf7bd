"""kill -9 of real processes on the forget path: one erasure, one valid certificate, digests as if never seen."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from support import nursery
from support.deployment import CORE_PEOPLE, PATIENCE_S, Deployment
from support.waiting import wait_until
from support.world import NewWorld, World, person

from ledger import dsse
from ledger.jobs import MAX_ATTEMPTS
from service.client import LacunaClient

pytestmark = pytest.mark.acceptance
PEOPLE = [person(f"person-{i}") for i in range(6)]
FORGOTTEN = "person-2"
CHALLENGE = bytes(range(32))


@pytest.fixture
def never_saw(new_world: NewWorld) -> World:
    world = new_world(core_people=len(CORE_PEOPLE))
    world.upload(*(p for p in PEOPLE if p.name != FORGOTTEN))
    world.register()
    world.work()
    return world


def check_forgotten(deployment: Deployment, client: LacunaClient, model: str, request: str, never_saw: World) -> None:
    """Wait for the request; compare the service with one that never saw the person."""
    done = client.wait_for_request(request, timeout_s=PATIENCE_S)
    assert (done["outcome"], done["records"]) == ("erased", 3)
    active = client.model(model)["active_version"]
    digests = client.digests(model, active, CHALLENGE)
    for name, body in (("statistics", never_saw.statistics()), ("weights", never_saw.weights())):
        assert digests[name] == hmac.new(CHALLENGE, body, hashlib.sha256).hexdigest(), name
    (key,) = client.signing_keys()
    statement = json.loads(dsse.verify_envelope(client.certificate(request), key["public_key_pem"]))
    assert statement["predicate"]["request"]["id"] == request
    assert all(fact["holds"] for fact in statement["predicate"]["facts"].values())
    prediction = client.predict(model, PEOPLE[0].x)
    assert prediction["model_version"] == active
    wait_until(lambda: all(j["state"] == "done" for j in client.jobs()), PATIENCE_S, "every job to be done")
    assert [r["outcome"] for r in client.requests()] == ["erased"]


# In the order in which one request meets them; docs/flows.md says what each means.
POINTS = re.findall(
    r"^\| `((?:advance|purge)\.[a-z_]+)`", (Path(__file__).parents[2] / "docs" / "flows.md").read_text(), re.M
)
# What they stand for is durable and done, so the next worker does not come past them again, and goes on from there.
ONCE = {"advance.published": "purge.claimed", "purge.shard_replaced": "purge.objects_deleted"}
LAST = "purge.completed"


@dataclass
class Story:
    """One installation whose processes are killed again and again."""

    deployment: Deployment
    server: nursery.Process | None = None
    deaths: int = 0
    given_up: list[tuple[str, int]] = field(default_factory=list)

    def die(self, *points: str) -> str:
        """Let the next worker kill itself at the first of these points, and return where it was.

        A worker that is one too many gives the job up instead; then an operator tries it again.
        """
        worker = self.deployment.start_worker(die_at=points)
        self.server = self.server or self.deployment.start_server()
        with self.deployment.client() as client:
            wait_until(lambda: worker.poll() is not None or failed(client), PATIENCE_S, f"a death at {points}")
            for job in failed(client):
                assert "WorkerLost" in job["error"]
                assert all(job["error"] in request["error"] for request in client.requests()), "people are told"
                self.given_up.append((job["kind"], job["attempts"]))
                client.call("POST", f"/v1/jobs/{job['id']}/retry")
        worker.wait(PATIENCE_S)
        self.deaths += 1
        return self.deployment.died_at(worker)

    def kill_server(self) -> None:
        """Kill the server (-9); the next worker comes with a new one."""
        assert self.server is not None
        self.server.kill()
        self.server.wait()
        self.server = None


def failed(client: LacunaClient) -> list[dict[str, Any]]:
    """Return the jobs that have been given up."""
    return [job for job in client.jobs() if job["state"] == "failed"]


@pytest.mark.timeout(1200)  # some sixty processes start
def test_one_request_meets_two_deaths_in_a_row_at_every_point(
    deploy: Callable[..., Deployment], never_saw: World
) -> None:
    """At each point in turn a worker kills itself, the server is killed too, and the next worker dies there again."""
    assert len(POINTS) >= 15
    assert POINTS[-1] == LAST
    # A lease that only a dead worker loses, also on a busy machine: who loses it counts as dead.
    deployment = deploy(LACUNA_JOB_LEASE_MS="2000")
    story = Story(deployment, deployment.start_server())
    worker = deployment.start_worker()
    with deployment.client() as client:
        model = deployment.train(client, PEOPLE)
        worker.terminate()
        worker.wait()
        forgotten = client.forget(subjects=[FORGOTTEN])["id"]
    for point in POINTS:
        assert story.die(point) == point
        story.kill_server()
        if point in ONCE:
            assert story.die(point, ONCE[point]) == ONCE[point]
        elif point != LAST:
            assert story.die(point) == point
    assert story.deaths == 2 * len(POINTS) - 1
    # Eight deaths without progress, and never fewer, end in a job that waits for an operator.
    assert {kind for kind, _ in story.given_up} == {"advance", "purge"}
    assert {attempts for _, attempts in story.given_up} == {MAX_ATTEMPTS + 1}
    deployment.start_server()
    deployment.start_worker()  # nothing is left to do for it
    with deployment.client() as client:
        check_forgotten(deployment, client, model, forgotten, never_saw)
    assert deployment.leftovers() == []


def test_two_deaths_in_a_row_on_postgres(
    deploy: Callable[..., Deployment], fresh_postgres_database: str, never_saw: World
) -> None:
    deployment = deploy(fresh_postgres_database)
    deployment.upgrade()
    deployment.start_server()
    worker = deployment.start_worker()
    with deployment.client() as client:
        model = deployment.train(client, PEOPLE)
        worker.terminate()
        worker.wait()
        forgotten = client.forget(subjects=[FORGOTTEN])["id"]
        for point in ("advance.written", "advance.publishing", "purge.shard_replaced", "purge.completing"):
            for _ in range(2 if point.endswith("ing") else 1):
                dying = deployment.start_worker(die_at=point)
                assert dying.wait(PATIENCE_S) == -signal.SIGKILL, point
                assert client.request(forgotten)["state"] != "completed"
        deployment.start_worker()
        check_forgotten(deployment, client, model, forgotten, never_saw)
    assert deployment.leftovers() == []


def test_killing_the_embedded_server_and_its_worker_right_after_202(
    deploy: Callable[..., Deployment], never_saw: World
) -> None:
    """The server dies first; its worker notices and goes too. Started again, they finish what was accepted."""
    deployment = deploy()
    server = deployment.start_server(with_worker=True)
    with deployment.client() as client:
        model = deployment.train(client, PEOPLE)
        forgotten = client.forget(subjects=[FORGOTTEN])["id"]
        server.kill()
        server.wait()
    deployment.start_server(with_worker=True)
    with deployment.client() as client:
        check_forgotten(deployment, client, model, forgotten, never_saw)
    assert deployment.leftovers() == []


def test_killing_the_server_while_the_purge_waits_for_its_lease(
    deploy: Callable[..., Deployment], never_saw: World
) -> None:
    """A server that was stopped holds its lease; killed, it never renews it, and the purge goes on by itself."""
    deployment = deploy()
    server = deployment.start_server()
    deployment.start_worker()
    with deployment.client() as client:
        model = deployment.train(client, PEOPLE)
        client.predict(model, PEOPLE[0].x)
        forgotten = client.forget(subjects=[FORGOTTEN])["id"]
        os.kill(server.pid, signal.SIGSTOP)
        server.kill()
        server.wait()
    deployment.start_server()
    with deployment.client() as client:
        check_forgotten(deployment, client, model, forgotten, never_saw)
    assert deployment.leftovers() == []


def test_the_worker_of_a_killed_server_ends(deploy: Callable[..., Deployment]) -> None:
    deployment = deploy()
    server = deployment.start_server(with_worker=True)
    worker = deployment.worker_pid()
    server.kill()
    server.wait()
    wait_until(lambda: not running(worker), PATIENCE_S, "the worker to end")


def running(pid: int) -> bool:
    """Whether a process lives; one that has ended but was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
