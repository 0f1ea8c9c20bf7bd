"""Collecting requests, and jobs that were given up, over HTTP."""

from __future__ import annotations

import pytest
from sqlalchemy import update
from support.site import Site
from support.world import person

from ledger.tables import Job

DAY_S = 86_400


def test_a_policy_is_shown_and_changed_and_counts_for_new_requests(any_site: Site) -> None:
    site = any_site
    site.world.upload(person("ada"), person("bob"))
    model = site.world.register()
    site.world.work()
    at = f"/v1/models/{model}/batching"
    assert site.client.get(at).json() == {"window_s": 0, "minimum": 1, "latest_s": 7 * DAY_S}
    wanted = {"window_s": 3600, "minimum": 2, "latest_s": DAY_S}
    nudges = len(site.nudges)
    anyway = {"If-Match": "*"}
    assert site.client.put(at, json=wanted, headers=anyway).json() == wanted
    assert site.client.get(at).json() == wanted
    assert len(site.nudges) == nudges + 1
    request = site.client.post("/v1/forget-requests", json={"subjects": [{"value": "ada"}]}).json()["id"]
    site.world.work()
    assert site.client.get(f"/v1/forget-requests/{request}").json()["state"] == "accepted"
    assert site.client.put(at, json={}, headers=anyway).status_code == 200
    site.world.work()
    assert site.client.get(f"/v1/forget-requests/{request}").json()["state"] == "completed"


@pytest.mark.parametrize("wrong", [{"window_s": -1}, {"minimum": 0}, {"latest_s": 32 * DAY_S}, {"windows": 1}])
def test_a_policy_that_cannot_be_is_refused(site: Site, wrong: dict[str, float]) -> None:
    assert site.client.put(f"/v1/models/{'0' * 32}/batching", json=wrong).status_code == 422


def test_whose_model_and_which_key(site: Site) -> None:
    site.world.upload(person("ada"))
    model = site.world.register()
    at = f"/v1/models/{model}/batching"
    assert site.client.get(f"/v1/models/{'0' * 32}/batching").status_code == 404
    reader = {"Authorization": f"Bearer {site.key('audit:read')}"}
    assert site.client.get(at, headers=reader).status_code == 200
    assert site.client.put(at, json={}, headers=reader).status_code == 403
    stranger = {"Authorization": f"Bearer {site.key('models:write', tenant_id=site.other_tenant())}"}
    assert site.client.put(at, json={}, headers=stranger).status_code == 404


def test_jobs_that_were_given_up_are_listed_by_themselves_and_retried(site: Site) -> None:
    site.world.upload(person("ada"))
    site.world.work()
    (job, *_) = site.client.get("/v1/jobs").json()["items"]
    assert site.client.get("/v1/jobs?state=failed").json()["items"] == []
    with site.world.ledger.database.begin() as tx:
        tx.session.execute(update(Job).where(Job.id == job["id"]).values(state="failed", error="WorkerLost: why"))
    (failed,) = site.client.get("/v1/jobs?state=failed").json()["items"]
    assert (failed["id"], failed["error"]) == (job["id"], "WorkerLost: why")
    assert site.client.post(f"/v1/jobs/{job['id']}/retry").status_code == 200
    assert site.client.get("/v1/jobs?state=failed").json()["items"] == []
    assert site.client.get("/v1/jobs?state=lost").status_code == 422
