"""The dashboard: pages for people, with a key, without scripts, and with everything escaped."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import pytest
from sqlalchemy import update
from support.pages import Page, page
from support.site import Site
from support.waiting import wait_until
from support.world import person

from ledger.dsse import verify_envelope
from ledger.tables import ForgetRequest, Job, Model
from service.dashboard import views

DAY_US = 86_400_000_000
WHO = "zebedee"
HOSTILE = "<script>alert('ada')</script>"


@pytest.fixture
def forgotten(site: Site) -> str:
    """The id of a completed request; a model with two versions stands behind it."""
    site.world.upload(person(WHO), person("bob"))
    site.world.register(evaluation_cohort_id=site.world.core_id)
    site.world.work()
    request_id = site.world.forget(WHO)

    def done() -> bool:
        site.world.work()  # the site's own leases hold a purge up, so it may have to be tried again
        return site.world.request(request_id).state == "completed"

    wait_until(done, 30, "the request to be completed")
    return request_id


def test_an_empty_service_says_what_to_do(site: Site) -> None:
    shown = page(site)
    assert "No models yet" in shown.text("models")[0]
    assert "Nobody has asked" in shown.text("requests")[0]
    assert shown.text("request") == []


def test_the_overview_shows_requests_models_and_jobs(site: Site, forgotten: str) -> None:
    shown = page(site)
    (request,) = shown.text("request")
    assert request.startswith(forgotten[:8])
    assert "completed erased" in request
    assert shown.text("certificate-link") == [f"signed certificate of request {forgotten[:8]}"]
    (model,) = shown.text("model")
    version = site.world.active()
    assert version.measured is not None
    assert f"{100 * version.measured['accuracy']:.1f} %" in model
    assert "version 2" in model
    assert "records 3" in model
    assert any("advance" in job and "done" in job for job in shown.text("job"))


def test_a_request_has_a_page_with_its_certificate(site: Site, forgotten: str) -> None:
    address = f"/dashboard/requests/{forgotten}"
    assert f"{address}#certificate" in page(site).links
    shown = page(site, address)
    (certificate,) = shown.text("certificate")
    assert "0 nats left in the weights" in certificate
    assert all(fact in certificate for fact in ("removed", "solved", "gone", "unserved"))
    assert f"/dashboard/models/{site.world.model_id}" in shown.links
    answer = site.client.get(f"{address}/certificate.json")
    assert "attachment" in answer.headers["content-disposition"]
    payload = verify_envelope(answer.content, site.world.ledger.ring.public_key_pem())
    assert json.loads(payload)["predicate"]["request"]["id"] == forgotten


def test_a_model_has_a_page_with_its_versions(site: Site, forgotten: str) -> None:
    shown = page(site, f"/dashboard/models/{site.world.model_id}")
    newest, oldest = shown.text("version")
    assert newest.startswith("2 active")
    assert oldest.startswith("1 destroyed – –")  # what was measured on it is gone with it
    assert "transition pass" in newest


@pytest.mark.parametrize(
    ("days", "words", "urgency"),
    [
        (10, "10 days left", "plenty"),
        (9, "9 days left", "few"),
        (5, "5 days left", "few"),
        (4, "4 days left", "urgent"),
    ],
)
def test_days_left_are_said_and_coloured(site: Site, days: int, words: str, urgency: str) -> None:
    request_id = site.world.forget(WHO)
    with site.world.ledger.database.begin() as tx:
        due_at = tx.now + days * DAY_US + DAY_US // 2
        tx.session.execute(update(ForgetRequest).where(ForgetRequest.id == request_id).values(due_at=due_at))
    answer = site.client.get("/dashboard")
    assert Page(answer.text).text("days-left") == [words]
    assert f'class="due {urgency}"' in answer.text
    assert 'http-equiv="refresh"' in answer.text  # something is still to be done


def test_overdue_is_said(site: Site) -> None:
    request_id = site.world.forget(WHO)
    with site.world.ledger.database.begin() as tx:
        due_at = tx.now - 2 * DAY_US + 1_000_000_000
        tx.session.execute(update(ForgetRequest).where(ForgetRequest.id == request_id).values(due_at=due_at))
    assert page(site).text("days-left") == ["2 days overdue"]


def test_a_failed_request_shows_no_step_that_was_not_reached(site: Site) -> None:
    request_id = site.world.forget(WHO)
    with site.world.ledger.database.begin() as tx:
        tx.session.execute(
            update(ForgetRequest).where(ForgetRequest.id == request_id).values(state="failed", error="the disk is full")
        )
    answer = site.client.get(f"/dashboard/requests/{request_id}")
    steps = answer.text.partition("</ol>")[0]
    assert re.findall(r'<li class="(\w+)"', steps) == ["past", "coming", "coming", "coming", "coming"]
    assert "the disk is full" in answer.text


def test_everything_is_escaped(site: Site) -> None:
    model_id = site.world.register(HOSTILE)
    with site.world.ledger.database.begin() as tx:
        tx.session.execute(update(Model).values(error=HOSTILE))
        tx.session.execute(update(Job).values(error=HOSTILE, note=HOSTILE))
    for path in ("/dashboard", f"/dashboard/models/{model_id}"):
        answer = site.client.get(path)
        assert HOSTILE not in answer.text
        assert "&lt;script&gt;" in answer.text


def test_pages_take_nothing_from_elsewhere_and_hold_nothing_inline(site: Site, forgotten: str) -> None:
    for path in ("/dashboard", f"/dashboard/requests/{forgotten}", f"/dashboard/models/{site.world.model_id}"):
        answer = site.client.get(path)
        shown = Page(answer.text)
        assert not re.search(r"<script(?![^>]*src=)", answer.text)
        assert "style" not in shown.attributes  # the policy would refuse it
        assert not [name for name in shown.attributes if name.startswith("on")]
        assert all(link.startswith(("/dashboard", "#")) for link in shown.links)
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
        assert "unsafe" not in policy
        assert "data:" not in policy
        assert answer.headers["cache-control"] == "no-store"


def test_a_key_in_a_header_may_look(site: Site) -> None:
    assert site.client.get("/dashboard", headers={"Authorization": ""}).status_code == 401
    basic = base64.b64encode(f"anybody:{site.key('audit:read')}".encode()).decode()
    assert site.client.get("/dashboard", headers={"Authorization": f"Basic {basic}"}).status_code == 200


def test_a_key_without_audit_read_sees_nothing(site: Site) -> None:
    headers = {"Authorization": f"Bearer {site.key('predict')}"}
    assert site.client.get("/dashboard", headers=headers).status_code == 403


def test_another_tenant_sees_nothing_of_ours(site: Site, forgotten: str) -> None:
    headers = {"Authorization": f"Bearer {site.key('audit:read', tenant_id=site.other_tenant())}"}
    answer = site.client.get("/dashboard", headers=headers)
    assert Page(answer.text).text("request") == []
    assert Page(answer.text).text("model") == []
    assert Page(answer.text).text("job") == []
    for path in (
        f"requests/{forgotten}",
        f"requests/{forgotten}/certificate.json",
        f"models/{site.world.model_id}",
    ):
        assert site.client.get(f"/dashboard/{path}", headers=headers).status_code == 404


def test_no_identity_is_shown(site: Site, forgotten: str) -> None:
    for path in ("", f"/requests/{forgotten}", f"/models/{site.world.model_id}"):
        assert WHO not in site.client.get(f"/dashboard{path}").text


@pytest.mark.parametrize(
    ("micros", "words"),
    [(None, "–"), (510_000, "0.51 s"), (45_000_000, "45 s"), (600_000_000, "10 min"), (3 * DAY_US, "3 days")],
)
def test_durations_are_in_the_unit_a_person_would_choose(micros: int | None, words: str) -> None:
    assert views.duration(micros) == words


@pytest.mark.parametrize("name", ["dashboard.png", "dashboard-request.png"])
def test_the_pictures_in_the_readme_are_small(name: str) -> None:
    picture = Path(__file__).parents[2] / "docs" / name
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size < 200_000
