"""How often a key may ask, how much a tenant may have, and what else an answer's headers say."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.site import Site, open_site
from support.world import NewWorld, person

from service import limit_windows
from service.limiter import Limiter

REQUESTS = "/v1/forget-requests"


@contextmanager
def limited(new_world: NewWorld, tmp_path: Path, url: str | None = None, **settings: Any) -> Iterator[Site]:
    with open_site(new_world(url), tmp_path, **settings) as site:
        yield site


def test_a_key_that_asks_too_often_is_told_when_it_may_again(new_world: NewWorld, tmp_path: Path) -> None:
    with limited(new_world, tmp_path, requests_per_minute=3) as site:
        other = {"Authorization": f"Bearer {site.key('predict')}"}
        answers = [site.client.get("/v1/me") for _ in range(5)]
        # The minute may turn once on the way.
        statuses = [answer.status_code for answer in answers]
        assert statuses in ([200] * 3 + [429] * 2, [200, 200, 200, 429, 200], [200] * 5)
        if 429 not in statuses:
            answers = [site.client.get("/v1/me") for _ in range(5)]
        refused = next(answer for answer in answers if answer.status_code == 429)
        first = answers[0]
        assert first.headers["ratelimit-policy"] == '"key";q=3;w=60'
        left, reset = first.headers["ratelimit"].removeprefix('"key";r=').split(";t=")
        assert int(left) <= 2
        assert 1 <= int(reset) <= 60
        assert refused.json()["type"] == "/problems/too-often"
        assert refused.headers["ratelimit"].startswith('"key";r=0;t=')
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert refused.headers["x-request-id"]
        assert site.client.get("/v1/me", headers=other).status_code == 200
        assert "ratelimit" not in site.client.get("/healthz").headers
        assert "ratelimit" not in site.client.get("/v1/me", headers={"Authorization": ""}).headers


def test_what_is_refused_is_not_done(new_world: NewWorld, tmp_path: Path) -> None:
    with limited(new_world, tmp_path, requests_per_minute=1) as site:
        answers = [site.client.post(REQUESTS, json={"everything": True}) for _ in range(4)]
        done = [answer for answer in answers if answer.status_code == 202]
        assert 1 <= len(done) < 4
        assert site.stored()["forget_requests"] == len(done)


def test_keys_are_counted_apart_and_the_window_begins_anew() -> None:
    seconds = [1000.0]
    limiter = Limiter(2, lambda: seconds[0])
    assert [limiter.count("a") for _ in range(3)] == [(True, 1, 60), (True, 0, 60), (False, 0, 60)]
    seconds[0] += 59.5
    assert limiter.count("b") == (True, 1, 60)
    assert limiter.count("a") == (False, 0, 1)
    seconds[0] += 0.5
    assert limiter.count("a") == (True, 1, 60)
    assert limiter.count("b") == (True, 0, 60)  # of 59.5, rounded up


def test_windows_that_are_over_are_dropped_when_there_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limit_windows, "MANY", 3)
    seconds = [0.0]
    windows = limit_windows.Windows(lambda: seconds[0])
    for name in ("first", "second", "third"):
        assert windows.incr(name, 60) == 1
        seconds[0] += 20
    assert windows.incr("second", 60) == 2
    assert windows.incr("fourth", 60) == 1
    assert [windows.get(name) for name in ("first", "second", "third", "fourth")] == [0, 2, 1, 1]
    assert (windows.get_expiry("first"), windows.get_expiry("third")) == (60, 100)
    assert windows.reset() == 3


def test_without_a_limit_nothing_is_said(new_world: NewWorld, tmp_path: Path) -> None:
    with limited(new_world, tmp_path, requests_per_minute=0) as site:
        assert "ratelimit" not in site.client.get("/v1/me").headers


def test_a_tenant_has_no_more_models_than_it_may(new_world: NewWorld, database_url: str, tmp_path: Path) -> None:
    with limited(new_world, tmp_path, database_url, max_models=1) as site:
        site.world.upload(person("ada"))
        body = {"core_cohort": site.world.core_id, "user_cohorts": [site.world.user_id], "epochs": 1}
        model = site.client.post("/v1/models", json={"name": "a", **body}).json()["model"]["id"]
        refused = site.client.post("/v1/models", json={"name": "b", **body})
        assert (refused.status_code, refused.json()["type"]) == (403, "/problems/quota-exceeded")
        site.world.work()
        assert site.client.post(f"/v1/models/{model}/successor", json={"seed": 2}).status_code == 403
        assert site.client.delete(f"/v1/models/{model}").status_code == 202
        site.world.work()
        assert site.client.post("/v1/models", json={"name": "b", **body}).status_code == 202


def test_a_tenant_has_no_more_open_requests_than_it_may(new_world: NewWorld, database_url: str, tmp_path: Path) -> None:
    with limited(new_world, tmp_path, database_url, max_open_requests=2) as site:
        site.world.register()
        site.world.work()
        statuses = [site.client.post(REQUESTS, json={"subjects": [{"value": "ada"}]}).status_code for _ in range(3)]
        assert statuses == [202, 202, 403]
        theirs = {"Authorization": f"Bearer {site.key('forget:write', tenant_id=site.other_tenant())}"}
        assert site.client.post(REQUESTS, json={"everything": True}, headers=theirs).status_code != 403
        site.world.work()
        assert site.client.post(REQUESTS, json={"subjects": [{"value": "ada"}]}).status_code == 202


def test_lists_are_compressed_and_what_has_a_tag_is_not(site: Site) -> None:
    for _ in range(5):
        site.client.post(REQUESTS, json={"subjects": [{"value": "ada"}]})
    with site.client.stream("GET", REQUESTS, headers={"Accept-Encoding": "gzip"}) as answer:
        raw = b"".join(answer.iter_raw())
        assert answer.headers["content-encoding"] == "gzip"
        assert "accept-encoding" in answer.headers["vary"].lower()
    plain = site.client.get(REQUESTS, headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert len(raw) < len(plain.content) == len(gzip.decompress(raw))
    tagged = site.client.get(f"/v1/models/{site.world.register()}", headers={"Accept-Encoding": "gzip"})
    assert tagged.headers["etag"]
    assert "content-encoding" not in tagged.headers


def test_other_sites_pages_may_not_read_answers(site: Site) -> None:
    asked = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "POST"}
    for answer in (site.client.get("/v1/me", headers=asked), site.client.options("/v1/me", headers=asked)):
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert len(answer.headers["x-request-id"]) == 16
