"""API keys over HTTP: shown once, of one tenant, with an end."""

from __future__ import annotations

import re
from typing import Any

import pytest
from sqlalchemy import event, select, update
from support.site import Site
from support.world import NewWorld

from ledger import api_keys
from ledger.database import Database
from ledger.tables import ApiKey
from service.housekeeping import Housekeeping


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def make(site: Site, **body: Any) -> dict[str, Any]:
    answer = site.client.post("/v1/keys", json={"label": "shop", "scopes": ["predict"], **body})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    assert answer.headers["location"] == f"/v1/keys/{made['id']}"
    return made


def test_a_key_is_shown_once_and_opens_what_it_should(any_site: Site) -> None:
    site = any_site
    made = make(site, scopes=["predict", "audit:read", "predict"])
    assert re.fullmatch(r"lacuna_[A-Za-z0-9_-]{43}", made["key"])
    assert (made["state"], made["expires_at"], made["last_used_at"]) == ("active", None, None)
    me = site.client.get("/v1/me", headers=bearer(made["key"])).json()
    assert me == {"tenant": "default", "key": "shop", "scopes": ["audit:read", "predict"]}
    for path in ("/v1/keys", f"/v1/keys/{made['id']}"):
        answer = site.client.get(path)
        assert answer.status_code == 200
        assert made["id"] in answer.text
        assert made["key"] not in answer.text


def test_a_key_that_is_rotated_still_opens_for_a_while(any_site: Site) -> None:
    site, clock = any_site, any_site.world.deps.clock_us
    old = make(site, expires_in_s=86_400)
    new = site.client.post(f"/v1/keys/{old['id']}/rotate", json={"overlap_s": 60}).json()
    assert (new["label"], new["scopes"], new["state"]) == ("shop", ["predict"], "active")
    assert new["id"] != old["id"]
    for key in (old, new):
        assert site.client.get("/v1/me", headers=bearer(key["key"])).status_code == 200
    with site.world.ledger.database.begin() as tx:
        ends = {row.id: row.expires_at for row in api_keys.list_all(tx, site.world.tenant_id)}
        assert ends[new["id"]] - ends[old["id"]] == (86_400 - 60) * 1_000_000
        tx.session.execute(update(ApiKey).where(ApiKey.id == old["id"]).values(expires_at=clock()))
    assert site.client.get("/v1/me", headers=bearer(old["key"])).status_code == 401
    assert site.client.get("/v1/me", headers=bearer(new["key"])).status_code == 200
    assert site.client.get(f"/v1/keys/{old['id']}").json()["state"] == "expired"
    assert site.client.post(f"/v1/keys/{old['id']}/rotate", json={}).json()["type"] == "/problems/wrong-state"


def test_an_overlap_does_not_lengthen_a_life(site: Site) -> None:
    old = make(site, expires_in_s=60)
    assert site.client.post(f"/v1/keys/{old['id']}/rotate", json={}).status_code == 201
    assert site.client.get(f"/v1/keys/{old['id']}").json()["expires_at"] == old["expires_at"]


def test_a_revoked_key_opens_nothing_even_itself(any_site: Site) -> None:
    site = any_site
    made = make(site, scopes=["admin"])
    revoked = site.client.delete(f"/v1/keys/{made['id']}", headers=bearer(made["key"]))
    assert (revoked.status_code, revoked.json()["state"]) == (200, "revoked")
    refused = site.client.get("/v1/me", headers=bearer(made["key"]))
    assert refused.json()["detail"] == site.client.get("/v1/me", headers=bearer("lacuna_unknown")).json()["detail"]
    again = site.client.delete(f"/v1/keys/{made['id']}")
    assert again.json()["revoked_at"] == revoked.json()["revoked_at"]


def test_predictions_too_know_at_once_what_became_of_a_key(site: Site) -> None:
    def predict(key: str) -> int:
        return site.client.post(
            f"/v1/models/{'0' * 32}/predict", json={"instances": []}, headers=bearer(key)
        ).status_code

    revoked, replaced = make(site), make(site)
    assert (predict(revoked["key"]), predict(replaced["key"])) == (404, 404)
    assert site.client.delete(f"/v1/keys/{revoked['id']}").status_code == 200
    assert predict(revoked["key"]) == 401
    assert predict(replaced["key"]) == 404
    assert site.client.post(f"/v1/keys/{replaced['id']}/rotate", json={"overlap_s": 0}).status_code == 201
    assert predict(replaced["key"]) == 401


def test_keys_of_another_tenant_are_keys_that_do_not_exist(site: Site) -> None:
    mine = make(site)
    other = bearer(site.key("admin", tenant_id=site.other_tenant()))
    (theirs,) = site.client.get("/v1/keys", headers=other).json()["items"]
    for method, path in (("GET", ""), ("POST", "/rotate"), ("DELETE", "")):
        body = {"json": {}} if method == "POST" else {}
        said = [
            site.client.request(method, f"/v1/keys/{key_id}{path}", headers=other, **body)
            for key_id in (mine["id"], "0" * 32)
        ]
        assert [one.status_code for one in said] == [404, 404]
        assert said[0].json()["detail"] == said[1].json()["detail"]
    assert theirs["id"] not in site.client.get("/v1/keys").text
    assert site.client.get("/v1/me", headers=bearer(mine["key"])).status_code == 200


@pytest.mark.parametrize(
    "wrong", [{"scopes": []}, {"scopes": ["root"]}, {"label": "a\nb"}, {"expires_in_s": 0}, {"tenant": "other"}]
)
def test_a_key_that_cannot_be_is_refused(site: Site, wrong: dict[str, Any]) -> None:
    before = site.stored()
    assert site.client.post("/v1/keys", json={"label": "x", "scopes": ["predict"], **wrong}).status_code == 422
    assert site.stored() == before


def test_the_last_use_is_noted_beside_the_requests(new_world: NewWorld, database_url: str) -> None:
    world = new_world(database_url, core_people=1)
    database = Database(world.ledger.database.engine, lambda: now[0], world.ledger.database.random)
    now, written = [5_000_000], []
    with database.begin() as tx:
        row, _ = api_keys.create(tx, world.tenant_id, "k", ("predict",))
    event.listen(database.engine, "before_cursor_execute", lambda *said: written.append(said[2]))
    keeper = Housekeeping(database)
    keeper.used(row.id)
    now[0] += 1
    keeper.used(row.id)
    assert written == []
    keeper.tidy()
    assert len([one for one in written if one.startswith("UPDATE")]) == 1
    now[0] = 1
    keeper.used(row.id)
    keeper.tidy()  # a clock that went back changes nothing
    with database.read() as tx:
        assert tx.session.execute(select(ApiKey.last_used_at).where(ApiKey.id == row.id)).scalar_one() == 5_000_001


def test_the_last_use_is_shown_after_the_service_has_ended_well(site: Site) -> None:
    made = make(site)
    assert site.client.get("/v1/me", headers=bearer(made["key"])).status_code == 200
    site.client.app.state.context.housekeeping.tidy()  # type: ignore[attr-defined]  # the application under test
    assert site.client.get(f"/v1/keys/{made['id']}").json()["last_used_at"] is not None
