"""The list of forget requests: what may be asked of it, page by page, and as a file for a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal
from urllib.parse import urlencode

from fastapi import Depends, Query, Response

from ledger import request_search
from ledger.database import Database, Transaction
from ledger.figures import STATES
from ledger.request_search import Search
from ledger.tables import ForgetRequest
from service.api.paging import Page
from service.dashboard import views
from service.moments import rfc3339

ADDRESS = "/dashboard/requests"
SIZES = (50, 200, 1000)
MOST_FOLLOWED = 200
"""A longer list does not follow the ledger by itself."""

State = Literal["", "open", "accepted", "scrubbing", "published", "purging", "failed", "completed", "cancelled"]
Outcome = Literal["", "erased", "partially_core", "no_match", "on_hold"]
Regulation = Literal["", "gdpr", "ccpa"]
Order = Literal["received", "due", "completed"]

COLUMNS = (
    "id", "state", "outcome", "regulation", "selects_by", "records", "received_at", "due_at", "extended_at",
    "published_at", "unserved_at", "erased_at", "completed_at",
)  # fmt: skip
"""Of the file. Nothing in it names anybody; errors are left out, since a file cannot be taken back."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a visitor asked the list for."""

    search: Search
    limit: int
    cursor: str | None

    @property
    def filters(self) -> dict[str, str]:
        """What was asked for, as an address holds it, without the place in the list."""
        asked = {
            "state": self.search.state,
            "outcome": self.search.outcome,
            "regulation": self.search.regulation,
            "overdue": "yes" if self.search.overdue else None,
            "order": self.search.order if self.search.order != "received" else None,
        }
        return {name: value for name, value in asked.items() if value is not None}

    def query(self, *, place: bool) -> str:
        """Return it as the end of an address; `place`: with how many to show, and from where on."""
        said = dict(self.filters)
        if place:
            said["limit"] = str(self.limit)
            said |= {} if self.cursor is None else {"cursor": self.cursor}
        return f"?{urlencode(said)}" if said else ""


def _wanted(
    state: State = "",
    outcome: Outcome = "",
    regulation: Regulation = "",
    overdue: Literal["", "yes"] = "",
    order: Order = "received",
    limit: Annotated[int, Query(ge=1, le=1000)] = SIZES[0],
    cursor: Annotated[str | None, Query(max_length=1000)] = None,
) -> Wanted:
    search = Search(state or None, outcome or None, regulation or None, overdue == "yes", order)
    return Wanted(search, limit, cursor)


Asked = Annotated[Wanted, Depends(_wanted)]
"""What an address takes that lists requests."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A page of the list: its rows, how many there are on all pages, and where the next page is."""

    rows: Sequence[views.RequestRow]
    total: int
    next: str | None


def listed(tx: Transaction, tenant_id: str, wanted: Wanted) -> Listed:
    """Return the page that was asked for. Raises CursorRefused."""
    noted = Response()  # a page of the API names the next one in a header; here it becomes a link
    page = Page(ADDRESS, wanted.limit, wanted.cursor, noted)
    order = wanted.search.order
    found = request_search.find(tx, tenant_id, wanted.search, limit=page.limit, after=page.after(int, str))
    rows = page.cut(found, lambda row: request_search.position(row, order), **wanted.filters)
    link = noted.headers.get("Link")
    return Listed(
        rows=[views.request_row(row, tx.now) for row in rows],
        total=request_search.count(tx, tenant_id, wanted.search),
        next=None if link is None else link[1 : link.index(">")],
    )


def choices() -> dict[str, Sequence[str]]:
    """Return what each field of the form offers."""
    return {
        "state": ("open", *STATES),
        "outcome": ("erased", "partially_core", "no_match", "on_hold"),
        "regulation": ("gdpr", "ccpa"),
        "order": request_search.ORDERS,
    }


def as_csv(database: Database, tenant_id: str, search: Search) -> Iterator[str]:
    """Yield all requests that are looked for as lines of CSV (RFC 4180), group by group."""
    yield _lines([COLUMNS])
    for group in request_search.every(database, tenant_id, search):
        yield _lines([_cells(row) for row in group])


def _cells(row: ForgetRequest) -> list[str]:
    found = (
        row.id, row.state, row.outcome, row.regulation, row.selector_kind, row.records,
        *(rfc3339(at) for at in (row.received_at, row.due_at, row.extended_at, row.published_at, row.unserved_at,
                                 row.erased_at, row.completed_at)),
    )  # fmt: skip
    return [harmless("" if value is None else str(value)) for value in found]


def harmless(text: str) -> str:
    """Return a cell that no spreadsheet takes for a formula: it begins with an apostrophe if need be."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def _lines(rows: Sequence[Sequence[str]]) -> str:
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    return out.getvalue()
