"""Holds and suppressions over HTTP."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest
from support.mentions import mentions
from support.site import Site, npz
from support.world import person

ADDRESS = "/v1/holds"
REQUESTS = "/v1/forget-requests"
WITHDRAWALS = "/v1/suppressions/withdrawals"


def hold(site: Site, name: str, reason: str = "case 2026/114", **subject: str) -> Any:
    return site.client.post(ADDRESS, json={"subject": {"value": name, **subject}, "reason": reason})


def forget(site: Site, *names: str, **subject: str) -> str:
    answer = site.client.post(REQUESTS, json={"subjects": [{"value": name, **subject} for name in names]})
    assert answer.status_code == 202
    return f"{REQUESTS}/{answer.json()['id']}"


def test_placed_listed_and_released(any_site: Site) -> None:
    site = any_site
    site.world.upload(person("ada"), person("bob"))
    site.world.work()
    placed = hold(site, "ada")
    assert placed.status_code == 201, placed.text
    one = placed.json()
    assert placed.headers["location"] == f"{ADDRESS}/{one['id']}"
    assert (one["reason"], one["records"], one["leaving"]) == ("case 2026/114", 3, 0)
    assert not mentions(placed.text, "ada")
    assert site.client.get(ADDRESS).json()["items"] == [one]
    assert site.client.get(f"{ADDRESS}/{one['id']}").json() == one
    at = forget(site, "ada")
    site.world.work()
    stopped = site.client.get(at).json()
    assert (stopped["outcome"], stopped["held"], stopped["certificate_url"]) == ("on_hold", 3, None)
    assert "legal hold" in site.client.get(f"{at}/certificate").json()["detail"]
    nudges = len(site.nudges)
    released = site.client.delete(f"{ADDRESS}/{one['id']}").json()
    assert released["id"] == one["id"]
    assert len(site.nudges) == nudges + 1
    (again,) = released["filed_again"]
    assert site.client.get(at).json()["followed_by"] == again
    site.world.work()
    done = site.client.get(f"{REQUESTS}/{again}").json()
    assert (done["outcome"], done["records"], done["follows"]) == ("erased", 3, stopped["id"])
    assert site.client.get(f"{ADDRESS}/{one['id']}").status_code == 404
    assert site.client.delete(f"{ADDRESS}/{one['id']}").status_code == 404


@pytest.mark.parametrize("reason", ["because of Ada", "see ada@example.org", "ada", "ask x@y.example"])
def test_a_reason_that_names_somebody_is_refused(site: Site, reason: str) -> None:
    refused = hold(site, "ada", reason)
    assert (refused.status_code, refused.json()["type"]) == (422, "/problems/reason-refused")
    assert reason not in refused.text
    assert site.client.get(ADDRESS).json()["items"] == []


@pytest.mark.parametrize(
    "body",
    [
        {"subject": {"value": "ada"}, "reason": "  "},
        {"subject": {"value": "ada"}, "reason": "a" * 501},
        {"subject": {"value": "ada"}},
        {"subject": {"value": ""}, "reason": "case"},
        {"subject": {"value": "ab", "format": "md5"}, "reason": "case"},
        {"subject": "ada", "reason": "case"},
        {"subject": {"value": "ada"}, "reason": "case", "until": "2030"},
    ],
)
def test_what_is_no_hold(site: Site, body: dict[str, Any]) -> None:
    assert site.client.post(ADDRESS, json=body).status_code == 422


def test_other_tenants_see_and_release_nothing(site: Site) -> None:
    one = hold(site, "ada").json()
    theirs = {"Authorization": f"Bearer {site.key('admin', tenant_id=site.other_tenant())}"}
    assert site.client.get(ADDRESS, headers=theirs).json()["items"] == []
    assert site.client.get(f"{ADDRESS}/{one['id']}", headers=theirs).status_code == 404
    assert site.client.delete(f"{ADDRESS}/{one['id']}", headers=theirs).status_code == 404
    withdrawn = site.client.post(WITHDRAWALS, json={"subjects": [{"value": "ada"}]}, headers=theirs)
    assert withdrawn.json() == {"withdrawn": 0}


def test_rights(site: Site) -> None:
    reader = {"Authorization": f"Bearer {site.key('audit:read')}"}
    other = {"Authorization": f"Bearer {site.key('data:write', 'predict')}"}
    body = {"subject": {"value": "ada"}, "reason": "case"}
    assert site.client.get(ADDRESS, headers=reader).status_code == 200
    assert site.client.get("/v1/suppressions", headers=reader).status_code == 200
    assert site.client.post(ADDRESS, json=body, headers=reader).status_code == 403
    assert site.client.post(WITHDRAWALS, json={"subjects": [{"value": "a"}]}, headers=reader).status_code == 403
    assert site.client.get(ADDRESS, headers=other).status_code == 403
    assert site.client.get("/v1/suppressions", headers=other).status_code == 403


@pytest.mark.parametrize("form", ["raw", "sha256"])
def test_refused_withdrawn_uploaded_and_forgotten_again(any_site: Site, form: str) -> None:
    site = any_site
    name = "ada"
    value = name if form == "raw" else hashlib.new(form, name.encode()).hexdigest()
    x, y = np.zeros((3, 6), np.float32), np.array([0, 1, 2])
    body = npz(x=x, y=y, subject=np.array(["bob", name, f" {name} "]), id=np.array(["1", "2", "3"]))
    at = forget(site, value, format=form)
    site.world.work()
    assert site.client.get(at).json()["outcome"] == "no_match"
    assert site.client.get("/v1/suppressions").json() == {"active": 1, "withdrawn": 0}
    refused = site.upload(body)
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/subject-suppressed")
    assert refused.json()["errors"][0]["rows"] == [1, 2]
    forget(site, "cyd")  # accepted, and withdrawn before a worker looks at it
    both = {"subjects": [{"value": value, "format": form}, {"value": "cyd"}]}
    assert site.client.post(WITHDRAWALS, json=both).json() == {"withdrawn": 2}
    assert site.client.post(WITHDRAWALS, json=both).json() == {"withdrawn": 0}
    assert site.client.get("/v1/suppressions").json() == {"active": 0, "withdrawn": 2}
    assert site.upload(body).status_code == 202
    site.world.work()
    again = forget(site, value, format=form)
    site.world.work()
    done = site.client.get(again).json()
    assert (done["outcome"], done["records"]) == ("erased", 2)
    assert site.client.get("/v1/suppressions").json() == {"active": 1, "withdrawn": 1}
    assert site.upload(body).status_code == 409
