"""Databases that are up to date at once: the migrations' statements, noted the first time and repeated from then on.

Most tests need a database of their own, and reading every migration anew for each would take minutes of a run.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from sqlalchemy import Engine, event, inspect

from ledger.migrate import require_current, upgrade

READING = ("SELECT", "PRAGMA", "SHOW", "WITH")


def migrate(engine: Engine) -> None:
    """Bring a database up to date; an empty one by what the first migration of this process executed."""
    statements = _noted(engine.dialect.name)
    if inspect(engine).get_table_names():
        upgrade(engine)
    elif not statements:
        statements += note(engine)
    else:
        repeat(engine, statements)
        require_current(engine)


@cache
def _noted(_dialect: str) -> list[str]:
    return []


def note(engine: Engine) -> list[str]:
    """Migrate, and return what that changed, in its order. It takes no parameters."""
    executed: list[str] = []

    def listen(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if not statement.lstrip().upper().startswith(READING):
            assert not parameters, statement
            executed.append(statement)

    event.listen(engine, "before_cursor_execute", listen)
    try:
        upgrade(engine)
    finally:
        event.remove(engine, "before_cursor_execute", listen)
    return executed


def repeat(engine: Engine, statements: list[str]) -> None:
    """Execute statements in one transaction."""
    with engine.connect().execution_options(lacuna_write=True) as connection, connection.begin():
        raw: Any = connection.connection.driver_connection
        if engine.dialect.name == "postgresql":
            raw.execute(";\n".join(statements))  # without parameters psycopg takes many at once
        else:
            for statement in statements:
                raw.execute(statement)
