"""Forget requests over HTTP."""

from __future__ import annotations

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text, update
from support.mentions import mentions
from support.site import Site, open_site
from support.waiting import wait_until
from support.world import NewWorld, person

from ledger.dsse import verify_envelope
from ledger.errors import SignatureInvalid
from ledger.tables import ForgetRequest

ADDRESS = "/v1/forget-requests"


def test_it_is_stored_before_the_answer_and_done_by_a_worker(any_site: Site) -> None:
    site = any_site
    site.world.upload(person("ada"), person("bob"))
    site.world.register()
    site.world.work()
    answer = site.client.post(ADDRESS, json={"subjects": [{"value": "ada"}]})
    body = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == f"{ADDRESS}/{body['id']}"
    assert (body["state"], body["outcome"], body["records"], body["certificate_url"]) == ("accepted", None, None, None)
    assert body["days_left"] in range(28, 32)
    assert site.world.request(body["id"]).state == "accepted"  # read through another connection
    assert site.nudges == [1]
    work_until_done(site)
    done = site.client.get(answer.headers["location"]).json()
    assert (done["state"], done["outcome"], done["records"]) == ("completed", "erased", 3)
    assert done["models"] == [{"model": site.world.model_id, "version": 2}]
    assert site.client.get(ADDRESS, params={"state": "completed"}).json()["items"] == [done]
    assert site.client.get(ADDRESS, params={"state": "failed"}).json()["items"] == []


def work_until_done(site: Site) -> None:
    """Run the jobs. The site's own leases hold a purge up, so it may have to be tried again."""

    def done() -> bool:
        site.world.work()
        states = {one["state"] for one in site.client.get(ADDRESS).json()["items"]}
        return states <= {"completed", "cancelled"}

    wait_until(done, 30, "every request to be completed")


def test_the_certificate_verifies_with_the_published_key(site: Site) -> None:
    site.world.upload(person("ada"), person("bob"))
    site.world.register()
    site.world.work()
    request = site.client.post(ADDRESS, json={"subjects": [{"value": "ada"}]}).json()["id"]
    early = site.client.get(f"{ADDRESS}/{request}/certificate")
    assert (early.status_code, early.json()["type"]) == (404, "/problems/no-certificate")
    work_until_done(site)
    url = site.client.get(f"{ADDRESS}/{request}").json()["certificate_url"]
    envelope = site.client.get(url).content
    (key,) = site.client.get("/v1/signing-keys").json()["items"]
    statement = verify_envelope(envelope, key["public_key_pem"])
    assert site.client.get(url, params={"decoded": True}).content == statement
    assert not mentions(statement, "ada")
    tampered = json.loads(envelope)
    tampered["payload"] = base64.b64encode(statement.replace(b'"', b"'", 1)).decode()
    with pytest.raises(SignatureInvalid):
        verify_envelope(json.dumps(tampered).encode(), key["public_key_pem"])


def test_nobody_of_that_name_is_accepted_and_resolves_to_no_match(any_site: Site) -> None:
    request = any_site.client.post(ADDRESS, json={"subjects": [{"value": "nobody"}]})
    assert request.status_code == 202
    any_site.world.work()
    at = f"{ADDRESS}/{request.json()['id']}"
    done = any_site.client.get(at).json()
    assert (done["state"], done["outcome"], done["records"]) == ("completed", "no_match", 0)
    assert done["certificate_url"] is None
    assert "matched no record" in any_site.client.get(f"{at}/certificate").json()["detail"]


def test_it_can_be_withdrawn_while_it_is_accepted(any_site: Site) -> None:
    at = f"{ADDRESS}/{any_site.client.post(ADDRESS, json={'everything': True}).json()['id']}"
    assert any_site.client.delete(at).json()["state"] == "cancelled"
    again = any_site.client.delete(at)
    assert (again.status_code, again.json()["type"]) == (409, "/problems/wrong-state")
    assert any_site.client.get(at).json()["state"] == "cancelled"
    assert "withdrawn" in any_site.client.get(f"{at}/certificate").json()["detail"]


GOOD_FORMS: list[dict[str, Any]] = [
    {"subjects": [{"value": "a@b.example", "type": "email"}], "regulation": "ccpa"},
    {"subjects": [{"value": "AB" * 32, "type": "email", "format": "sha256"}]},
    {"record_ids": ["../../etc/passwd", "'; DROP TABLE records; --", "%00", "\u202e", "a" * 1024]},
    {"labels": [0, 2]},
    {"everything": True},
]


@pytest.mark.parametrize("body", GOOD_FORMS)
def test_every_kind_of_selector(site: Site, body: dict[str, Any]) -> None:
    answer = site.client.post(ADDRESS, json=body)
    assert answer.status_code == 202, answer.text
    before = site.stored()
    site.world.work()
    assert site.stored()["records"] == before["records"]  # the core cohort's: nothing matched


BAD_FORMS: dict[str, tuple[Any, int, str]] = {
    "no selector": ({}, 422, "selector-invalid"),
    "empty selectors": ({"subjects": [], "record_ids": [], "labels": [], "everything": False}, 422, "selector-invalid"),
    "two selectors": ({"labels": [0], "everything": True}, 422, "selector-invalid"),
    "subjects and ids": ({"subjects": [{"value": "planted"}], "record_ids": ["planted"]}, 422, "selector-invalid"),
    "label too large": ({"labels": [3]}, 422, "selector-invalid"),
    "label negative": ({"labels": [-1]}, 422, "invalid-request"),
    "label as text": ({"labels": ["0"]}, 422, "invalid-request"),
    "label as truth": ({"labels": [True]}, 422, "invalid-request"),
    "everything as text": ({"everything": "planted"}, 422, "invalid-request"),
    "unknown field": ({"planted@example.org": 1, "everything": True}, 422, "invalid-request"),
    "misspelt field": ({"subject": [{"value": "planted"}]}, 422, "invalid-request"),
    "unknown field of a subject": ({"subjects": [{"value": "a", "planted": "b"}]}, 422, "invalid-request"),
    "subject as text": ({"subjects": ["planted"]}, 422, "invalid-request"),
    "subject empty": ({"subjects": [{"value": "  "}]}, 422, "identifier-invalid"),
    "subject too long": ({"subjects": [{"value": "planted" * 1000}]}, 422, "identifier-invalid"),
    "subject with NUL": ({"subjects": [{"value": "planted\x00"}]}, 422, "identifier-invalid"),
    "hash too short": ({"subjects": [{"value": "abcd", "format": "sha256"}]}, 422, "identifier-invalid"),
    "format unknown": ({"subjects": [{"value": "a", "format": "planted"}]}, 422, "identifier-invalid"),
    "type malformed": ({"subjects": [{"value": "a", "type": "planted type"}]}, 422, "identifier-invalid"),
    "record id empty": ({"record_ids": [""]}, 422, "identifier-invalid"),
    "too many": ({"record_ids": ["a"] * 10_001}, 422, "invalid-request"),
    "regulation unknown": ({"everything": True, "regulation": "planted"}, 422, "invalid-request"),
    "cohort unknown": ({"everything": True, "cohorts": ["0" * 32]}, 404, "not-found"),
    "cohort malformed": ({"everything": True, "cohorts": ["planted"]}, 422, "invalid-request"),
    "a list": ([{"everything": True}], 422, "invalid-request"),
    "null": (None, 422, "invalid-request"),
}


@pytest.mark.parametrize("case", BAD_FORMS)
def test_a_bad_request_changes_nothing_and_is_not_repeated(site: Site, case: str) -> None:
    body, status, name = BAD_FORMS[case]
    before = site.stored()
    answer = site.client.post(ADDRESS, content=json.dumps(body), headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["type"]) == (status, f"/problems/{name}"), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert "planted" not in answer.text
    assert site.stored() == before
    assert site.nudges == []


def test_core_records_are_never_forgotten(any_site: Site) -> None:
    before = any_site.stored()
    answer = any_site.client.post(ADDRESS, json={"everything": True, "cohorts": [any_site.world.core_id]})
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/core-never-forgotten")
    assert any_site.stored() == before
    any_site.client.post(ADDRESS, json={"everything": True})
    any_site.world.work()
    assert any_site.stored()["records"] == before["records"] > 0


RAW: dict[str, tuple[bytes, str, int]] = {
    "not JSON": (b"planted", "application/json", 422),
    "half JSON": (b'{"everything": tr', "application/json", 422),
    "no UTF-8": (b'{"subjects": [{"value": "\xff"}]}', "application/json", 400),
    "deep": (b"[" * 200_000, "application/json", 400),
    "deep objects": (b'{"a":' * 100_000, "application/json", 400),
    "huge number": (b'{"labels": [' + b"9" * 5000 + b"]}", "application/json", 400),
    "half a character": (b'{"subjects": [{"value": "\\ud800"}]}', "application/json", 422),
    "empty": (b"", "application/json", 422),
    "not declared as JSON": (b'{"everything": true}', "text/plain", 422),
}


@pytest.mark.parametrize("case", RAW)
def test_a_body_that_cannot_be_read(site: Site, case: str) -> None:
    content, kind, status = RAW[case]
    before = site.stored()
    answer = site.client.post(ADDRESS, content=content, headers={"Content-Type": kind})
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert "planted" not in answer.text
    assert site.stored() == before


def test_withdrawing_waits_for_a_worker_that_has_just_begun(
    new_world: NewWorld, fresh_postgres_database: str, tmp_path: Path
) -> None:
    world = new_world(fresh_postgres_database)
    waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")

    def somebody_waits() -> bool:
        with world.ledger.database.read() as tx:
            return bool(tx.session.execute(waiting).scalar_one())

    with open_site(world, tmp_path) as site, ThreadPoolExecutor(1) as elsewhere:
        at = f"{ADDRESS}/{site.client.post(ADDRESS, json={'everything': True}).json()['id']}"
        with world.ledger.database.begin() as resolving:
            resolving.session.execute(select(ForgetRequest).with_for_update())
            withdrawn = elsewhere.submit(site.client.delete, at)
            wait_until(somebody_waits, 20, "the withdrawal to wait for the row")
            resolving.session.execute(update(ForgetRequest).values(state="scrubbing"))
        assert withdrawn.result().status_code == 409
        assert site.client.get(at).json()["state"] == "scrubbing"
