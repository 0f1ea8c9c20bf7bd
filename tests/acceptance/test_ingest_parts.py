"""A large ingestion by two real workers at once, after two others were killed (-9) in the middle of their parts."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Callable

import pytest
from sqlalchemy import select
from support.deployment import CORE_PEOPLE, PATIENCE_S, Deployment, upload_people
from support.waiting import wait_until
from support.world import CLASSES, SHAPE, NewWorld, World, clock_us, person

from ledger.ledger import open_ledger
from ledger.settings import LedgerSettings
from ledger.tables import Job
from workers.sweeping import sweep

pytestmark = pytest.mark.acceptance
PEOPLE = [person(f"person-{i}", 20) for i in range(16)]
"""320 records, and as many shards: more than one job does by itself."""
CHALLENGE = bytes(range(32))


@pytest.fixture
def alone(new_world: NewWorld) -> World:
    world = new_world(core_people=len(CORE_PEOPLE), shard_records=64)
    world.upload(*PEOPLE)
    world.register()
    world.work()
    return world


def test_two_workers_ingest_what_two_dead_ones_began(
    deploy: Callable[..., Deployment], fresh_postgres_database: str, alone: World
) -> None:
    deployment = deploy(fresh_postgres_database, LACUNA_SHARD_RECORDS="1", LACUNA_JOB_LEASE_MS="3000")
    deployment.upgrade()
    deployment.start_server()
    with deployment.client() as client:
        core, user = (
            client.create_cohort(kind, kind=kind, shape=SHAPE, dtype="float32", class_names=CLASSES)["id"]
            for kind in ("core", "user")
        )
        upload_people(client, core, CORE_PEOPLE, subjects=False)
        upload_people(client, user, PEOPLE)
        model = client.create_model(
            "model",
            core_cohort=core,
            user_cohorts=[user],
            architecture="mlp",
            feature_map="head",
            alpha=5.0,
            mu=1e-3,
            epochs=3,
            seed=7,
        )["model"]["id"]
        killed = [deployment.start_worker(die_at="ingest_part.extracted") for _ in range(2)]
        for worker in killed:
            worker.wait(PATIENCE_S)
            assert deployment.died_at(worker) == "ingest_part.extracted"
        (waiting,) = (job for job in client.jobs() if job["kind"] == "ingest_model")
        assert waiting["state"] == "ready"
        assert waiting["note"].endswith(" of 320 shards are done, in 3 parts")
        for _ in range(2):
            deployment.start_worker()
        client.wait_for_version(model, timeout_s=PATIENCE_S)
        digests = client.digests(model, client.model(model)["active_version"], CHALLENGE)
        for name, body in (("statistics", alone.statistics()), ("weights", alone.weights())):
            assert digests[name] == hmac.new(CHALLENGE, body, hashlib.sha256).hexdigest(), name
        wait_until(lambda: all(job["state"] == "done" for job in client.jobs()), PATIENCE_S, "every job to be done")
        assert "ingest_part" not in {job["kind"] for job in client.jobs()}
    assert taken_over(deployment) >= 2
    assert deployment.leftovers() == []


def taken_over(deployment: Deployment) -> int:
    """Count the parts that had more than one worker. Take back what the dead ones left, as workers do every minute."""
    settings = LedgerSettings(data_dir=deployment.folder / "data", database_url=deployment.database_url)
    ledger = open_ledger(settings, clock=clock_us, random=os.urandom)
    try:
        sweep(ledger)
        with ledger.database.read() as tx:
            query = select(Job.fence).where(Job.kind == "ingest_part")
            return sum(fence > 1 for fence in tx.session.execute(query).scalars())
    finally:
        ledger.close()
