"""Celery's workers on a real Valkey and a real PostgreSQL: what is lost, doubled or late is made good by the ledger.

One installation serves all tests; each forgets somebody else, and the last compares with a service that saw none.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from support import nursery
from support.deployment import CORE_PEOPLE, PATIENCE_S
from support.postgres import temporary_database
from support.production import Production, children_of
from support.waiting import wait_until
from support.world import NewWorld, person

from ledger import dsse
from ledger.broker import Broker
from ledger.nudges import Nudge
from service.client import LacunaClient

pytestmark = pytest.mark.acceptance
PEOPLE = [person(f"person-{i}") for i in range(11)]


@dataclass
class Site:
    """A trained model that answers, and nobody who works until a test starts somebody."""

    production: Production
    client: LacunaClient
    model: str
    gone: list[str] = field(default_factory=list)

    def forget(self) -> str:
        """Ask for somebody to be forgotten who was not yet; return the request."""
        name = PEOPLE[len(self.gone)].name
        self.gone.append(name)
        request: str = self.client.forget(subjects=[name])["id"]
        return request

    def forgotten(self, request: str) -> None:
        """Wait for a request; its certificate is valid, nothing is left to do, and a rebuild gives the same bytes."""
        done = self.client.wait_for_request(request, timeout_s=PATIENCE_S)
        assert (done["outcome"], done["records"]) == ("erased", 3)
        (key,) = self.client.signing_keys()
        statement = json.loads(dsse.verify_envelope(self.client.certificate(request), key["public_key_pem"]))
        assert all(fact["holds"] for fact in statement["predicate"]["facts"].values())
        rebuilt = self.client.wait_for_job(self.client.rebuild(self.model)["job"], timeout_s=PATIENCE_S)
        assert rebuilt["result"]["equal"] is True
        wait_until(lambda: {j["state"] for j in self.client.jobs()} == {"done"}, PATIENCE_S, "every job to be done")

    def versions(self) -> list[int]:
        """Return the numbers of all versions that were ever published."""
        return [version["number"] for version in self.client.versions(self.model)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, postgres_url: str) -> Iterator[Site]:
    with temporary_database(postgres_url) as url:
        production = Production(tmp_path_factory.mktemp("production"), url, start=nursery.start)
        try:
            production.upgrade()
            production.start_server()
            worker = production.start_celery()
            with production.client() as client:
                model = production.train(client, PEOPLE)
                end(worker)
                yield Site(production, client, model)
        finally:
            production.stop()


@pytest.fixture
def site(trained: Site) -> Iterator[Site]:
    """The installation, with an empty Redis; whoever works is killed after the test."""
    before = list(trained.production.processes)
    trained.production.flush_redis()
    yield trained
    trained.production.kill([p for p in trained.production.processes if p not in before])


def end(process: nursery.Process) -> None:
    process.terminate()
    assert process.wait(PATIENCE_S) == 0


def told(note: Any) -> int:
    """Wait for a worker to say that it is about to send itself a signal; return the number of its process."""
    return int(wait_until(lambda: note.exists() and note.read_text(), PATIENCE_S, "the worker to be at work"))


def test_two_workers_two_reconcilers_and_every_message_a_hundred_times(site: Site) -> None:
    """One erasure, one new version; a worker that is told to stop leaves at once and with 0."""
    before = site.versions()
    request = site.forget()
    (job,) = [job for job in site.client.jobs() if job["state"] == "ready"]
    broker = Broker(site.production.redis_url, job_limit_s=60)
    for _ in range(100):
        broker.send(Nudge(job["id"], "advance", 1, 0, 0))
    broker.close()
    assert site.production.messages() >= 100
    started = [site.production.start_celery() for _ in range(2)]
    started += [site.production.start_reconciler() for _ in range(2)]
    site.forgotten(request)
    assert site.versions() == [before[0] + 1, *before]
    wait_until(lambda: site.production.messages() == 0, PATIENCE_S, "the queue to be empty")
    for process in started:
        end(process)


def test_the_process_that_works_is_killed(site: Site) -> None:
    """Its parent starts another one, and the reconciler has the job taken over."""
    site.production.start_reconciler()
    worker, note = site.production.start_signalling(signal.SIGKILL, "advance.written")
    request = site.forget()
    child = told(note)
    site.forgotten(request)
    assert worker.poll() is None
    assert child not in children_of(worker)


def test_a_worker_that_slept_beyond_its_lease_publishes_nothing(site: Site) -> None:
    """Meanwhile another one did its job; awake, it notices, and does the next job."""
    before = site.versions()
    site.production.start_reconciler()
    worker, note = site.production.start_signalling(signal.SIGSTOP, "advance.checked")
    request = site.forget()
    child = told(note)
    another = site.production.start_celery()
    site.forgotten(request)
    assert site.versions() == [before[0] + 1, *before]
    os.kill(child, signal.SIGCONT)
    wait_until(lambda: "lease lost" in site.production.log_of(worker), PATIENCE_S, "the sleeper to notice")
    assert site.versions() == [before[0] + 1, *before]
    end(another)
    site.forgotten(site.forget())
    assert children_of(worker) == [child]


def test_a_whole_worker_is_killed(site: Site) -> None:
    """The parent is killed in the middle of a job, and its stopped child goes with it. Another worker takes over."""
    before = site.versions()
    site.production.start_reconciler()
    worker, note = site.production.start_signalling(signal.SIGSTOP, "advance.checked")
    request = site.forget()
    child = told(note)
    worker.kill()
    worker.wait()
    wait_until(lambda: not alive(child), PATIENCE_S, "the child to end")
    site.production.start_celery()
    site.forgotten(request)
    assert site.versions() == [before[0] + 1, *before]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_redis_is_away_while_a_request_comes_and_while_a_job_is_done(site: Site) -> None:
    """It is accepted at once and done later; the job in hand goes on, and nobody has to be started anew."""
    worker, note = site.production.start_signalling(signal.SIGSTOP, "advance.written")
    site.production.start_reconciler()
    first = site.forget()
    child = told(note)
    site.production.stop_redis()
    begun = time.monotonic()
    second = site.forget()
    assert time.monotonic() - begun < PATIENCE_S
    assert site.client.request(second)["state"] == "accepted"
    os.kill(child, signal.SIGCONT)
    wait_until(lambda: site.client.request(first)["state"] != "scrubbing", PATIENCE_S, "the job in hand to be done")
    site.production.start_redis()
    site.forgotten(first)
    site.forgotten(second)
    assert worker.poll() is None
    assert children_of(worker) == [child]


def test_a_worker_whose_device_is_not_there_ends_and_says_so(site: Site) -> None:
    worker = site.production.start_celery("gpu", CUDA_VISIBLE_DEVICES="")
    assert worker.wait(PATIENCE_S) == 1
    assert "torch finds no device" in site.production.log_of(worker)


def test_redis_is_emptied(site: Site) -> None:
    """The message is lost before anybody takes it; the reconciler sends it again, to a worker that lived through it."""
    worker = site.production.start_celery()
    wait_until(lambda: children_of(worker), PATIENCE_S, "the worker to have started")
    os.kill(worker.pid, signal.SIGSTOP)
    request = site.forget()
    wait_until(lambda: site.production.messages() == 1, PATIENCE_S, "the message")
    site.production.flush_redis()
    os.kill(worker.pid, signal.SIGCONT)
    site.production.start_reconciler()
    site.forgotten(request)


def test_after_all_this_the_model_is_that_of_a_service_that_never_saw_them(site: Site, new_world: NewWorld) -> None:
    assert len(site.gone) == 8
    world = new_world(core_people=len(CORE_PEOPLE))
    world.upload(*(p for p in PEOPLE if p.name not in site.gone))
    world.register()
    world.work()
    challenge = bytes(range(32))
    digests = site.client.digests(site.model, site.versions()[0], challenge)
    for name, body in (("statistics", world.statistics()), ("weights", world.weights())):
        assert digests[name] == hmac.new(challenge, body, hashlib.sha256).hexdigest(), name
    assert site.production.leftovers() == []
