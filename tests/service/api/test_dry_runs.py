"""Dry runs over HTTP."""

from __future__ import annotations

from typing import Any

import pytest
from support.site import Site
from support.world import person

ADDRESS = "/v1/forget-requests/dry-run"
SOMEBODY = {"subjects": [{"value": "ada"}]}


def ask(site: Site, body: dict[str, Any] | None = None) -> str:
    answer = site.client.post(ADDRESS, json=body or SOMEBODY)
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == f"/v1/jobs/{answer.json()['job']}"
    return str(answer.headers["location"])


@pytest.fixture
def trained(site: Site) -> Site:
    return train(site)


def train(site: Site) -> Site:
    site.world.upload(person("ada"), person("bob"), person("cyd"))
    site.world.register(evaluation_cohort_id=site.world.core_id)
    site.world.work()
    return site


def test_asked_followed_and_answered(any_site: Site) -> None:
    site = train(any_site)
    own = ("jobs", "dry_runs", "leases")  # leases: the application begins to serve
    before = {name: rows for name, rows in site.stored().items() if name not in own}
    nudges = len(site.nudges)
    at = ask(site)
    assert len(site.nudges) == nudges + 1
    waiting = site.client.get(at).json()
    assert (waiting["kind"], waiting["state"], waiting["result"]) == ("dry_run", "ready", None)
    site.world.work()
    assert {name: rows for name, rows in site.stored().items() if name not in own} == before
    done = site.client.get(at).json()
    found = done["result"]
    assert (done["state"], done["progress"]) == ("done", 1.0)
    assert (found["outcome"], found["records"], found["held"], found["in_core"]) == ("erased", 3, 0, 0)
    (model,) = found["models"]
    assert (model["model"], model["version"], model["records"], model["exposure"]) == (site.world.model_id, 1, 3, None)
    assert site.client.get("/v1/jobs").json()["items"][0] == done

    request = site.client.post("/v1/forget-requests", json=SOMEBODY).json()
    assert request["due_at"][:10] == found["due_at"][:10]
    site.world.work()
    shown = site.client.get(f"/v1/models/{site.world.model_id}/versions/2").json()
    assert shown["measured"]["accuracy"] == model["accuracy_after"]
    assert site.client.get(at).json()["result"] is None


def test_the_form_of_the_answer_is_described(trained: Site) -> None:
    at = ask(trained)
    trained.world.work()
    schemas = trained.client.get("/openapi.json").json()["components"]["schemas"]
    found = trained.client.get(at).json()["result"]
    assert set(found) == set(schemas["Outlook"]["properties"])
    assert set(found["models"][0]) == set(schemas["ModelOutlook"]["properties"])


@pytest.mark.parametrize(
    ("scope", "seen"),
    [("forget:write", True), ("audit:read", True), ("admin", True), ("data:write", False), ("models:write", False)],
)
def test_only_who_may_forget_or_audit_sees_the_answer(trained: Site, scope: str, seen: bool) -> None:
    at = ask(trained)
    trained.world.work()
    headers = {"Authorization": f"Bearer {trained.key(scope)}"}
    assert (trained.client.get(at, headers=headers).json()["result"] is not None) == seen
    newest = trained.client.get("/v1/jobs", headers=headers).json()["items"][0]
    assert (newest["kind"], newest["result"] is not None) == ("dry_run", seen)


def test_another_tenant_sees_nothing(trained: Site) -> None:
    at = ask(trained)
    trained.world.work()
    other = {"Authorization": f"Bearer {trained.key('admin', tenant_id=trained.other_tenant())}"}
    assert trained.client.get(at, headers=other).status_code == 404
    body = {"everything": True, "cohorts": [trained.world.user_id]}
    assert trained.client.post(ADDRESS, json=body, headers=other).status_code == 404


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({}, "selector-invalid"),
        ({"everything": True, "labels": [1]}, "selector-invalid"),
        ({"labels": [3]}, "selector-invalid"),
        ({"subjects": [{"value": "a", "format": "md5"}]}, "identifier-invalid"),
        ({"everything": True, "cohorts": ["0" * 32]}, "not-found"),
        ({"everything": True, "wait": True}, "invalid-request"),
    ],
)
def test_what_no_request_could_be_is_refused_in_the_same_way(site: Site, body: dict[str, Any], kind: str) -> None:
    before = site.stored()
    dry, real = (site.client.post(at, json=body) for at in (ADDRESS, "/v1/forget-requests"))
    assert dry.json()["type"] == real.json()["type"] == f"/problems/{kind}"
    assert dry.status_code == real.status_code
    assert site.stored() == before


def test_core_records_are_refused(site: Site) -> None:
    body = {"everything": True, "cohorts": [site.world.core_id]}
    assert site.client.post(ADDRESS, json=body).json()["type"] == "/problems/core-never-forgotten"


def test_a_dry_run_is_no_forget_request(site: Site) -> None:
    ask(site)
    assert site.client.get("/v1/forget-requests").json()["items"] == []
    assert site.client.get(ADDRESS).status_code == 404
    site.client.delete(ADDRESS)
    site.world.work()
    assert site.client.get("/v1/suppressions").json() == {"active": 0, "withdrawn": 0}


def test_one_that_was_let_go_of_cannot_be_tried_again(trained: Site) -> None:
    at = ask(trained)
    trained.client.post("/v1/forget-requests", json=SOMEBODY)
    trained.world.work()
    ended = trained.client.get(at).json()
    assert (ended["state"], ended["result"]) == ("failed", None)
    assert trained.client.post(f"{at}/retry").json()["type"] == "/problems/wrong-state"
