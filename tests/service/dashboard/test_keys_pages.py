"""The page of keys and people: what it shows, what an admin does there, and that no secret stays."""

from __future__ import annotations

import json
import re

from sqlalchemy import select
from support.browser import SECRET, Browser, add_person, signed_in
from support.site import Site

from ledger.tables import ApiKey, Event, Person
from service.dashboard.keys_pages import NO_DAYS, NO_LABEL, NO_SCOPE

AT = "/dashboard/keys"


def test_a_key_is_made_shown_once_used_and_revoked(any_site: Site) -> None:
    admin = signed_in(any_site, "admin")
    made = admin.post(AT, page=AT, label=" shop ", scopes="audit:read", days="30")
    assert made.status_code == 200
    assert made.headers["cache-control"] == "no-store"
    found = re.search(r"lacuna_[\w-]{43}", made.text)
    assert found is not None
    assert found[0] not in admin.get(AT).text
    with any_site.world.ledger.database.read() as tx:
        row = tx.session.execute(select(ApiKey).where(ApiKey.label == "shop")).scalar_one()
        assert row.scopes == ["audit:read"]
        assert row.expires_at == row.created_at + 30 * 86_400_000_000
    holder = Browser(any_site)
    assert holder.sign_in(key=found[0]).status_code == 303
    assert admin.post(f"{AT}/{row.id}/revoke", page=AT).headers["location"] == AT
    assert holder.get(AT).status_code == 303  # the session went with the key
    assert any_site.client.get("/v1/me", headers={"Authorization": f"Bearer {found[0]}"}).status_code == 401
    with any_site.world.ledger.database.read() as tx:
        bodies = tx.session.execute(select(Event.body).where(Event.kind == "person.acted").order_by(Event.id)).scalars()
        said = [(body["what"], body["target"]) for body in map(json.loads, bodies)]
    assert said == [("key.made", row.id), ("key.revoked", row.id)]


def test_a_key_that_is_revoked_gets_no_prediction_more(site: Site) -> None:
    admin, key = signed_in(site, "admin"), site.key("predict")
    with site.world.ledger.database.read() as tx:
        row = tx.session.execute(select(ApiKey).where(ApiKey.scopes == ["predict"])).scalar_one()

    def predict() -> int:
        at, said = f"/v1/models/{'0' * 32}/predict", {"Authorization": f"Bearer {key}"}
        return site.client.post(at, json={"instances": []}, headers=said).status_code

    assert predict() == 404
    assert admin.post(f"{AT}/{row.id}/revoke", page=AT).status_code == 303
    assert predict() == 401


def test_a_key_needs_a_label_scopes_and_an_end_that_can_be(site: Site) -> None:
    admin = signed_in(site, "admin")
    before = site.stored()
    for fields, words in (
        ({"scopes": "predict"}, NO_LABEL),
        ({"label": "x" * 201, "scopes": "predict"}, NO_LABEL),
        ({"label": "x"}, NO_SCOPE),
        ({"label": "x", "scopes": "everything"}, NO_SCOPE),
        ({"label": "x", "scopes": "predict", "days": "0"}, NO_DAYS),
        ({"label": "x", "scopes": "predict", "days": "soon"}, NO_DAYS),
    ):
        answer = admin.post(AT, page=AT, **fields)
        assert (answer.status_code, words in answer.text) == (422, True), fields
    assert site.stored() == before


def test_the_page_shows_what_there_is(site: Site) -> None:
    add_person(site, "olga")
    shown = signed_in(site, "audit:read").get(AT).text
    assert site.world.ledger.ring.key_id() in shown
    assert "BEGIN PUBLIC KEY" in shown
    assert "olga" in shown
    assert "argon2" not in shown
    other = Browser(site)
    other.sign_in(key=site.key("audit:read", tenant_id=site.other_tenant()))
    assert "olga" not in other.get(AT).text


def test_a_person_is_disabled(site: Site) -> None:
    person_id, their = add_person(site), Browser(site)
    their.sign_in(name="olga", password=SECRET)
    assert their.get(AT).status_code == 200
    admin = signed_in(site, "admin")
    assert admin.post(f"/dashboard/people/{person_id}/disable", page=AT).status_code == 303
    assert their.get(AT).status_code == 303
    with site.world.ledger.database.read() as tx:
        assert tx.session.get_one(Person, person_id).disabled_at is not None
    assert admin.post(f"/dashboard/people/{'0' * 32}/disable", page=AT).status_code == 404
