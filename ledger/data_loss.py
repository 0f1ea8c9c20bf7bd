"""What a migration that is being undone would lose: tables and columns that hold something, and are not there after it.

Looked at from outside, so that it holds for every migration, whether or not its author thought of it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import JSON, Connection, String, cast, column, func, inspect, select, table

VERSION_TABLE = "alembic_version"


@dataclass(frozen=True, slots=True)
class Contents:
    """How many rows each table has, and which of its columns hold something in at least one of them."""

    rows: dict[str, int]
    filled: dict[str, frozenset[str]]


def contents(connection: Connection) -> Contents:
    """Look through every table. On PostgreSQL nobody writes to them until the transaction ends."""
    columns = columns_of(connection)
    if connection.dialect.name == "postgresql" and columns:
        names = ", ".join(connection.dialect.identifier_preparer.quote(name) for name in sorted(columns))
        connection.exec_driver_sql(f"LOCK TABLE {names} IN SHARE ROW EXCLUSIVE MODE")
    rows = {name: connection.execute(select(func.count()).select_from(table(name))).scalar_one() for name in columns}
    filled = {
        name: frozenset(of for of, kind in kinds.items() if _is_filled(connection, name, of, kind))
        for name, kinds in columns.items()
    }
    return Contents(rows, filled)


def columns_of(connection: Connection) -> dict[str, dict[str, Any]]:
    """Return every table's columns and their types, without Alembic's own table."""
    seen = inspect(connection)
    names = [name for name in seen.get_table_names() if name != VERSION_TABLE]
    return {name: {found["name"]: found["type"] for found in seen.get_columns(name)} for name in names}


def losses(before: Contents, after: Connection, *, rebuilt: Collection[str]) -> list[str]:
    """Name what held something before and is gone; `rebuilt` are tables that the upgrade fills again from others."""
    found = []
    now = columns_of(after)
    for name in sorted(before.rows.keys() - set(rebuilt)):
        if before.rows[name] and name not in now:
            found.append(f"table {name} ({before.rows[name]} rows)")
        elif name in now:
            found += [f"column {name}.{gone}" for gone in sorted(before.filled[name] - now[name].keys())]
    return found


def _is_filled(connection: Connection, name: str, of: str, kind: Any) -> bool:
    """Whether a column holds something; the null of JSON is nothing, as the null of SQL."""
    query = select(1).select_from(table(name)).where(column(of).is_not(None))
    if isinstance(kind, JSON):
        query = query.where(cast(column(of), String) != "null")
    return connection.execute(query.limit(1)).first() is not None
