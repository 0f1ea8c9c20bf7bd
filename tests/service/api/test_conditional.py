"""`ETag` and `If-Match`, `Prefer` and `fail_as_error`."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import update
from support.site import Site
from support.world import person

from ledger.tables import ForgetRequest, Job, RequestModel
from service.api import preferences
from service.api.preferences import Preference

AT = "/v1/forget-requests"


def test_a_policy_is_changed_only_by_whoever_saw_it(any_site: Site) -> None:
    site = any_site
    at = f"/v1/models/{site.world.register()}/batching"
    seen = site.client.get(at).headers["etag"]
    unnamed = site.client.put(at, json={"minimum": 2})
    assert (unnamed.status_code, unnamed.json()["type"]) == (428, "/problems/precondition-required")
    changed = site.client.put(at, json={"minimum": 2}, headers={"If-Match": seen})
    assert changed.status_code == 200
    late = site.client.put(at, json={"minimum": 3}, headers={"If-Match": seen})
    assert (late.status_code, late.json()["type"]) == (412, "/problems/changed-meanwhile")
    assert site.client.get(at).headers["etag"] == changed.headers["etag"] != seen
    assert site.client.get(at).json()["minimum"] == 2
    one_of = f'W/"a", "b,c" , {changed.headers["etag"]}'
    assert site.client.put(at, json={"minimum": 4}, headers={"If-Match": one_of}).status_code == 200
    assert site.client.put(at, json={"minimum": 5}, headers={"If-Match": "*"}).status_code == 200


@pytest.mark.parametrize("form", ["W/{}", "{}x", '"{}"', "", '""'])
def test_what_is_no_strong_tag_does_not_match(site: Site, form: str) -> None:
    at = f"/v1/models/{site.world.register()}/batching"
    seen = site.client.get(at).headers["etag"]
    wrong = form.format(seen.strip('"') if form == "{}x" else seen)
    assert site.client.put(at, json={}, headers={"If-Match": wrong}).status_code == 412


def test_of_changes_at_the_same_moment_one_wins(any_site: Site) -> None:
    site = any_site
    at = f"/v1/models/{site.world.register()}/batching"
    seen = {"If-Match": site.client.get(at).headers["etag"]}
    together = threading.Barrier(6)

    def change(minimum: int) -> int:
        together.wait()
        return int(site.client.put(at, json={"minimum": minimum}, headers=seen).status_code)

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(change, range(2, 8))) == [200, 412, 412, 412, 412, 412]


def test_a_model_is_deleted_only_as_it_was_seen(site: Site) -> None:
    at = f"/v1/models/{site.world.register()}"
    seen = site.client.get(at).headers["etag"]
    assert site.client.get(at).headers["etag"] == seen
    site.world.work()
    assert site.client.delete(at, headers={"If-Match": seen}).status_code == 412
    assert site.client.get(at).json()["state"] == "ready"
    assert site.client.delete(at, headers={"If-Match": site.client.get(at).headers["etag"]}).status_code == 202


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ([], Preference(None, None)),
        (["respond-async"], Preference(None, "respond-async")),
        (["respond-async, wait=5"], Preference(5, "respond-async, wait=5")),
        (['handling=lenient, WAIT="7"', "Respond-Async"], Preference(7, "respond-async, wait=7")),
        (["wait=99999"], Preference(30, "wait=30")),
        (["wait=3, wait=4"], Preference(3, "wait=3")),
        (["wait=-1, wait=x, wait, respond-asynchronous"], Preference(None, None)),
        (["wait=" + "9" * 40], Preference(None, None)),
    ],
)
def test_preferences_are_read_as_the_rfc_says(said: list[str], meant: Preference) -> None:
    assert preferences.read(said) == meant


def test_the_service_waits_for_the_end_if_asked(any_site: Site) -> None:
    site = any_site
    site.world.upload(person("ada"))
    site.world.register()
    site.world.work()
    begun = threading.Event()
    object.__setattr__(site.client.app.state.context, "on_accepted", begun.set)  # type: ignore[attr-defined]

    def ask() -> Any:
        body = {"subjects": [{"value": "ada"}]}
        return site.client.post(AT, json=body, headers={"Prefer": "respond-async, wait=30", "Idempotency-Key": '"p"'})

    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask)
        assert begun.wait(30)
        site.world.work()
        answer = asked.result()
    assert (answer.status_code, answer.json()["state"]) == (200, "completed")
    assert answer.headers["preference-applied"] == "respond-async, wait=30"
    assert answer.headers["location"] == f"{AT}/{answer.json()['id']}"
    assert ask().json() == answer.json()
    assert len(site.client.get(AT).json()["items"]) == 1


def test_after_the_wait_the_answer_is_202(site: Site) -> None:
    site.world.register()
    for prefer, applied in (("wait=0", "wait=0"), ("respond-async", "respond-async")):
        answer = site.client.post(AT, json={"everything": True}, headers={"Prefer": prefer})
        assert (answer.status_code, answer.headers["preference-applied"]) == (202, applied)
        assert answer.headers["retry-after"] == "1"
    assert "preference-applied" not in site.client.post(AT, json={"everything": True}).headers


def test_failure_is_an_error_if_asked(any_site: Site) -> None:
    site = any_site
    site.world.upload(person("ada"))
    model = site.world.register()
    site.world.work()
    request = site.client.post(AT, json={"subjects": [{"value": "ada"}]}).json()["id"]
    at = f"{AT}/{request}"
    assert site.client.get(f"{at}?fail_as_error=true").status_code == 200
    with site.world.ledger.database.begin() as tx:
        tx.session.execute(update(ForgetRequest).values(state="scrubbing", error="model m: it waits for the disk"))
    assert site.client.get(f"{at}?fail_as_error=true").status_code == 200
    with site.world.ledger.database.begin() as tx:
        tx.session.add(RequestModel(request_id=request, model_id=model, version_id=None))
        mine = update(Job).where(Job.kind == "advance", Job.model_id == model, Job.state == "ready")
        tx.session.execute(mine.values(state="failed", error="WorkerLost"))
    failed = site.client.get(f"{at}?fail_as_error=true")
    assert (failed.status_code, failed.json()["type"]) == (409, "/problems/request-failed")
    assert site.client.get(at).status_code == 200


def test_a_withdrawn_request_is_an_error_if_asked(site: Site) -> None:
    site.world.register()
    request = site.client.post(AT, json={"everything": True}).json()["id"]
    assert site.client.delete(f"{AT}/{request}").json()["state"] == "cancelled"
    assert site.client.get(f"{AT}/{request}?fail_as_error=true").status_code == 409
