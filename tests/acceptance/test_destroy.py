"""kill -9 of real processes while a successor takes over and while a model is destroyed."""

from __future__ import annotations

import hashlib
import hmac
import json
import signal
from collections.abc import Callable

import pytest
from support.deployment import CORE_PEOPLE, PATIENCE_S, Deployment
from support.waiting import wait_until
from support.world import NewWorld, person

from ledger import dsse
from service.client import LacunaClient
from service.client_errors import ApiProblem

pytestmark = pytest.mark.acceptance
PEOPLE = [person(f"person-{i}") for i in range(4)]
CHALLENGE = bytes(range(32))


def kill_both_at(deployment: Deployment, point: str) -> None:
    """Run a worker until it kills itself at the point; kill the server with it, and start that again."""
    server = next(process for process in deployment.processes if process.poll() is None)
    dying = deployment.start_worker(die_at=point)
    assert dying.wait(PATIENCE_S) == -signal.SIGKILL, point
    server.kill()
    server.wait()
    deployment.start_server()


def test_deaths_during_a_cut_over_and_a_destruction(deploy: Callable[..., Deployment], new_world: NewWorld) -> None:
    deployment = deploy()
    deployment.start_server()
    worker = deployment.start_worker()
    with deployment.client() as client:
        model = deployment.train(client, PEOPLE)
        worker.terminate()
        worker.wait()
        client.successor(model, seed=8, cut_over="when_ready")
    for point in ("advance.publishing", "destroy.let_go", "destroy.completing"):
        kill_both_at(deployment, point)
    worker = deployment.start_worker()
    with deployment.client() as client:
        all_done(client)
        now = client.model(model)
        assert (now["generation"], now["name"], now["state"]) == (2, "model", "ready")
        other = new_world(core_people=len(CORE_PEOPLE))
        other.upload(*PEOPLE)
        other.register(seed=8)
        other.work()
        digests = client.digests(model, now["active_version"], CHALLENGE)
        assert digests["weights"] == hmac.new(CHALLENGE, other.weights(), hashlib.sha256).hexdigest()
        assert client.predict(model, PEOPLE[0].x)["model_version"] == now["active_version"]
        worker.terminate()
        worker.wait()
        client.delete_model(model)
    for point in ("destroy.unserved", "destroy.objects_deleted", "destroy.completed"):
        kill_both_at(deployment, point)
    deployment.start_worker()
    with deployment.client() as client:
        all_done(client)
        assert client.model(model)["state"] == "destroyed"
        (key,) = client.signing_keys()
        statement = json.loads(dsse.verify_envelope(client.destruction_certificate(model), key["public_key_pem"]))
        assert statement["predicate"]["model"]["generation"] == 2
        with pytest.raises(ApiProblem, match="destroyed"):
            client.predict(model, PEOPLE[0].x)


def all_done(client: LacunaClient) -> None:
    wait_until(lambda: all(job["state"] == "done" for job in client.jobs()), PATIENCE_S, "every job to be done")
