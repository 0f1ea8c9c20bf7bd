"""Registering addresses over HTTP: secrets are shown once, internal addresses refused, other tenants' are not there."""

from __future__ import annotations

import json
import ssl
from typing import Any, get_args

import pytest
from sqlalchemy import select, update
from support.receiver import receiver
from support.site import Site

from ledger.tables import IdempotencyEntry, WebhookDelivery, WebhookEndpoint
from ledger.webhooks.messages import TYPES
from ledger.webhooks.targets import rules
from service.api.webhooks import Type
from workers.webhooks.courier import deliver_one
from workers.webhooks.posting import Poster

NEW = {"url": "https://hooks.example.org/token-17", "label": "desk"}


def make(site: Site, **changes: Any) -> dict[str, Any]:
    answer = site.client.post("/v1/webhooks", json={**NEW, **changes})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def test_the_interface_offers_every_type_that_is_told() -> None:
    assert set(get_args(Type)) == set(TYPES)


def test_a_webhook_is_made_shown_changed_and_deleted(site: Site) -> None:
    made = make(site, events=["request.completed", "request.completed"])
    assert made["secret"].startswith("whsec_")
    at = f"/v1/webhooks/{made['id']}"
    shown = site.client.get(at).json()
    assert {**shown, "secret": made["secret"]} == made
    assert "secret" not in site.client.get(at).text.replace("old_secret_until", "")
    assert shown["events"] == ["request.completed"]
    assert site.client.get("/v1/webhooks").json() == {"items": [shown]}
    changed = site.client.patch(
        at, json={"url": "https://other.example.org/", "events": [], "state": "disabled"}
    ).json()
    assert (changed["url"], changed["events"], changed["label"]) == ("https://other.example.org/", [], "desk")
    assert (changed["state"], changed["why"]) == ("disabled", "operator")
    assert site.client.post(f"{at}/ping").status_code == 409
    assert site.client.patch(at, json={"state": "active"}).json()["why"] is None
    assert site.client.delete(at).status_code == 204
    assert site.client.get(at).status_code == 404
    assert site.client.delete(at).status_code == 404


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.org/",
        "https://127.0.0.1/",
        "https://[::ffff:127.0.0.1]/",
        "https://169.254.169.254/latest/meta-data/",
        "https://2130706433/",
        "https://a:b@hooks.example.org/",
        "https://hooks.example.org/\r\nHost: internal",
    ],
)
def test_internal_and_broken_addresses_are_refused_and_nothing_is_stored(site: Site, url: str) -> None:
    webhook = make(site)["id"]
    before = site.stored()
    for answer in (
        site.client.post("/v1/webhooks", json={**NEW, "url": url}),
        site.client.patch(f"/v1/webhooks/{webhook}", json={"url": url}),
    ):
        assert answer.status_code == 422
        assert answer.json()["type"] == "/problems/webhook-refused"
        assert url not in answer.text
    assert site.stored() == before
    assert site.client.get(f"/v1/webhooks/{webhook}").json()["url"] == NEW["url"]


def test_repeated_with_a_key_it_is_one_webhook_and_the_secret_is_not_kept(site: Site) -> None:
    headers = {"Idempotency-Key": '"once"'}
    first = site.client.post("/v1/webhooks", json=NEW, headers=headers).json()
    second = site.client.post("/v1/webhooks", json=NEW, headers=headers)
    assert (second.status_code, second.json()) == (201, {**first, "secret": None})
    rotated = f"/v1/webhooks/{first['id']}/rotate"
    new = site.client.post(rotated, json={}, headers={"Idempotency-Key": '"again"'}).json()
    assert new["secret"] not in (None, first["secret"])
    assert new["old_secret_until"] is not None
    again = site.client.post(rotated, json={}, headers={"Idempotency-Key": '"again"'}).json()
    assert again == {**new, "secret": None}
    with site.world.ledger.database.read() as tx:
        kept = json.dumps([row.response for row in tx.session.execute(select(IdempotencyEntry)).scalars()])
        assert len(tx.session.execute(select(WebhookEndpoint)).all()) == 1
    assert "token-17" not in kept
    assert first["secret"] not in kept


def test_another_tenant_finds_nothing(site: Site) -> None:
    webhook = make(site)["id"]
    delivery = site.client.post(f"/v1/webhooks/{webhook}/ping").json()["id"]
    other = {"Authorization": f"Bearer {site.key('admin', tenant_id=site.other_tenant())}"}
    before = site.stored()
    for method, path, body in (
        ("GET", "", None),
        ("PATCH", "", {"state": "disabled"}),
        ("DELETE", "", None),
        ("POST", "/rotate", {}),
        ("POST", "/ping", None),
        ("GET", "/deliveries", None),
        ("GET", f"/deliveries/{delivery}", None),
        ("POST", f"/deliveries/{delivery}/replay", None),
        ("POST", "/replay", {"since": "2026-11-01T00:00:00Z"}),
    ):
        answer = site.client.request(method, f"/v1/webhooks/{webhook}{path}", json=body, headers=other)
        assert answer.status_code == 404, (method, path)
    assert site.client.get("/v1/webhooks", headers=other).json() == {"items": []}
    assert site.stored() == before


def test_pings_are_delivered_listed_and_replayed(site: Site) -> None:
    with receiver() as listening:
        webhook = make(site)["id"]
        at = f"/v1/webhooks/{webhook}/deliveries"
        first = site.client.post(f"/v1/webhooks/{webhook}/ping")
        assert (first.status_code, first.headers["Location"]) == (202, f"{at}/{first.json()['id']}")
        assert site.client.get(first.headers["Location"]).json() == first.json()
        sending = Poster(rules(allow="127.0.0.0/8", http=True, ports=""), ssl.create_default_context())

        def post(_url: str, body: bytes, headers: Any) -> Any:
            return sending.post(listening.url, body, headers)

        assert deliver_one(site.world.ledger, post)
        (shown,) = site.client.get(at, params={"state": "delivered"}).json()["items"]
        assert (shown["type"], shown["attempts"], shown["last_status"]) == ("ping", 1, 204)
        assert shown["next_attempt_at"] is None
        assert site.client.get(at, params={"state": "pending"}).json() == {"items": []}
        assert site.client.post(f"{at}/{shown['id']}/replay").json()["state"] == "pending"
        assert deliver_one(site.world.ledger, post)
        one, two = listening.received
        assert one.headers["webhook-id"] == two.headers["webhook-id"] == f"msg_{shown['id']}"
        listening.answer = lambda _request: (410, {})
        site.client.post(f"/v1/webhooks/{webhook}/ping")
        assert deliver_one(site.world.ledger, post)
    assert site.client.get(f"/v1/webhooks/{webhook}").json()["why"] == "gone"
    since = {"since": "2026-01-01T00:00:00+01:00"}
    assert site.client.post(f"/v1/webhooks/{webhook}/replay", json=since).status_code == 409
    site.client.patch(f"/v1/webhooks/{webhook}", json={"state": "active"})
    assert site.client.post(f"/v1/webhooks/{webhook}/replay", json=since).json() == {"replayed": 1}
    assert site.client.post(f"/v1/webhooks/{webhook}/replay", json={"since": "2026-01-01"}).status_code == 422


def test_deliveries_come_in_pages(site: Site) -> None:
    webhook = make(site)["id"]
    made = [site.client.post(f"/v1/webhooks/{webhook}/ping").json()["id"] for _ in range(5)]
    with site.world.ledger.database.begin() as tx:  # two at the same moment: the id decides
        tx.session.execute(update(WebhookDelivery).where(WebhookDelivery.id.in_(made[:2])).values(created_at=tx.now))
    found, url = [], f"/v1/webhooks/{webhook}/deliveries?limit=2"
    while url:
        page = site.client.get(url)
        found += [item["id"] for item in page.json()["items"]]
        url = page.links["next"]["url"] if "next" in page.links else ""
    assert sorted(found) == sorted(made)
