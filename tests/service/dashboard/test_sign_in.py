"""Signing in and out: who gets in, what a session is worth, and what nobody can do with somebody else's."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi.routing import APIRoute
from sqlalchemy import select, update
from structlog.testing import capture_logs
from support.browser import SECRET, Browser, add_person, signed_in
from support.mentions import mentions
from support.site import Site

from ledger import people, sessions
from ledger.tables import Event, WebSession
from service import sign_ins as sign_ins_module
from service.dashboard.forms import CHANGES_NOTHING, onwards
from service.dashboard.sign_in import STALE, WRONG, WRONG_KEY


def told(site: Site) -> list[dict[str, Any]]:
    """The events about people, after what is written now and then was written."""
    context = site.client.app.state.context  # type: ignore[attr-defined]  # a FastAPI
    context.sign_ins.tidy(site.world.ledger.database)
    with site.world.ledger.database.read() as tx:
        bodies = tx.session.execute(select(Event.body).where(Event.kind.like("person.%")).order_by(Event.id)).scalars()
        return [json.loads(body) for body in bodies]


def test_a_person_signs_in_looks_and_signs_out(any_site: Site) -> None:
    with capture_logs() as lines:
        _sign_in_look_and_out(any_site)
    assert lines
    assert not mentions(json.dumps(lines, default=str), "olga")


def _sign_in_look_and_out(any_site: Site) -> None:
    person_id = add_person(any_site)
    browser = Browser(any_site)
    sent_away = browser.get("/dashboard/requests?state=failed")
    assert sent_away.status_code == 303
    at = sent_away.headers["location"]
    assert at == "/dashboard/sign-in?next=/dashboard/requests%3Fstate%3Dfailed"
    wrong = browser.post("/dashboard/sign-in", page=at, name="olga", password=SECRET + "x", next="/dashboard")
    assert wrong.status_code == 403
    assert WRONG in wrong.text
    right = browser.sign_in(name="olga", password=SECRET, next="/dashboard?x=1")
    assert (right.status_code, right.headers["location"]) == (303, "/dashboard?x=1")
    page = browser.get("/dashboard/keys")
    assert page.status_code == 200
    assert "olga" in page.text
    old = browser.cookie()
    out = browser.post("/dashboard/sign-out")
    assert (out.status_code, out.headers["location"]) == (303, "/dashboard/sign-in")
    assert browser.cookie() is None
    assert browser.get("/dashboard/keys", headers={"Cookie": f"lacuna_session={old}"}).status_code == 303
    said = told(any_site)
    assert [event["kind"] for event in said] == [
        "person.added",
        "person.signed_in",
        "person.signed_out",
        "person.sign_in_refused",
    ]
    assert said[-1]["count"] == 1
    assert {event["subject"] for event in said} == {person_id}
    assert not mentions(json.dumps(said), "olga")


def test_a_key_may_stand_for_a_person(site: Site) -> None:
    browser = Browser(site)
    assert WRONG_KEY in browser.sign_in(key=site.key("predict", "forget:write")).text
    assert WRONG_KEY in browser.sign_in(key="lacuna_wrong").text
    assert browser.cookie() is None
    for scope in ("admin", "audit:read"):
        browser = signed_in(site, scope)
        assert browser.get("/dashboard/keys").status_code == 200


def test_the_cookie_is_out_of_reach(site: Site) -> None:
    given = Browser(site).sign_in(key=site.key("admin")).headers.get_list("set-cookie")
    (session,) = [line for line in given if line.startswith("lacuna_session=")]
    assert "HttpOnly" in session
    assert "SameSite=strict" in session
    assert "Path=/dashboard" in session
    assert "Secure" not in session  # a plain address on this machine
    encrypted = Browser(site, "https://testserver").sign_in(key=site.key("admin")).headers.get_list("set-cookie")
    assert all("Secure" in line for line in encrypted)


def test_the_api_has_no_use_for_a_session(site: Site) -> None:
    cookie = signed_in(site, "admin").cookie()
    del site.client.headers["Authorization"]
    for path in ("/v1/me", "/metrics", "/v1/keys"):
        assert site.client.get(path, headers={"Cookie": f"lacuna_session={cookie}"}).status_code == 401
    assert site.client.get("/dashboard/keys", headers={"Cookie": f"lacuna_session={cookie}"}).status_code == 200


def test_a_session_from_before_signing_in_is_worth_nothing_after_it(site: Site) -> None:
    """Fixation: somebody who planted a token in the browser must not share the session."""
    browser = signed_in(site, "audit:read")
    planted = browser.cookie()
    assert browser.sign_in(key=site.key("admin")).status_code == 303
    assert browser.cookie() != planted
    assert Browser(site).get("/dashboard/keys", headers={"Cookie": f"lacuna_session={planted}"}).status_code == 303
    chosen = "ab" * 32
    victim = Browser(site)
    victim.client.cookies.set("lacuna_session", chosen, path="/dashboard")
    assert victim.sign_in(key=site.key("admin")).status_code == 303
    assert Browser(site).get("/dashboard/keys", headers={"Cookie": f"lacuna_session={chosen}"}).status_code == 303


def test_a_session_that_is_over_opens_nothing_and_its_cookie_goes(site: Site) -> None:
    browser = signed_in(site, "admin")
    with site.world.ledger.database.begin() as tx:
        tx.session.execute(update(WebSession).values(used_at=tx.now - sessions.IDLE_US))
    answer = browser.get("/dashboard/keys")
    assert answer.status_code == 303
    assert 'lacuna_session=""' in answer.headers["set-cookie"]
    part = signed_in(site, "admin")
    with site.world.ledger.database.begin() as tx:
        tx.session.execute(update(WebSession).values(expires_at=tx.now))
    answer = part.get("/dashboard", headers={"HX-Request": "true"})
    assert (answer.status_code, answer.headers["hx-redirect"]) == (401, "/dashboard/sign-in")


def test_who_is_disabled_is_out_and_cannot_come_back(site: Site) -> None:
    person_id, browser = add_person(site), Browser(site)
    browser.sign_in(name="olga", password=SECRET)
    assert browser.get("/dashboard/keys").status_code == 200
    with site.world.ledger.database.begin() as tx:
        people.disable(tx, people.get(tx, site.world.tenant_id, person_id))
    assert browser.get("/dashboard/keys").status_code == 303
    again = browser.sign_in(name="olga", password=SECRET)
    assert again.status_code == 403
    assert WRONG in again.text  # the same words as for a wrong password


def test_using_a_session_keeps_it_from_ending(site: Site) -> None:
    browser = signed_in(site, "admin")
    with site.world.ledger.database.begin() as tx:
        before = tx.now - sessions.IDLE_US // 2
        tx.session.execute(update(WebSession).values(used_at=before))
    assert browser.get("/dashboard/keys").status_code == 200
    told(site)  # writes what was noted
    with site.world.ledger.database.read() as tx:
        assert tx.session.execute(select(WebSession.used_at)).scalar_one() > before


def test_guessing_is_slowed_down_per_name_and_per_address(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    context = site.client.app.state.context  # type: ignore[attr-defined]  # a FastAPI
    compared: list[str | None] = []
    monkeypatch.setattr(context.sign_ins.passwords, "fits", lambda stored, _: compared.append(stored))
    browser = Browser(site)
    answers = [browser.sign_in(name="nobody", password="x") for _ in range(sign_ins_module.BY_NAME + 1)]
    assert {answer.status_code for answer in answers[:-1]} == {403}
    assert answers[-1].status_code == 429
    assert answers[-1].headers["retry-after"] == "300"
    assert compared == [None] * sign_ins_module.BY_NAME  # an unknown name costs the same comparison, none is skipped
    assert browser.sign_in(name="somebody else", password="x").status_code == 403
    left = sign_ins_module.BY_ADDRESS - sign_ins_module.BY_NAME - 2
    statuses = [browser.sign_in(name=f"name {i}", password="x").status_code for i in range(left + 1)]
    assert statuses == [403] * left + [429]


def test_a_sign_in_form_needs_its_own_cookie_and_origin(site: Site) -> None:
    key = site.key("admin")
    plain = Browser(site)
    sent = plain.client.post("/dashboard/sign-in", data={"key": key})
    assert (sent.status_code, STALE in sent.text) == (403, True)
    plain.get("/dashboard/sign-in")
    sent = plain.client.post("/dashboard/sign-in", data={"key": key, "csrf": Browser(site).token("/dashboard/sign-in")})
    assert (sent.status_code, STALE in sent.text) == (403, True)
    for origin in ("https://evil.example", "null"):
        sent = plain.post("/dashboard/sign-in", page="/dashboard/sign-in", key=key, headers={"Origin": origin})
        assert sent.status_code == 403, origin
    assert plain.cookie() is None
    assert plain.sign_in(key=key).status_code == 303


def changing(site: Site) -> list[APIRoute]:
    """Every address of the dashboard that takes a form, without the one that nobody is signed in for."""
    found: list[APIRoute] = []
    pending = list(site.client.app.routes)  # type: ignore[attr-defined]  # a FastAPI
    while pending:
        route = pending.pop()
        pending += getattr(getattr(route, "original_router", None), "routes", [])
        if isinstance(route, APIRoute) and route.path.startswith("/dashboard") and route.methods - {"GET", "HEAD"}:
            found.append(route)
    return [route for route in found if route.path != "/dashboard/sign-in"]


def address(route: APIRoute) -> str:
    """The route's address with ids that name nothing."""
    return route.path.replace("{job_id}", "1").replace("{", "").replace("}", "").replace("_id", "")


def test_no_form_is_taken_without_proof_and_none_from_an_auditor(site: Site) -> None:
    admin, auditor = signed_in(site, "admin"), signed_in(site, "audit:read")
    routes = changing(site)
    assert "/dashboard/sign-out" in {route.path for route in routes}
    before = site.stored()
    origin = {"Origin": "http://testserver"}
    foreign, own = auditor.token("/dashboard/keys"), admin.token("/dashboard/keys")
    for route in routes:
        at, post = address(route), admin.client.post
        for sent in ({}, {"csrf": ""}, {"csrf": foreign}, {"csrf": own[:-1]}):
            assert post(at, data=sent, headers=origin).status_code == 403, (at, sent)
        assert post(at, headers={**origin, "X-CSRF-Token": foreign}).status_code == 403, at
        for elsewhere in ("https://evil.example", "http://testserver:81", "null"):
            assert post(at, data={"csrf": own}, headers={"Origin": elsewhere}).status_code == 403, at
        crossed = {**origin, "Sec-Fetch-Site": "cross-site"}
        assert post(at, data={"csrf": own}, headers=crossed).status_code == 403, at
        with_key = {**origin, "Authorization": f"Bearer {site.key('admin')}", "X-CSRF-Token": own}
        assert site.client.post(at, data={"csrf": own}, headers=with_key).status_code == 403, at
        if route.openapi_extra != CHANGES_NOTHING:
            refused = auditor.client.post(at, data={"csrf": foreign}, headers=origin)
            assert refused.status_code == 403, at
            assert "An auditor changes nothing" in refused.text
    after = site.stored()
    del before["api_keys"], after["api_keys"]  # the keys that this test made itself
    assert after == before


def test_a_script_sends_the_token_in_a_header(site: Site) -> None:
    browser = signed_in(site, "admin")
    headers = {"Origin": "http://testserver", "X-CSRF-Token": browser.token("/dashboard/keys")}
    assert browser.client.post("/dashboard/sign-out", headers=headers).status_code == 303


@pytest.mark.parametrize(
    "wanted",
    ["https://evil.example", "//evil.example", "/dashboardx", "/v1/keys", "/dashboard/\\evil", "/dashboard/\n", ""],
)
def test_signing_in_leads_nowhere_else(wanted: str) -> None:
    assert onwards(wanted) == "/dashboard"


def test_problems_are_pages_for_people_and_documents_for_programs(site: Site) -> None:
    browser = signed_in(site, "admin")
    page = browser.get(f"/dashboard/requests/{'0' * 32}")
    assert page.status_code == 404
    assert page.headers["content-type"].startswith("text/html")
    assert "There is no such thing" in page.text
    assert "default-src 'none'; script-src 'self'" in page.headers["content-security-policy"]
    program = site.client.get(f"/dashboard/requests/{'0' * 32}")
    assert program.headers["content-type"] == "application/problem+json"
    site.client.headers.pop("Authorization")
    unknown = site.client.get("/dashboard")
    assert (unknown.status_code, unknown.headers["www-authenticate"]) == (401, 'Bearer realm="lacuna"')
