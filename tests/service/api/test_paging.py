"""Lists in pages: complete, without repetition, whatever is added meanwhile."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from itertools import chain
from typing import Any

import pytest
from sqlalchemy import update
from support.site import Site
from support.world import person

from ledger.tables import ForgetRequest
from service.client import LacunaClient
from service.demo.running_service import RunningService


def pages(site: Site, path: str, between: Callable[[], object] = lambda: None) -> list[list[Any]]:
    """Follow the links from the first page to the last; do something between them."""
    found: list[list[Any]] = []
    while True:
        answer = site.client.get(path)
        assert answer.status_code == 200, answer.text
        found.append([one.get("id", one.get("number")) for one in answer.json()["items"]])
        if "next" not in answer.links:
            return found
        path = answer.links["next"]["url"]
        between()


def file_one(site: Site) -> str:
    made: str = site.client.post("/v1/forget-requests", json={"subjects": [{"value": "nobody"}]}).json()["id"]
    return made


def make_cohort(site: Site, name: str) -> str:
    body = {"name": name, "kind": "user", "shape": [2], "dtype": "uint8", "class_names": ["a", "b"]}
    made: str = site.client.post("/v1/cohorts", json=body).json()["id"]
    return made


def test_requests_come_newest_first_and_new_ones_shift_nothing(any_site: Site) -> None:
    site = any_site
    filed = [file_one(site) for _ in range(7)]
    found = pages(site, "/v1/forget-requests?limit=3", lambda: file_one(site))
    assert [len(page) for page in found] == [3, 3, 1]
    assert [*chain(*found)] == filed[::-1]


def test_requests_of_the_same_moment_are_told_apart(site: Site) -> None:
    filed = {file_one(site) for _ in range(5)}
    with site.world.ledger.database.begin() as tx:
        tx.session.execute(update(ForgetRequest).values(received_at=17))
    found = [*chain(*pages(site, "/v1/forget-requests?limit=2"))]
    assert len(found) == 5
    assert set(found) == filed


def test_cohorts_come_oldest_first_and_new_ones_at_the_end(any_site: Site) -> None:
    site = any_site
    names = iter("defgh")
    made = [make_cohort(site, name) for name in "abc"]
    added: list[str] = []
    found = pages(site, "/v1/cohorts?limit=2", lambda: added.append(make_cohort(site, next(names))))
    everything = [*chain(*found)]
    assert len(set(everything)) == len(everything)
    assert everything[: 2 + len(made)][-3:] == made
    assert everything[2:] == (made + added)[: len(everything) - 2]


def test_models_versions_and_jobs_have_pages_too(any_site: Site) -> None:
    site = any_site
    site.world.upload(person("ada"), person("bob"))
    models = [site.world.register(name) for name in ("one", "two", "three")]
    site.world.work()
    for name in ("ada", "bob"):
        assert site.client.post("/v1/forget-requests", json={"subjects": [{"value": name}]}).status_code == 202
        site.world.work()
    assert pages(site, "/v1/models?limit=2") == [models[:2], models[2:]]
    assert pages(site, f"/v1/models/{models[0]}/versions?limit=1") == [[3], [2], [1]]
    jobs = [*chain(*pages(site, "/v1/jobs?limit=2&state=done"))]
    assert jobs == [one["id"] for one in site.client.get("/v1/jobs?limit=1000&state=done").json()["items"]]
    assert len(jobs) > 4


def test_a_link_repeats_the_filter_and_nothing_else(site: Site) -> None:
    for _ in range(3):
        file_one(site)
    answer = site.client.get("/v1/forget-requests?limit=2&state=accepted&who=ada%40example.org")
    url = answer.links["next"]["url"]
    assert url.startswith("/v1/forget-requests?state=accepted&limit=2&cursor=")
    assert "ada" not in answer.headers["link"]
    assert "link" not in site.client.get("/v1/forget-requests?limit=3").headers


def cursor(*values: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "wrong",
    [
        "x",
        "é",
        "",
        cursor(),
        cursor("/v1/cohorts", 1, "0" * 32),
        cursor("/v1/forget-requests", 1),
        cursor("/v1/forget-requests", True, "0" * 32),
        cursor("/v1/forget-requests", 2**63, "0" * 32),
        cursor("/v1/forget-requests", -1, "0" * 32),
        cursor("/v1/forget-requests", 1, "' OR 1=1"),
        cursor("/v1/forget-requests", 1.0, "0" * 32),
        base64.urlsafe_b64encode(b"[" * 700).decode(),
    ],
)
def test_a_cursor_that_was_not_given_is_refused(site: Site, wrong: str) -> None:
    answer = site.client.get("/v1/forget-requests", params={"cursor": wrong})
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/cursor-refused")


def test_a_cursor_shows_nothing_of_another_tenant(site: Site) -> None:
    for _ in range(3):
        file_one(site)
    url = site.client.get("/v1/forget-requests?limit=1").links["next"]["url"]
    other = {"Authorization": f"Bearer {site.key('admin', tenant_id=site.other_tenant())}"}
    assert site.client.get(url, headers=other).json() == {"items": []}


def test_the_client_reads_all_pages(service: RunningService) -> None:
    client = LacunaClient(service.url, service.key)
    with client:
        before = {one["id"] for one in client.cohorts()}
        made = {
            client.create_cohort(f"many {n}", kind="user", shape=[2], dtype="float32", class_names=["a", "b"])["id"]
            for n in range(101)
        }
        assert {one["id"] for one in client.cohorts()} == before | made
        assert len(client.jobs(limit=1)) <= 1
