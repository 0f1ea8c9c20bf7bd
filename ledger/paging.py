"""Lists in pages: a page begins behind the last row of the one before, wherever rows were added meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Select, and_, or_
from sqlalchemy.orm import InstrumentedAttribute

Column = InstrumentedAttribute[Any] | ColumnElement[Any]
S = TypeVar("S", bound=Select[*tuple[Any, ...]])

Position = tuple[int | str, ...]
"""The values of a row in the columns that a list is ordered by."""


def ordered(
    query: S,
    *columns: tuple[Column, bool],
    after: Position | None,
    limit: int | None,
) -> S:
    """Order by the columns (True: falling), begin behind the row at `after`, end after `limit` rows.

    Together the columns must name a row, so that nothing is left out or shown twice.
    """
    if after is not None:
        query = query.where(_behind(columns, after))
    return query.order_by(*(column.desc() if falling else column for column, falling in columns)).limit(limit)


def _behind(columns: Sequence[tuple[Column, bool]], after: Position) -> ColumnElement[bool]:
    assert len(columns) == len(after)
    steps = []
    for depth, (column, falling) in enumerate(columns):
        equal = [earlier == value for (earlier, _), value in zip(columns[:depth], after, strict=False)]
        steps.append(and_(*equal, column < after[depth] if falling else column > after[depth]))
    return or_(*steps)
