"""Additions and corrections over HTTP, from upload to certificate."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.mentions import mentions
from support.site import NPZ, Site, npz
from support.waiting import wait_until
from support.world import NewWorld, Person, person

from ledger import requests

ADA, BOB, CYD = (person(name) for name in ("ada", "bob", "cyd"))


def archive(*people: Person, ids: bool = True) -> bytes:
    """Return these people's records, with the names and places that the world gives them."""
    names = [p.name for p in people for _ in p.y]
    places = {"id": np.array([f"{p.name}/{i}" for p in people for i in range(len(p.y))])} if ids else {}
    x, y = np.concatenate([p.x for p in people]), np.concatenate([p.y for p in people])
    return npz(x=x, y=y, subject=np.array(names), **places)


def correct(site: Site, body: bytes, cohort_id: str | None = None, **headers: str) -> Any:
    path = f"/v1/cohorts/{cohort_id or site.world.user_id}/corrections"
    return site.client.post(path, content=body, headers={"Content-Type": NPZ, **headers})


def work_until_done(site: Site) -> None:
    """Run the jobs. The site's own leases hold a purge up, so it may have to be tried again."""

    def done() -> bool:
        site.world.work()
        items = site.client.get("/v1/forget-requests").json()["items"]
        return all(one["state"] == "completed" for one in items)

    wait_until(done, 30, "every request to be completed")


def learn(site: Site, *people: Person) -> None:
    assert site.upload(archive(*people)).status_code == 202
    site.world.register()
    site.world.work()


def test_a_correction_from_upload_to_certificate(any_site: Site, new_world: NewWorld) -> None:
    site = any_site
    learn(site, ADA, BOB)
    new = Person("ada", ADA.x + 1, (ADA.y + 1) % 3)
    answer = correct(site, archive(new))
    assert answer.status_code == 202, answer.text
    body = answer.json()
    assert (body["records"], body["in_core"]) == (3, 0)
    assert answer.headers["location"] == body["job_url"] == f"/v1/jobs/{body['job']}"
    waiting = site.client.get(body["forget_request_url"]).json()
    assert (waiting["state"], waiting["selector"], waiting["records"]) == ("accepted", "correction", None)
    assert waiting["days_left"] in range(28, 32)
    assert site.client.delete(body["forget_request_url"]).status_code == 409
    work_until_done(site)
    job = site.client.get(body["job_url"]).json()
    assert (job["state"], job["result"]) == ("done", {"in_core": 0, "forget_request": body["forget_request"]})
    done = site.client.get(body["forget_request_url"]).json()
    assert (done["outcome"], done["records"]) == ("erased", 3)
    assert done["models"] == [{"model": site.world.model_id, "version": 2}]
    statement = site.client.get(done["certificate_url"], params={"decoded": True}).json()
    assert statement["predicate"]["request"]["selector"] == "correction"
    assert "corrected content is retained" in statement["predicate"]["correction"]
    assert site.client.get(f"/v1/cohorts/{site.world.user_id}").json()["records"] == 6
    never = new_world()
    never.upload(new, BOB)
    never.register()
    never.work()
    assert (site.world.statistics(), site.world.weights()) == (never.statistics(), never.weights())


def test_additions_after_training_fold_in_without_retraining(any_site: Site, new_world: NewWorld) -> None:
    site = any_site
    learn(site, ADA)
    address = f"/v1/models/{site.world.model_id}"
    before = site.client.get(address).json()
    job = site.upload(archive(BOB, CYD)).json()["job_url"]
    assert site.client.get(job).json()["result"] is None
    site.world.work()
    assert site.client.get(job).json()["state"] == "done"
    after = site.client.get(address).json()
    assert (before["active_version"], after["active_version"]) == (1, 2)
    assert after["public_digest"] == before["public_digest"]  # the core, its scales: nothing of them was made anew
    newest, first = site.client.get(f"{address}/versions").json()["items"]
    assert newest["anchor_number"] == first["number"] == 1  # made from the statistics of version 1
    assert newest["measured"]["records"] == 9
    kinds = [one["kind"] for one in site.client.get("/v1/jobs").json()["items"]]
    assert kinds.count("train_core") == 1
    never = new_world()
    never.upload(CYD, BOB, ADA)
    never.register()
    never.work()
    assert (site.world.statistics(), site.world.weights()) == (never.statistics(), never.weights())


def test_what_cannot_be_corrected_is_refused_with_its_rows(any_site: Site) -> None:
    site = any_site
    learn(site, ADA, BOB)
    before = site.stored()
    unknown = correct(site, archive(ADA, CYD))
    assert (unknown.status_code, unknown.json()["type"]) == (409, "/problems/records-unknown")
    assert unknown.json()["errors"][0] == {
        "pointer": "#/id",
        "detail": "No such record is stored, or it is being forgotten.",
        "rows": [3, 4, 5],
    }
    assert not mentions(unknown.text, "cyd")
    without = correct(site, archive(ADA, ids=False))
    assert without.json()["errors"][0]["rows"] == [0, 1, 2]
    twice = correct(site, archive(ADA, ADA))
    assert (twice.status_code, twice.json()["type"]) == (422, "/problems/upload-refused")
    hold = site.client.post("/v1/holds", json={"subject": {"value": "bob"}, "reason": "a case"}).json()
    held = correct(site, archive(ADA, BOB))
    assert (held.status_code, held.json()["type"]) == (409, "/problems/subject-held")
    assert held.json()["errors"][0]["rows"] == [3, 4, 5]
    assert site.client.delete(f"/v1/holds/{hold['id']}").status_code == 200
    asked = site.client.post("/v1/forget-requests", json={"subjects": [{"value": "ada"}]})
    leaving = correct(site, archive(ADA))
    assert leaving.json()["type"] == "/problems/records-unknown"
    assert site.client.delete(asked.headers["location"]).status_code == 200
    after = site.stored()
    assert {name: after[name] for name in ("records", "names", "jobs")} == {
        name: before[name] if name != "jobs" else after["jobs"] for name in ("records", "names", "jobs")
    }
    assert correct(site, archive(ADA)).status_code == 202


def test_core_records_are_not_corrected(site: Site) -> None:
    refused = correct(site, archive(ADA), site.world.core_id)
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/wrong-cohort")
    assert correct(site, archive(ADA), "0" * 32).status_code == 404
    assert correct(site, archive(ADA), **{"Content-Type": "text/plain"}).status_code == 415


def test_content_that_the_core_holds_is_counted_and_named(any_site: Site) -> None:
    site = any_site
    core = npz(x=np.concatenate([ADA.x, CYD.x]), y=np.zeros(6, dtype=np.int64))
    assert site.upload(core, site.world.core_id).json()["in_core"] == 0
    assert site.upload(archive(ADA, BOB)).json()["in_core"] == 3
    site.world.register()
    site.world.work()
    request = site.client.post("/v1/forget-requests", json={"everything": True}).json()
    with site.world.ledger.database.begin() as tx:
        requests.resolve_accepted(tx, site.world.tenant_id)
    assert site.client.get(f"/v1/forget-requests/{request['id']}").json()["in_core"] == 3
    work_until_done(site)
    done = site.client.get(f"/v1/forget-requests/{request['id']}").json()
    assert (done["outcome"], done["records"], done["in_core"]) == ("partially_core", 6, None)
    statement = site.client.get(done["certificate_url"], params={"decoded": True}).json()
    assert "public core cohort" in statement["predicate"]["core_overlap"]


@pytest.mark.parametrize("scopes", [("forget:write",), ("audit:read", "predict")])
def test_it_needs_the_right_to_write_data(site: Site, scopes: tuple[str, ...]) -> None:
    headers = {"Authorization": f"Bearer {site.key(*scopes)}"}
    assert correct(site, archive(ADA), **headers).status_code == 403
