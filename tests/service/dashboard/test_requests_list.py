"""The list of requests: filters, pages, the file for a spreadsheet, and what a spreadsheet must not run."""

from __future__ import annotations

import csv
import io

import pytest
from sqlalchemy import update
from support.pages import page
from support.site import Site

from ledger.tables import ForgetRequest
from service.dashboard.requests_list import COLUMNS, harmless

DAY_US = 86_400_000_000


@pytest.fixture
def filed(any_site: Site) -> list[str]:
    """The ids of five requests, oldest first: two are completed, one of them withdrawn, one overdue."""
    world = any_site.world
    ids = [world.forget(f"person-{i}") for i in range(5)]
    with world.ledger.database.begin() as tx:
        for i, request_id in enumerate(ids):
            values: dict[str, object] = {"received_at": tx.now + i, "due_at": tx.now + (10 - i) * DAY_US}
            if i < 2:
                values |= {"state": "completed", "outcome": "erased", "completed_at": tx.now + 5 - i, "records": 7}
            if i == 2:
                values |= {"due_at": tx.now - DAY_US, "regulation": "ccpa"}
            tx.session.execute(update(ForgetRequest).where(ForgetRequest.id == request_id).values(**values))
    return ids


def listed(site: Site, query: str = "") -> list[str]:
    return [text.split()[0] for text in page(site, f"/dashboard/requests{query}").text("request")]


def short(ids: list[str]) -> list[str]:
    return [request_id[:8] for request_id in ids]


def test_filters_orders_and_pages(any_site: Site, filed: list[str]) -> None:
    assert listed(any_site) == short(filed[::-1])
    assert listed(any_site, "?state=completed&outcome=erased") == short(filed[1::-1])
    assert listed(any_site, "?state=open&order=due") == short([filed[2], filed[4], filed[3]])
    assert listed(any_site, "?order=completed&limit=2") == short(filed[:2])
    assert listed(any_site, "?overdue=yes") == short([filed[2]])
    assert listed(any_site, "?regulation=ccpa&overdue=&state=&outcome=") == short([filed[2]])  # as the form sends it
    assert "No request is like that" in page(any_site, "/dashboard/requests?state=cancelled").text("requests")[0]
    seen, address = [], "/dashboard/requests?order=due&limit=2"
    while address:
        shown = page(any_site, address)
        assert "5 requests" in shown.text("requests")[0]
        seen += [text.split()[0] for text in shown.text("request")]
        address = next((link for link in shown.links if "cursor=" in link and "/live/" not in link), "")
        assert len(seen) <= 5
    assert seen == short([filed[2], filed[4], filed[3], filed[1], filed[0]])


def test_what_is_no_filter_is_refused(site: Site) -> None:
    for query in ("state=lost", "order=name", "limit=0", "limit=1001", "cursor=nonsense"):
        assert site.client.get(f"/dashboard/requests?{query}").status_code == 422, query


def test_the_file_holds_what_the_filter_finds_and_no_names(any_site: Site, filed: list[str]) -> None:
    answer = any_site.client.get("/dashboard/requests.csv?state=open&order=due&limit=1")
    assert answer.headers["content-type"].startswith("text/csv")
    assert "attachment" in answer.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["id"] for row in rows] == [filed[2], filed[4], filed[3]]
    assert tuple(rows[0]) == COLUMNS
    assert rows[0]["state"] == "accepted"
    assert rows[0]["records"] == ""
    assert rows[0]["due_at"].endswith("Z")
    assert "person" not in answer.text


def test_what_was_tampered_with_runs_in_no_spreadsheet(site: Site) -> None:
    request_id = site.world.forget("somebody")
    evil = '=cmd|" /c"'
    with site.world.ledger.database.begin() as tx:
        tx.session.execute(update(ForgetRequest).where(ForgetRequest.id == request_id).values(regulation=evil))
    (row,) = csv.DictReader(io.StringIO(site.client.get("/dashboard/requests.csv").text))
    assert row["regulation"] == f"'{evil}"


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@A1", "\t=1", "\r=1"])
def test_formulas_become_text(cell: str) -> None:
    assert harmless(cell) == f"'{cell}"
    assert harmless(f"a{cell}") == f"a{cell}"
