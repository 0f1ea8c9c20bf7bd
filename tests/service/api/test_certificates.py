"""Certificates over HTTP: the requester's receipt, and the page for people who read law."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest
from support.issued import in_the_first_form
from support.site import Site
from support.world import person

from evidence.certificate import examine
from evidence.errors import ReceiptRefused
from service.certificate_page import page

LATER = datetime(2100, 1, 1, tzinfo=UTC)


class Page(HTMLParser):
    """The elements of a page, and its text with single spaces."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self._text: list[str] = []
        self.feed(html)
        self.text = " ".join("".join(self._text).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self._text.append(data)


@pytest.fixture
def forgotten(site: Site) -> str:
    """A request for two of three people, filed over HTTP and completed."""
    site.world.upload(*(person(f"person-{i}") for i in range(3)))
    site.world.register(name="<model> & Söhne")
    site.world.work()
    body = {"subjects": [{"value": "person-1"}, {"value": "person-2"}]}
    filed = site.client.post("/v1/forget-requests", json=body).json()
    assert filed["receipt_url"] == f"/v1/forget-requests/{filed['id']}/receipt"
    assert site.client.get(filed["receipt_url"]).status_code == 200
    site.world.work()
    request_id: str = filed["id"]
    return request_id


def test_a_receipt_is_fetched_opens_the_certificate_and_is_let_go_of(site: Site, forgotten: str) -> None:
    at = f"/v1/forget-requests/{forgotten}"
    fetched = [site.client.get(f"{at}/receipt", params={"place": place}) for place in (0, 1, 2, -1)]
    assert [answer.status_code for answer in fetched] == [200, 200, 404, 422]
    assert fetched[1].headers["content-disposition"].endswith(f'"receipt-{forgotten}-1.json"')
    assert fetched[1].headers["cache-control"] == "no-store"
    certificate = site.client.get(f"{at}/certificate").content
    key = site.world.ledger.ring.public_key_pem()
    for answer, name in zip(fetched[:2], ("person-1", "person-2"), strict=True):
        examine(certificate, key, receipt=answer.text, name=name, now=LATER)
        with pytest.raises(ReceiptRefused):
            examine(certificate, key, receipt=answer.text, name="person-0", now=LATER)
    assert "person" not in certificate.decode() + base64.b64decode(json.loads(certificate)["payload"]).decode()
    assert site.client.delete(f"{at}/receipt").status_code == 204
    gone = [site.client.get(f"{at}/receipt"), site.client.delete(f"{at}/receipt")]
    assert [answer.status_code for answer in gone] == [404, 404]
    assert site.client.get(at).json()["receipt_url"] is None
    examine(certificate, key, receipt=fetched[0].text, name="person-1", now=LATER)


def test_a_receipt_is_for_whoever_may_file_requests_of_this_tenant(site: Site, forgotten: str) -> None:
    at = f"/v1/forget-requests/{forgotten}/receipt"
    for scopes, tenant, status in (
        (("audit:read",), None, 403),
        (("forget:write",), site.other_tenant(), 404),
        (("forget:write",), None, 200),
    ):
        headers = {"Authorization": f"Bearer {site.key(*scopes, tenant_id=tenant)}"}
        assert site.client.get(at, headers=headers).status_code == status
    early = site.client.post("/v1/forget-requests", json={"everything": True}).json()["id"]
    refused = site.client.delete(f"/v1/forget-requests/{early}/receipt")
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/wrong-state")


def test_the_page_says_the_same_in_plain_words(site: Site, forgotten: str) -> None:
    at = f"/v1/forget-requests/{forgotten}/certificate"
    answer, envelope = site.client.get(f"{at}.html"), site.client.get(at).content
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    statement = json.loads(base64.b64decode(json.loads(envelope)["payload"]))
    said, shown = statement["predicate"], Page(answer.text)
    facts = [said["request"]["id"], said["code"]["sha256"], said["commitments"]["named"], said["adversary"]]
    facts += [hashlib.sha256(envelope).hexdigest(), said["code"]["version"], *said["revocation"].values()]
    facts += [*said["not_covered"], *said["assumptions"], statement["subject"][0]["name"], said["bounds"]["basis"]]
    facts += [fact["evidence"] for fact in said["facts"].values()]
    facts += [kept[name] for kept in said["retained"] for name in ("what", "purpose", "ends")]
    facts += [model[f"{kind}_commitment"] for model in said["models"] for kind in ("weights", "statistics")]
    facts += [digest for model in said["models"] for digest in model["digests"].values()]
    times = [said["request"][name] for name in ("received_at", "due_at", "published_at", "completed_at")]
    times += [said["erased_live_at"], said["unrecoverable_from_backups_after"], said["facts"]["unserved"]["since"]]
    times += [kept["until"] for kept in said["retained"] if kept["until"]]
    for fact in [*facts, *map(page.moment, times)]:
        assert " ".join(fact.split()) in shown.text, fact
    assert "None" not in shown.text


def test_the_page_fetches_nothing_and_runs_nothing(site: Site, forgotten: str) -> None:
    answer = site.client.get(f"/v1/forget-requests/{forgotten}/certificate.html")
    shown = Page(answer.text)
    assert not {"script", "img", "link", "iframe", "form", "object", "model"} & set(shown.tags)
    assert {name for name, _ in shown.attributes} <= {"lang", "charset", "name", "content", "scope", "class"}
    assert "<model> & Söhne@2" in shown.text  # escaped: a name is no markup
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    (style,) = re.findall("<style>(.*)</style>", answer.text, re.DOTALL)
    allowed = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"'sha256-{allowed}'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_older_certificates_and_missing_ones(site: Site, forgotten: str) -> None:
    envelope = json.loads(site.client.get(f"/v1/forget-requests/{forgotten}/certificate").content)
    statement = json.loads(base64.b64decode(envelope["payload"]))
    in_the_first_form(statement)
    envelope["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()
    older = Page(page.render(json.dumps(envelope).encode()))
    assert statement["predicate"]["adversary"] in older.text
    assert "Whom it is about" not in older.text
    nobody = site.client.post("/v1/forget-requests", json={"subjects": [{"value": "nobody"}]}).json()["id"]
    site.world.work()
    for address in ("certificate.html", "certificate"):
        missing = site.client.get(f"/v1/forget-requests/{nobody}/{address}")
        assert (missing.status_code, missing.json()["type"]) == (404, "/problems/no-certificate")
        assert "matched no record" in missing.json()["detail"]
    assert site.client.get(f"/v1/forget-requests/{nobody}/receipt").status_code == 404
