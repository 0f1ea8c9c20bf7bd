"""One server with a worker and two people for all tests of pages, a Chromium for each file; every page is watched."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from playwright.sync_api import sync_playwright
from sqlalchemy import select
from support.browsing import Visitor, launch
from support.deployment import Deployment
from support.world import clock_us, person

from ledger import people
from ledger.ledger import open_ledger
from ledger.passwords import Passwords
from ledger.settings import LedgerSettings
from ledger.tables import Tenant
from service.client import LacunaClient

SECRET = "correct horse battery"
PEOPLE = {"olga": people.ADMIN, "otto": people.AUDITOR}
FORGOTTEN = "zebedee"


@pytest.fixture(scope="session")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A running server with a trained model; olga may change things, otto may look."""
    made = Deployment(tmp_path_factory.mktemp("dashboard"))
    try:
        made.start_server(with_worker=True)
        with made.client() as client:
            made.train(client, [person(FORGOTTEN), person("bob"), person("carol")])
        add_people(made)
        yield made
    finally:
        made.stop()


def add_people(deployment: Deployment) -> None:
    """Let olga and otto sign in with SECRET."""
    ledger = open_ledger(LedgerSettings(data_dir=deployment.folder / "data"), clock=clock_us, random=os.urandom)
    try:
        hashed = Passwords().hash(SECRET)
        with ledger.database.begin() as tx:
            tenant_id = tx.session.execute(select(Tenant.id)).scalar_one()
            for name, role in PEOPLE.items():
                people.add(tx, tenant_id, name, role, hashed)
    finally:
        ledger.close()


@pytest.fixture(scope="session")
def client(deployment: Deployment) -> Iterator[LacunaClient]:
    """The API of the same server."""
    with deployment.client() as made:
        yield made


@pytest.fixture(scope="module")
def chromium(request: pytest.FixtureRequest) -> Iterator[Visitor]:
    """A running Chromium, looked for before the server is started; with a session of each role.

    Not one for the whole run: as long as Playwright runs, no other test in this process can use asyncio.
    """
    with sync_playwright() as playwright:
        browser = launch(playwright)
        deployment: Deployment = request.getfixturevalue("deployment")
        visitor = Visitor(browser, deployment.url)
        for name, role in PEOPLE.items():
            with visitor.page() as page:
                page.goto("/dashboard/sign-in")
                page.get_by_label("Name").fill(name)
                page.get_by_label("Password", exact=True).fill(SECRET)
                page.get_by_role("button", name="Sign in").click()
                page.wait_for_url("**/dashboard")
                visitor.cookies[role] = list(page.context.cookies())
        yield visitor
        browser.close()


@pytest.fixture
def visitor(chromium: Visitor) -> Iterator[Visitor]:
    """Opens pages. After the test none may have had an error, broken the policy or asked another machine."""
    chromium.troubles.clear()
    yield chromium
    assert chromium.troubles == []
