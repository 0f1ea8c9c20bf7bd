"""A browser without scripts: cookies, pages and their forms, for tests of the dashboard in this process."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from argon2 import PasswordHasher
from fastapi.testclient import TestClient

from ledger import people
from ledger.passwords import Passwords
from support.site import Site

SECRET = "correct horse battery"
QUICK = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)


@dataclass
class Browser:
    """One browser at a running site. It follows no redirect by itself."""

    site: Site
    base_url: str = "http://testserver"
    client: TestClient = field(init=False)

    def __post_init__(self) -> None:
        headers = {"Accept": "text/html,application/xhtml+xml"}
        # Without `with`: the application runs already.
        self.client = TestClient(self.site.client.app, self.base_url, headers=headers, follow_redirects=False)

    def get(self, path: str, **options: Any) -> Any:
        """Ask for a page."""
        return self.client.get(path, **options)

    def token(self, path: str) -> str:
        """Return the token that the forms of a page send along."""
        found = re.search(r'name="csrf" value="(\w+)"', self.get(path).text)
        assert found is not None, path
        return found[1]

    def post(
        self, path: str, *, page: str = "/dashboard/keys", headers: dict[str, str] | None = None, **fields: Any
    ) -> Any:
        """Send a form as the page does that it stands on: with the page's token, from the same origin."""
        return self.client.post(
            path,
            data={"csrf": self.token(page)} | fields,
            headers={"Origin": self.base_url, "Sec-Fetch-Site": "same-origin"} | (headers or {}),
        )

    def sign_in(self, **fields: str) -> Any:
        """Fill the sign-in form: name and password, or key."""
        return self.post("/dashboard/sign-in", page="/dashboard/sign-in", **fields)

    def cookie(self) -> str | None:
        """Return the session's token as the browser keeps it."""
        return self.client.cookies.get("lacuna_session")


def signed_in(site: Site, *scopes: str) -> Browser:
    """Return a browser that is signed in with a key that has these scopes."""
    browser = Browser(site)
    assert browser.sign_in(key=site.key(*scopes)).status_code == 303
    return browser


def add_person(site: Site, name: str = "olga", role: str = people.ADMIN) -> str:
    """Let a person sign in with SECRET, which the site hashes quickly from now on; return their id."""
    sign_ins = site.client.app.state.context.sign_ins  # type: ignore[attr-defined]  # a FastAPI
    passwords = sign_ins.passwords = Passwords(QUICK)
    with site.world.ledger.database.begin() as tx:
        return people.add(tx, site.world.tenant_id, name, role, passwords.hash(SECRET)).id
