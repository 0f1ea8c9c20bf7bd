"""The legal clock over HTTP: time zones of tenants, and deadlines that are extended once, in time, with a reason."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select, update
from support.mentions import mentions
from support.site import Site
from support.world import person

from ledger.deadlines import due_at
from ledger.errors import DowngradeRefused
from ledger.migrate import differences, downgrade, upgrade
from ledger.tables import Event, ForgetRequest

AT = "/v1/forget-requests"
WHY = {"reason": " a backup must be searched by hand "}


def filed(site: Site, **body: Any) -> str:
    site.world.register()
    made: str = site.client.post(AT, json={"subjects": [{"value": "ada"}], **body}).json()["id"]
    return made


@pytest.mark.parametrize("regulation", ["gdpr", "ccpa"])
def test_a_deadline_is_extended_once(any_site: Site, regulation: str) -> None:
    site = any_site
    request = filed(site, regulation=regulation)
    before = site.client.get(f"{AT}/{request}").json()
    assert (before["extended_at"], site.client.get(f"{AT}/{request}/extension").status_code) == (None, 404)
    extended = site.client.post(f"{AT}/{request}/extension", json=WHY)
    assert extended.status_code == 201, extended.text
    found = extended.json()
    assert (found["reason"], found["first_due_at"]) == (WHY["reason"].strip(), before["due_at"])
    after = site.client.get(f"{AT}/{request}").json()
    assert after["due_at"] == found["due_at"] > before["due_at"]
    assert after["extended_at"] == found["extended_at"]
    with site.world.ledger.database.read() as tx:
        row = tx.session.get_one(ForgetRequest, request)
        assert row.due_at == due_at(row.received_at, regulation, extended=True)
        assert b"backup" not in bytes(row.extension_reason or b"")
        events = [bytes(body) for body in tx.session.execute(select(Event.body)).scalars()]
    assert [b"forget.extended" in body for body in events].count(True) == 1
    assert not any(b"backup" in body for body in events)
    assert site.client.get(f"{AT}/{request}/extension").json() == found
    again = site.client.post(f"{AT}/{request}/extension", json=WHY)
    assert (again.status_code, again.json()["type"]) == (409, "/problems/wrong-state")


def test_it_is_too_late_after_the_deadline_or_the_end(any_site: Site) -> None:
    site = any_site
    overdue = filed(site)
    with site.world.ledger.database.begin() as tx:
        tx.session.execute(update(ForgetRequest).values(due_at=tx.now - 1))
    ended = site.client.post(AT, json={"subjects": [{"value": "bob"}]}).json()["id"]
    assert site.client.delete(f"{AT}/{ended}").status_code == 200
    for request in (overdue, ended):
        assert site.client.post(f"{AT}/{request}/extension", json=WHY).status_code == 409
        assert site.client.get(f"{AT}/{request}/extension").status_code == 404


@pytest.mark.parametrize(("reason", "status"), [("ask ada@example.org", 422), (" ", 422), ("x" * 501, 422)])
def test_a_reason_names_nobody(site: Site, reason: str, status: int) -> None:
    answer = site.client.post(f"{AT}/{filed(site)}/extension", json={"reason": reason})
    assert answer.status_code == status
    assert not mentions(answer.text, "ada")


def test_requests_of_another_tenant_are_not_there(site: Site) -> None:
    request = filed(site)
    other = {"Authorization": f"Bearer {site.key('admin', tenant_id=site.other_tenant())}"}
    assert site.client.post(f"{AT}/{request}/extension", json=WHY, headers=other).status_code == 404
    assert site.client.get(f"{AT}/{request}/extension", headers=other).status_code == 404


def test_new_deadlines_end_with_a_day_of_the_tenant(any_site: Site) -> None:
    site = any_site
    site.world.upload(person("ada"))
    first = filed(site)
    assert site.client.get("/v1/tenant").json() == {"time_zone": "UTC"}
    assert site.client.put("/v1/tenant", json={"time_zone": "Pacific/Kiritimati"}).status_code == 200
    second = site.client.post(AT, json={"subjects": [{"value": "ada"}]}).json()
    assert second["due_at"].endswith("T09:59:59.000000Z")  # midnight, 14 hours ahead
    assert site.client.get(f"{AT}/{first}").json()["due_at"].endswith("T23:59:59.000000Z")
    extended = site.client.post(f"{AT}/{second['id']}/extension", json=WHY).json()
    assert extended["due_at"].endswith("T09:59:59.000000Z")
    assert site.client.get("/v1/tenant").json() == {"time_zone": "Pacific/Kiritimati"}
    theirs = {"Authorization": f"Bearer {site.key('predict', tenant_id=site.other_tenant())}"}
    assert site.client.get("/v1/tenant", headers=theirs).json() == {"time_zone": "UTC"}


@pytest.mark.parametrize("zone", ["Nowhere/Town", "../UTC", "Europe"])
def test_a_time_zone_must_be_known(site: Site, zone: str) -> None:
    answer = site.client.put("/v1/tenant", json={"time_zone": zone})
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/time-zone-unknown")


def test_an_older_program_loses_no_extension(any_site: Site) -> None:
    engine = any_site.world.ledger.database.engine
    downgrade(engine, "0011")
    upgrade(engine)
    assert differences(engine) == []
    assert any_site.client.post(f"{AT}/{filed(any_site)}/extension", json=WHY).status_code == 201
    with pytest.raises(DowngradeRefused):
        downgrade(engine, "0011")
