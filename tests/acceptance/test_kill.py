"""kill -9 of real processes on the forget path: one erasure, one valid certificate, digests as if never seen."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from support.deployment import CORE_PEOPLE, PATIENCE_S, Deployment
from support.waiting import wait_until
from support.world import NewWorld, World, person

from ledger import dsse
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


# In the order in which one request meets them; docs/flows.md says what each means.
POINTS = re.findall(
    r"^\| `((?:advance|purge)\.[a-z_]+)`", (Path(__file__).parents[2] / "docs" / "flows.md").read_text(), re.M
)


@pytest.mark.timeout(1200)  # some forty processes start one after the other
def test_one_request_meets_a_death_at_every_point(deploy: Callable[..., Deployment], never_saw: World) -> None:
    """At each point in turn the worker kills itself and the server is killed with it; both start again."""
    assert len(POINTS) >= 15
    deployment = deploy()
    server = deployment.start_server()
    worker = deployment.start_worker()
    with deployment.client() as client:
        model = deployment.train(client, PEOPLE)
        worker.terminate()
        worker.wait()
        forgotten = client.forget(subjects=[FORGOTTEN])["id"]
    for point in POINTS:
        dying = deployment.start_worker(die_at=point)
        assert dying.wait(PATIENCE_S) == -signal.SIGKILL, point
        server.kill()
        server.wait()
        server = deployment.start_server()
    deployment.start_worker()
    with deployment.client() as client:
        check_forgotten(deployment, client, model, forgotten, never_saw)


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
