"""A real Chromium that looks at a real server: found or visibly missing, watched while it looks, and asked by axe."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Playwright, Request

NAMES = ("chromium", "chromium-browser", "google-chrome")
# No sandbox: continuous integration is often root in a container without user namespaces. The pages are our own.
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--force-color-profile=srgb"]
AXE = Path(__file__).parents[1] / "browser" / "axe" / "axe.min.js"
PATIENCE_MS = 30_000


def launch(playwright: Playwright) -> Browser:
    """Start a Chromium: one on the PATH, or the one that Playwright has fetched.

    Where there is none the test is skipped and says so; with LACUNA_REQUIRE_BROWSER=1 it fails.
    """
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None and Path(playwright.chromium.executable_path).exists():
        found = playwright.chromium.executable_path
    if found is None:
        missing = "no Chromium is installed: try `apt-get install chromium` or `playwright install chromium`"
        if os.environ.get("LACUNA_REQUIRE_BROWSER") == "1":
            pytest.fail(f"LACUNA_REQUIRE_BROWSER=1, but {missing}")
        pytest.skip(missing)
    return playwright.chromium.launch(executable_path=found, args=FLAGS, timeout=4 * PATIENCE_MS)


@dataclass
class Visitor:
    """Opens pages of one server in fresh browser contexts, and keeps what went wrong in any of them."""

    browser: Browser
    url: str
    cookies: dict[str, list[Any]] = field(default_factory=dict)
    troubles: list[str] = field(default_factory=list)

    @contextmanager
    def page(
        self, role: str | None = None, *, scheme: str = "light", width: int = 1200, scripts: bool = True
    ) -> Iterator[Page]:
        """Open an empty page whose addresses are relative to the server.

        `role`: whose session it has, admin or auditor; None: nobody is signed in. `scheme`: light or dark; `width` in
        CSS pixels; `scripts`: whether JavaScript runs.
        """
        context = self.browser.new_context(
            base_url=self.url,
            color_scheme="dark" if scheme == "dark" else "light",
            viewport={"width": width, "height": 900},
            java_script_enabled=scripts,
        )
        context.set_default_timeout(PATIENCE_MS)
        if role is not None:
            context.add_cookies(self.cookies[role])
        try:
            page = context.new_page()
            page.on("console", self._listen)
            page.on("pageerror", lambda error: self.troubles.append(f"page error: {error}"))
            page.on("request", self._watch)
            yield page
        finally:
            context.close()

    def expect_trouble(self, *words: str) -> None:
        """Forget the troubles that hold these words: a test that asks for a 403 sees it in the console."""
        assert all(any(word in trouble for trouble in self.troubles) for word in words), self.troubles
        self.troubles[:] = [one for one in self.troubles if not any(word in one for word in words)]

    def axe_violations(self, page: Page) -> list[str]:
        """Return what axe-core finds wrong with the page as it is shown now, one line for each kind and place.

        What axe itself does to the page on the way, such as setting styles, is no trouble of the page's.
        """
        before = list(self.troubles)
        page.evaluate(AXE.read_text())
        found = page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
        self.troubles[:] = before
        return [
            f"{violation['id']}: {node['target']} {node.get('failureSummary', '')}"
            for violation in found["violations"]
            for node in violation["nodes"]
        ]

    def _listen(self, message: ConsoleMessage) -> None:
        """Violations of the policy are errors of the console, too."""
        if message.type in ("error", "warning"):
            self.troubles.append(f"console {message.type}: {message.text}")

    def _watch(self, request: Request) -> None:
        if not request.url.startswith(self.url):
            self.troubles.append(f"another machine was asked: {request.url}")


def too_wide_by(page: Page) -> int:
    """Return by how many pixels the page is wider than its window: it then has to be moved sideways to be read."""
    wider: int = page.evaluate("() => document.scrollingElement.scrollWidth - document.scrollingElement.clientWidth")
    return wider
