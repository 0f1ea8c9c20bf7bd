"""Destroying models over HTTP: no answer, nothing left in any store, a certificate, and nobody kept waiting."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from sqlalchemy import select
from support.site import Site
from support.waiting import wait_until
from support.world import World, make_deps, person

from ledger import inventory, leases, lines
from ledger.dsse import verify_envelope
from ledger.tables import FeatureShard, Lease, ModelVersion, Record, StoredObject
from workers.runner import run_next

ADA, BOB = person("ada"), person("bob")


def trained(site: Site) -> str:
    site.world.upload(ADA, BOB)
    model = site.world.register(evaluation_cohort_id=site.world.core_id)
    site.world.work()
    served(site, model)
    return model


def served(site: Site, model: str) -> None:
    """Wait until the site answers for the model, and so holds a lease."""
    query = {"instances": ADA.x[:1].tolist()}
    wait_until(lambda: site.client.post(f"/v1/models/{model}/predict", json=query).status_code == 200, 20, "an answer")


def work_until_done(site: Site, job: int) -> None:
    def done() -> bool:
        run_next(site.world.deps)
        return bool(site.client.get(f"/v1/jobs/{job}").json()["state"] == "done")

    wait_until(done, 30, "the model to be destroyed")


def test_nothing_is_left_of_a_destroyed_model_but_its_certificate(any_site: Site) -> None:
    site, world = any_site, any_site.world
    model = trained(site)
    with world.ledger.database.read() as tx:
        records = list(tx.session.execute(select(Record.id)).scalars())
        kept = set(tx.session.execute(select(StoredObject.name).where(StoredObject.kind == "records")).scalars())
    answer = site.client.delete(f"/v1/models/{model}")
    assert answer.status_code == 202
    retired = answer.json()
    assert (retired["model"]["state"], retired["model"]["name"]) == ("retiring", "model")
    assert answer.headers["location"] == f"/v1/jobs/{retired['job']}"
    assert site.client.get(f"/v1/models/{model}/certificate").status_code == 404
    work_until_done(site, retired["job"])
    assert site.client.post(f"/v1/models/{model}/predict", json={"instances": [[0.0] * 6]}).status_code == 409
    shown = site.client.get(f"/v1/models/{model}").json()
    assert (shown["state"], shown["active_version"]) == ("destroyed", None)
    (version,) = site.client.get(f"/v1/models/{model}/versions").json()["items"]
    assert (version["state"], version["measured"]) == ("destroyed", None)
    challenge = {"challenge": "00" * 16}
    assert site.client.post(f"/v1/models/{model}/versions/1/digests", json=challenge).status_code == 409
    with world.ledger.database.read() as tx:
        assert tx.session.execute(select(FeatureShard)).first() is None
        assert tx.session.execute(select(Lease).where(Lease.expires_at >= tx.now)).first() is None
        assert list(tx.session.execute(select(Record.id)).scalars()) == records
        assert set(tx.session.execute(select(StoredObject.name)).scalars()) == kept
    assert set(world.ledger.objects.names()) == kept

    envelope = site.client.get(f"/v1/models/{model}/certificate").content
    key = site.client.get("/v1/signing-keys").json()["items"][0]["public_key_pem"]
    statement = json.loads(verify_envelope(envelope, key))
    assert statement == site.client.get(f"/v1/models/{model}/certificate", params={"decoded": True}).json()
    assert statement == json.loads(base64.b64decode(json.loads(envelope)["payload"]))
    assert statement["predicateType"] == "https://lacuna.dev/destruction-certificate/v1"
    assert [one["name"] for one in statement["subject"]] == ["model@1"]
    assert statement["subject"][0]["digest"]["hmac-sha256"] == version["weights_commitment"]
    assert all(fact["holds"] for fact in statement["predicate"]["facts"].values())

    assert site.client.get("/v1/models").json()["items"] == []
    assert site.client.delete(f"/v1/models/{model}").status_code == 409
    for verb in ("rebuild", "cut-over"):
        assert site.client.post(f"/v1/models/{model}/{verb}").status_code == 409
    assert site.client.post(f"/v1/models/{model}/successor", json={}).status_code == 409
    again = site.world.register()  # its name is free, and its cohorts' records are there
    world.work()
    assert world.active(again).number == 1


def test_a_request_that_waits_for_a_model_goes_on_once_that_is_destroyed_and_not_before(any_site: Site) -> None:
    site, world = any_site, any_site.world
    model = trained(site)

    def fail(*_: Any, **__: Any) -> Any:
        raise OSError("away")

    faulty = make_deps(world.ledger, solve=fail)
    before = site.client.post("/v1/forget-requests", json={"subjects": [{"value": "ada"}]}).json()["id"]
    assert run_next(faulty)
    database = world.ledger.database
    leases.renew(database, "another process", {model: 1}, ttl_us=600_000_000)
    job = site.client.delete(f"/v1/models/{model}").json()["job"]
    during = site.client.post("/v1/forget-requests", json={"subjects": [{"value": "bob"}]}).json()["id"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("workers.destroy.WAIT_US", 0)
        run_next(world.deps)  # resolves the second request
        run_next(world.deps)  # the other process's lease holds the destruction up
    for request in (before, during):
        assert site.client.get(f"/v1/forget-requests/{request}").json()["state"] == "scrubbing"
    leases.release(database, "another process")
    work_until_done(site, job)
    for request in (before, during):
        wait_until(
            lambda: (
                (run_next(world.deps), site.client.get(f"/v1/forget-requests/{request}").json())[1]["state"]  # noqa: B023 (called at once)
                == "completed"
            ),
            30,
            "the request",
        )
        assert site.client.get(f"/v1/forget-requests/{request}").json()["outcome"] == "erased"


@pytest.mark.parametrize("at", ["train_core.trained", "ingest.written", "advance.checked", "advance.published"])
def test_a_job_that_is_running_when_its_model_is_retired_makes_nothing_of_it(site: Site, at: str) -> None:
    world = site.world
    world.upload(ADA, BOB)
    model = world.register()
    started: list[int] = []

    def point(name: str) -> None:
        if name == at and not started:
            with world.ledger.database.begin() as tx:
                started.append(lines.delete(tx, world.tenant_id, model)[1].id)

    world.work(deps=make_deps(world.ledger, point=point))
    work_until_done(site, started[0])
    world.work()
    assert site.client.get(f"/v1/models/{model}").json()["state"] == "destroyed"
    with world.ledger.database.read() as tx:
        assert tx.session.execute(select(FeatureShard)).first() is None
        assert inventory.unfinished(tx, world.tenant_id) == []
        assert {v.state for v in tx.session.execute(select(ModelVersion)).scalars()} <= {"destroyed"}
        kinds = set(tx.session.execute(select(StoredObject.kind)).scalars())
    assert kinds == {"records"}
    assert world.jobs("ready") == world.jobs("running") == []
    for job in world.jobs("failed"):
        assert (job.error or "").startswith("ModelRetired")
        assert site.client.post(f"/v1/jobs/{job.id}/retry").status_code == 409


def test_only_an_administrator_of_the_same_tenant_may_destroy(site: Site) -> None:
    model = trained(site)
    for key, status in ((site.key("models:write"), 403), (site.key("admin", tenant_id=site.other_tenant()), 404)):
        headers = {"Authorization": f"Bearer {key}"}
        assert site.client.delete(f"/v1/models/{model}", headers=headers).status_code == status
        for verb in ("successor", "rollback", "cut-over"):
            body = {"to": 1} if verb == "rollback" else {}
            if status == 404:
                answer = site.client.post(f"/v1/models/{model}/{verb}", json=body, headers=headers)
                assert answer.status_code == 404
    assert site.client.get(f"/v1/models/{model}").json()["state"] == "ready"


def test_deleting_a_model_takes_its_successor_along(site: Site) -> None:
    model = trained(site)
    beside = site.client.post(f"/v1/models/{model}/successor", json={"seed": 8}).json()["model"]["id"]
    site.world.work()
    job = site.client.delete(f"/v1/models/{model}").json()["job"]
    work_until_done(site, job)
    wait_until(
        lambda: (run_next(site.world.deps), state(site, beside) == "destroyed")[1], 30, "the successor to be destroyed"
    )
    assert state(site, model) == "destroyed"
    assert set(site.world.ledger.objects.names()) == records_of(site.world)


def state(site: Site, model: str) -> str:
    return str(site.client.get(f"/v1/models/{model}").json()["state"])


def records_of(world: World) -> set[str]:
    with world.ledger.database.read() as tx:
        return set(tx.session.execute(select(StoredObject.name).where(StoredObject.kind == "records")).scalars())
