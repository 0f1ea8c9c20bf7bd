"""The log over HTTP: checkpoints, growth, and a certificate's proof."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest
from support.site import Site
from support.world import person

from evidence.certificate import examine
from evidence.checkpoint import open_checkpoint
from evidence.merkle import check_consistency
from evidence.signed_note import NoteKey
from ledger.log.sequencer import sequence
from service.api.signing_keys import SigningKey


@pytest.fixture
def forgotten(site: Site) -> str:
    site.world.upload(*(person(f"person-{i}") for i in range(3)))
    site.world.register()
    site.world.work()
    request_id = site.world.forget("person-1")
    site.world.work()
    return request_id


def place(site: Site) -> None:
    sequence(site.world.ledger.database, site.world.ledger.ring)


def test_nothing_yet(site: Site, forgotten: str) -> None:
    assert site.client.get("/v1/log/checkpoint").status_code == 404
    answer = site.client.get(f"/v1/forget-requests/{forgotten}/proof")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


def test_a_certificate_and_its_proof_are_all_that_an_auditor_needs(site: Site, forgotten: str) -> None:
    place(site)
    (key,) = site.client.get("/v1/signing-keys").json()["items"]
    certificate = site.client.get(f"/v1/forget-requests/{forgotten}/certificate").content
    proof = site.client.get(f"/v1/forget-requests/{forgotten}/proof")
    assert proof.headers["content-type"].startswith("text/plain")
    pem = SigningKey(**key).public_key_pem
    kept = site.client.get("/v1/log/checkpoint").text
    found = examine(certificate, pem, proof=proof.text, since=kept, now=datetime(2100, 1, 1, tzinfo=UTC))
    assert len(found.proven) == 3


def test_the_log_is_shown_to_have_grown_only(site: Site, forgotten: str) -> None:
    place(site)
    first = site.client.get("/v1/log/checkpoint").text
    site.world.forget("person-0")
    site.world.work()
    place(site)
    second = site.client.get("/v1/log/checkpoint").text
    key = NoteKey(first.split("\n", 1)[0], site.world.ledger.ring.public_key_raw())
    old, new = (open_checkpoint(note, key) for note in (first, second))
    assert old.size < new.size
    shown = site.client.get("/v1/log/consistency", params={"old": old.size, "new": new.size}).json()
    path = [base64.b64decode(step) for step in shown["path"]]
    check_consistency(old.size, old.root, new.size, new.root, path)
    assert [item["note"] for item in site.client.get("/v1/log/checkpoints").json()["items"]] == [second, first]
    assert site.client.get("/v1/log/consistency", params={"old": 1, "new": new.size + 1}).status_code == 404


def test_of_another_tenants_request_nothing_is_said(site: Site, forgotten: str) -> None:
    place(site)
    stranger = site.key("audit:read", tenant_id=site.other_tenant())
    headers = {"Authorization": f"Bearer {stranger}"}
    own = site.client.get(f"/v1/forget-requests/{'0' * 32}/proof", headers=headers)
    other = site.client.get(f"/v1/forget-requests/{forgotten}/proof", headers=headers)
    assert own.status_code == other.status_code == 404
    assert own.json()["type"] == other.json()["type"]
    assert own.json()["detail"].replace("0" * 32, "") == other.json()["detail"].replace(forgotten, "")
