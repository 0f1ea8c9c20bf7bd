"""Signing in, forms and roles in a real browser: with and without scripts, by keyboard alone, in every dress."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect
from support.browsing import Visitor, too_wide_by

from service.client import LacunaClient

OWN_PAGES = ("/dashboard/keys", "/dashboard/forget", f"/dashboard/requests/{'0' * 32}")
SECRET = "correct horse battery"
BAD = "<!doctype html><html><title>x</title><img src=''><p style='color:#999;background:#aaa'>pale</p></html>"


def sign_in(page: Page, name: str, password: str) -> None:
    """Fill the form and send it by the key that people use."""
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_label("Password", exact=True).press("Enter")


def test_signing_in_wrongly_then_rightly_and_out(visitor: Visitor) -> None:
    with visitor.page() as page:
        page.goto("/dashboard/keys")
        expect(page).to_have_url(f"{visitor.url}/dashboard/sign-in?next=/dashboard/keys")
        sign_in(page, "olga", SECRET + "x")
        expect(page.get_by_role("alert")).to_contain_text("do not belong together")
        visitor.expect_trouble("403")
        sign_in(page, "olga", SECRET)
        expect(page).to_have_url(f"{visitor.url}/dashboard/keys")
        assert page.evaluate("() => document.cookie") == ""  # no script sees the session
        page.get_by_role("button", name="Sign out").click()
        expect(page).to_have_url(f"{visitor.url}/dashboard/sign-in")
        page.go_back()
        page.goto("/dashboard/keys")
        expect(page.get_by_role("heading", name="Sign in", exact=True)).to_be_visible()


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without"])
def test_an_admin_files_a_request_and_makes_a_key(visitor: Visitor, client: LacunaClient, scripts: bool) -> None:
    with visitor.page("admin", scripts=scripts) as page:
        page.goto("/dashboard/forget")
        page.get_by_label("Everything, in every cohort").check()
        page.get_by_role("button", name="File the request").click()
        expect(page.get_by_role("alert")).to_contain_text("Say that you mean it")
        visitor.expect_trouble("422")
        page.get_by_label("A person").check()
        page.get_by_label("Identifier").fill("nobody-of-that-name")
        page.get_by_role("button", name="File the request").click()
        page.wait_for_url("**/dashboard/requests/*")
        request_id = page.url.rpartition("/")[2]
        assert client.request(request_id)["selector"] == "subjects"
        page.goto("/dashboard/keys")
        page.get_by_text("Make a key").click()
        page.get_by_label("What it is for").fill(f"shop {scripts}")
        page.get_by_label("predict").check()
        page.get_by_role("button", name="Make the key").click()
        expect(page.get_by_test_id("made")).to_contain_text("lacuna_")
        row = page.get_by_test_id("api-key").filter(has_text=f"shop {scripts}")
        expect(row).to_contain_text("active")
        row.get_by_role("button", name="Revoke").click()
        expect(page.get_by_test_id("api-key").filter(has_text=f"shop {scripts}")).to_contain_text("revoked")
        expect(page.get_by_test_id("made")).to_have_count(0)


def test_an_auditor_looks_and_cannot_change(visitor: Visitor) -> None:
    with visitor.page("auditor") as page:
        page.goto("/dashboard/forget")
        expect(page.get_by_text("Only an admin files requests")).to_be_visible()
        page.goto("/dashboard/keys")
        expect(page.get_by_role("button")).to_have_count(1)
        expect(page.get_by_role("button", name="Sign out")).to_be_visible()
        token = page.locator("input[name=csrf]").first.input_value()
        send = """async ([at, csrf]) => (await fetch(at, {method: 'POST', body: new URLSearchParams({csrf,
            by: 'everything', sure: 'yes'})})).status"""
        assert page.evaluate(send, ["/dashboard/forget", token]) == 403
        visitor.expect_trouble("403")


def focused(page: Page) -> str:
    """Say what has the focus, and check that it can be seen: inside the window, and with an outline around it."""
    seen = page.evaluate(
        """() => {
            const at = document.activeElement, box = at.getBoundingClientRect(), style = getComputedStyle(at);
            return [at.getAttribute('aria-label') || at.labels?.[0]?.textContent || at.textContent || at.id,
                    box.top >= 0 && box.left >= 0 && box.bottom <= innerHeight && box.width > 0,
                    style.outlineStyle !== 'none' || style.boxShadow !== 'none'];
        }"""
    )
    name = " ".join(str(seen[0]).split())
    assert seen[1], f"{name} has the focus and is not to be seen"
    assert seen[2], f"{name} has the focus and nothing around it"
    return name


def tab(page: Page) -> str:
    page.keyboard.press("Tab")
    return focused(page)


def test_the_keyboard_is_enough(visitor: Visitor) -> None:
    with visitor.page() as page:
        page.goto("/dashboard/sign-in?next=/dashboard/keys")
        assert [tab(page) for _ in range(5)] == [
            "Skip to the content",
            "Lacuna, overview",
            "Name",
            "Password",
            "Sign in",
        ]
        page.get_by_label("Name").focus()
        page.keyboard.type("olga")
        page.keyboard.press("Tab")
        page.keyboard.type(SECRET)
        page.keyboard.press("Enter")
        expect(page).to_have_url(f"{visitor.url}/dashboard/keys")
        assert tab(page) == "Skip to the content"
        page.keyboard.press("Enter")
        assert page.evaluate("() => document.activeElement.id") == "content"
        assert tab(page) == "Table of API keys"  # a table that may be wider than the window is moved by the arrow keys
        page.goto("/dashboard/keys")
        names = [tab(page) for _ in range(9)]
        assert names[1:] == [
            "Lacuna, overview", "Overview", "Requests", "Models", "Cohorts", "Log", "Keys", "Sign out",
        ]  # fmt: skip
        page.keyboard.press("Enter")
        expect(page).to_have_url(f"{visitor.url}/dashboard/sign-in")


@pytest.mark.parametrize(("scheme", "width"), [("light", 1200), ("dark", 1200), ("light", 390), ("dark", 390)])
def test_nothing_stands_in_anybodys_way(visitor: Visitor, scheme: str, width: int) -> None:
    with visitor.page(scheme=scheme, width=width) as page:
        page.goto("/dashboard/sign-in")
        assert visitor.axe_violations(page) == []
        assert too_wide_by(page) == 0
    with visitor.page("admin", scheme=scheme, width=width) as page:
        for path in OWN_PAGES:
            page.goto(path)
            if path == "/dashboard/keys":
                page.get_by_text("Make a key").click()
            assert visitor.axe_violations(page) == [], path
            assert too_wide_by(page) == 0, path
    visitor.expect_trouble("404")


def test_axe_would_find_a_bad_page(visitor: Visitor) -> None:
    with visitor.page() as page:
        page.set_content(BAD)
        found = " ".join(visitor.axe_violations(page))
    assert all(kind in found for kind in ("image-alt", "html-has-lang", "color-contrast"))
