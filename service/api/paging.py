"""Pages of lists: `limit`, an opaque `cursor`, and the address of the next page in a `Link` header (RFC 8288)."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar
from urllib.parse import urlencode

from fastapi import Depends, Query, Request, Response

from ledger.paging import Position
from service.api.schemas import ID_PATTERN, Limit
from service.refusals import CursorRefused

T = TypeVar("T")

NEXT_PAGE: dict[int | str, dict[str, Any]] = {
    200: {
        "headers": {
            "Link": {
                "description": 'Where the next page is, with rel="next"; absent after the last one.',
                "schema": {"type": "string"},
            }
        }
    }
}
"""What OpenAPI says about the answer of a list."""


class Page:
    """The part of a list that is asked for."""

    def __init__(self, path: str, limit: int, cursor: str | None, response: Response) -> None:
        """`path` is the list's own, to which its cursors belong."""
        self._path = path
        self._limit = limit
        self._cursor = cursor
        self._response = response

    @property
    def limit(self) -> int:
        """How many rows to read: one more than is shown tells whether there is a next page."""
        return self._limit + 1

    def after(self, *kinds: type) -> Position | None:
        """Return where the page begins, values of these kinds (int or str), None at the start. Raises CursorRefused."""
        if self._cursor is None:
            return None
        try:
            padded = self._cursor + "=" * (-len(self._cursor) % 4)
            path, *values = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        except (ValueError, TypeError, RecursionError):  # no base64, no UTF-8, no JSON, no list
            raise CursorRefused from None
        if path != self._path or [type(value) for value in values] != list(kinds):
            raise CursorRefused
        if not all(_is_sound(value) for value in values):
            raise CursorRefused
        return tuple(values)

    def cut(self, rows: Sequence[T], position: Callable[[T], Position], **filters: str | None) -> Sequence[T]:
        """Return the rows to show. If there are more, say where, with the filters that were asked for."""
        if len(rows) <= self._limit:
            return rows
        shown = rows[: self._limit]
        cursor = json.dumps([self._path, *position(shown[-1])], separators=(",", ":")).encode()
        said = {name: value for name, value in filters.items() if value is not None}
        said |= {"limit": str(self._limit), "cursor": base64.urlsafe_b64encode(cursor).decode().rstrip("=")}
        self._response.headers["Link"] = f'<{self._path}?{urlencode(said)}>; rel="next"'
        return shown


def _is_sound(value: int | str) -> bool:
    """Whether a database can compare it: whole numbers of 64 bits, ids."""
    return 0 <= value < 2**63 if isinstance(value, int) else re.match(ID_PATTERN, value) is not None


def _page(
    request: Request,
    response: Response,
    limit: Limit = 100,
    cursor: Annotated[
        str | None, Query(max_length=1000, description="Where to go on: from the `Link` of the page before.")
    ] = None,
) -> Page:
    return Page(request.url.path, limit, cursor, response)


Paged = Annotated[Page, Depends(_page)]
"""What an endpoint takes that lists."""
