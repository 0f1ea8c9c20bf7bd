"""The pages of the ledger in a real browser: every page in every dress, live updates, an erasure, a tampered log."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Page, Request, expect
from support.browsing import Visitor, too_wide_by
from support.deployment import Deployment, upload_people
from support.told import tamper
from support.waiting import wait_until
from support.world import person

from service.client import LacunaClient

TIMEOUT_MS = 60_000
DRESSES: list[tuple[Literal["light", "dark"], int]] = [("light", 1200), ("dark", 390)]


def database(deployment: Deployment) -> Path:
    return deployment.folder / "data" / "ledger.db"


def ask(deployment: Deployment, query: str, *values: object) -> object:
    with closing(sqlite3.connect(database(deployment), timeout=30)) as connection:
        row = connection.execute(query, values).fetchone()
    return None if row is None else row[0]


@pytest.fixture(scope="module")
def learned(deployment: Deployment, client: LacunaClient) -> str:
    """The user cohort's id, after two more people came into it who are forgotten here."""
    user = next(cohort["id"] for cohort in client.cohorts() if cohort["kind"] == "user")
    upload_people(client, user, [person("quentin"), person("ursula")])
    return str(user)


@pytest.fixture(scope="module")
def erased(deployment: Deployment, client: LacunaClient, learned: str) -> str:
    """The id of a request that is completed, of which everything stands in the log."""
    request_id = str(client.forget(subjects=["quentin"])["id"])
    client.wait_for_request(request_id, timeout_s=60)
    waiting = (
        "SELECT count(*) FROM events LEFT JOIN leaves ON event_id = events.id WHERE subject = ? AND position IS NULL"
    )
    wait_until(lambda: ask(deployment, waiting, request_id) == 0, 30, "its events to stand in the log")
    return request_id


def stay(page: Page) -> None:
    """Leave a mark that a reload would wipe away."""
    page.evaluate("() => { window.mark = 'here' }")


def assert_not_reloaded(page: Page) -> None:
    assert page.evaluate("() => window.mark") == "here"


def test_an_erasure_is_followed_to_its_certificate_without_a_reload(visitor: Visitor, learned: str) -> None:
    with visitor.page("admin") as page:
        page.goto("/dashboard/forget")
        page.get_by_label("A person").check()
        page.get_by_label("Identifier").fill("ursula")
        page.get_by_role("button", name="File the request").click()
        page.wait_for_url("**/dashboard/requests/*")
        stay(page)
        certificate = page.get_by_test_id("certificate")
        expect(certificate).to_contain_text("0 nats left in the weights", timeout=TIMEOUT_MS)
        expect(certificate).to_have_css("border-color", "rgb(29, 122, 76)")
        for fact in ("removed", "solved", "gone", "unserved"):
            expect(certificate.get_by_role("listitem").filter(has_text=fact)).to_have_class("holds")
        expect(page.locator("#announced")).to_have_text("Request completed, erased")
        expect(page.get_by_test_id("event").last).to_contain_text(re.compile(r"entry \d+ of the log"))
        expect(page.locator("[data-follow]")).to_have_count(0)  # nothing more will happen, so nothing more is asked
        page.get_by_test_id("verify").click()
        checks = page.get_by_test_id("check")
        expect(checks).to_have_count(4)
        expect(checks.filter(has_text=": passed")).to_have_count(4)
        assert_not_reloaded(page)


def test_tampering_with_a_row_is_shown_in_red(visitor: Visitor, deployment: Deployment, erased: str) -> None:
    event = ask(deployment, "SELECT id FROM events WHERE subject = ? AND kind = 'forget.completed'", erased)
    with visitor.page("auditor") as page:
        page.goto("/dashboard/log")
        page.get_by_test_id("check").click()
        expect(page.get_by_test_id("outcome")).to_contain_text("The log is whole")
        tamper(database(deployment), f"UPDATE events SET at = at + 1 WHERE id = {event}")
        try:
            page.get_by_role("button", name="Check again").click()
            expect(page.get_by_test_id("outcome")).to_contain_text("TAMPERED WITH")
            finding = page.get_by_test_id("finding")
            expect(finding).to_have_count(1)
            expect(finding).to_contain_text(f"event {event}, entry")
            expect(finding).to_contain_text("its column at is not what its content says")
            expect(finding).to_have_css("color", "rgb(179, 40, 45)")
            expect(page.get_by_test_id("step").filter(has_text="FAILED")).to_have_count(1)
            assert visitor.axe_violations(page) == []
        finally:
            tamper(database(deployment), f"UPDATE events SET at = at - 1 WHERE id = {event}")
        page.get_by_role("button", name="Check again").click()
        expect(page.get_by_test_id("outcome")).to_contain_text("The log is whole")


def test_an_entry_is_proved_step_by_step(visitor: Visitor, erased: str) -> None:
    with visitor.page("auditor") as page:
        page.goto("/dashboard/log")
        page.get_by_label("Id of a request").fill(erased)
        page.get_by_role("button", name="Find").click()
        expect(page.get_by_test_id("event")).to_have_count(5)
        page.get_by_role("link", name=re.compile("event")).first.click()
        expect(page.get_by_test_id("proof")).to_contain_text("Proved")
        top, root = page.get_by_test_id("hash").last, page.get_by_test_id("root")
        assert root.locator("code").inner_text() == top.locator("code").last.inner_text()


def pages(deployment: Deployment, erased: str) -> list[str]:
    model = ask(deployment, "SELECT id FROM models")
    cohorts = [ask(deployment, "SELECT id FROM cohorts WHERE kind = ?", kind) for kind in ("core", "user")]
    event = ask(deployment, "SELECT id FROM events WHERE subject = ?", erased)
    return [
        "/dashboard", "/dashboard/requests", f"/dashboard/requests/{erased}", f"/dashboard/requests/{erased}/verify",
        "/dashboard/models", f"/dashboard/models/{model}", "/dashboard/cohorts",
        *(f"/dashboard/cohorts/{cohort}" for cohort in cohorts),
        "/dashboard/log", "/dashboard/log/check",
        f"/dashboard/log/proof?event={event}", f"/dashboard/log/proof?q={erased}",
    ]  # fmt: skip


def test_every_page_is_clean_in_light_and_dark_wide_and_narrow(
    visitor: Visitor, deployment: Deployment, erased: str
) -> None:
    wrong = []
    with visitor.page("auditor") as page:
        for path in pages(deployment, erased):
            page.goto(path)
            page.evaluate("() => document.querySelectorAll('details').forEach((one) => { one.open = true })")
            if page.locator("[data-chart]").count():
                expect(page.locator(".drawing canvas").first).to_be_visible()
            for scheme, width in DRESSES:
                page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # colours change at once
                page.set_viewport_size({"width": width, "height": 900})
                wrong += [f"{path}, {scheme}, {width}: {one}" for one in visitor.axe_violations(page)]
                wrong += [f"{path}, {width}: too wide"] * bool(too_wide_by(page))
    assert wrong == [], "\n".join(wrong)


def test_live_parts_rest_while_hidden_and_leave_the_focus_alone(
    visitor: Visitor, client: LacunaClient, erased: str
) -> None:
    asked: list[str] = []

    def count(request: Request) -> None:
        if "/dashboard/live/" in request.url:
            asked.append(request.url)

    with visitor.page("auditor") as page:
        page.on("request", count)
        page.clock.install()
        page.goto("/dashboard")
        page.get_by_text("As a table").first.click()
        page.evaluate("() => { Object.defineProperty(document, 'hidden', {get: () => true, configurable: true}) }")
        page.clock.run_for(20_000)
        assert asked == []
        page.evaluate("() => { delete document.hidden }")
        link = page.get_by_test_id("request").get_by_role("link", name=erased[:8], exact=True)
        link.focus()
        stay(page)
        with page.expect_response(re.compile("/dashboard/live/overview")) as answered:
            page.clock.run_for(2_100)
        assert answered.value.status in (200, 304)
        page.clock.resume()
        request_id = str(client.forget(subjects=["nobody-known-here"])["id"])
        expect(page.get_by_test_id("request").filter(has_text=request_id[:8])).to_contain_text(
            "no match", timeout=TIMEOUT_MS
        )
        assert page.evaluate("() => document.activeElement.textContent") == erased[:8]
        expect(page.locator("#announced")).to_contain_text("completed")
        expect(page.get_by_test_id("chart-table").first).to_be_visible()  # what was opened stays open
        assert_not_reloaded(page)


def test_everything_works_without_scripts(visitor: Visitor, erased: str) -> None:
    with visitor.page("auditor", scripts=False) as page:
        page.goto("/dashboard/requests")
        page.get_by_label("Outcome").select_option("erased")
        page.get_by_label("Sorted by").select_option("completed")
        page.get_by_role("button", name="List").click()
        expect(page.get_by_label("Outcome")).to_have_value("erased")
        page.get_by_test_id("request").get_by_role("link", name=erased[:8], exact=True).click()
        page.get_by_test_id("verify").click()
        expect(page.get_by_test_id("verification")).to_contain_text("valid")
        expect(page.get_by_test_id("check").filter(has_text=": passed")).to_have_count(4)
        page.get_by_role("link", name="Models").click()
        page.get_by_test_id("model").get_by_role("link").click()
        page.get_by_text("As a table").click()
        expect(page.get_by_test_id("chart-table")).to_contain_text("destroyed")
        page.goto("/dashboard/log/check")
        expect(page.get_by_test_id("outcome")).to_contain_text("The log is whole")
        page.goto("/dashboard/requests?limit=1")
        page.get_by_role("link", name="Next page").click()
        expect(page.get_by_test_id("request")).to_have_count(1)
