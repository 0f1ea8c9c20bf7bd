"""The short way to a migrated database leads where the long one does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from ledger.database import open_engine
from ledger.errors import MigrationNeeded
from ledger.migrate import differences, require_current
from support.migrated import migrate, note, repeat

SCHEMA = {
    "sqlite": "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY 1, 2",
    "postgresql": (
        "SELECT 'column', table_name, column_name, data_type || is_nullable || coalesce(column_default, '') "
        "FROM information_schema.columns WHERE table_schema = 'public' "
        "UNION ALL SELECT 'index', tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' "
        "UNION ALL SELECT 'trigger', event_object_table, trigger_name, event_manipulation || action_statement "
        "FROM information_schema.triggers "
        "UNION ALL SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid) "
        "FROM pg_constraint WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2, 3, 4"
    ),
}


@pytest.fixture(params=["sqlite", "postgres"])
def two(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[Engine]]:
    """Two empty databases of one kind."""
    if request.param == "sqlite":
        urls = [f"sqlite:///{tmp_path / name}" for name in ("one", "two")]
    else:
        new: Callable[[], str] = request.getfixturevalue("new_postgres_database")
        urls = [new(), new()]
    engines = [open_engine(url) for url in urls]
    yield engines
    for engine in engines:
        engine.dispose()


def schema(engine: Engine) -> list[tuple[object, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(SCHEMA[engine.dialect.name]))]


def test_what_was_noted_makes_the_same_database(two: list[Engine]) -> None:
    one, another = two
    statements = note(one)
    repeat(another, statements)
    require_current(another)
    assert differences(another) == []
    assert schema(another) == schema(one)
    assert len(schema(one)) > 100


def test_a_missing_statement_is_seen(two: list[Engine]) -> None:
    one, another = two
    statements = note(one)
    repeat(another, statements[:-1])
    with pytest.raises(MigrationNeeded):
        require_current(another)


def test_every_database_comes_up_to_date(two: list[Engine]) -> None:
    for engine in (*two, two[0]):
        migrate(engine)
        require_current(engine)
