"""Migrations: from nothing to the tables that the program knows, once, and not back over evidence."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, inspect, text
from sqlalchemy.exc import DBAPIError
from support.upgrading import upgrade_together
from support.world import NewWorld, World, person

from ledger import events
from ledger.database import open_engine
from ledger.errors import DowngradeRefused, MigrationNeeded
from ledger.migrate import differences, downgrade, require_current, upgrade
from ledger.tables import Base, Certificate, Event, Leaf

APPEND_ONLY = ("events", "leaves")


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = open_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def world(new_world: NewWorld, database_url: str) -> World:
    return new_world(database_url, core_people=1)


def test_from_nothing_to_the_tables_of_the_program(engine: Engine) -> None:
    with pytest.raises(MigrationNeeded):
        require_current(engine)
    assert differences(engine) != []
    upgrade(engine)
    require_current(engine)
    assert differences(engine) == []
    assert set(inspect(engine).get_table_names()) == set(Base.metadata.tables) | {"alembic_version"}
    upgrade(engine)  # again: nothing to do
    assert differences(engine) == []


def test_a_difference_is_seen(engine: Engine) -> None:
    upgrade(engine)
    with engine.begin() as connection:
        connection.execute(text("DROP INDEX ix_records_shard_id"))
        connection.execute(text("ALTER TABLE holds ADD COLUMN extra INTEGER"))
    assert len(differences(engine)) == 2


def test_down_and_up_again(engine: Engine) -> None:
    upgrade(engine)
    downgrade(engine, "base")
    assert set(inspect(engine).get_table_names()) == {"alembic_version"}
    with pytest.raises(MigrationNeeded):
        require_current(engine)
    upgrade(engine)
    assert differences(engine) == []


def test_evidence_is_not_dropped(world: World) -> None:
    request_id = world.forget("a")
    with world.ledger.database.begin() as tx:
        tx.session.add(Certificate(request_id=request_id, tenant_id=world.tenant_id, envelope=b"{}", created_at=1))
    engine = world.ledger.database.engine
    with pytest.raises(DowngradeRefused, match="certificates"):
        downgrade(engine, "base")
    require_current(engine)
    with world.ledger.database.read() as tx:
        assert tx.session.get_one(Certificate, request_id).envelope == b"{}"


def test_several_processes_upgrade_at_once(database_url: str) -> None:
    processes = multiprocessing.get_context("spawn")
    start, results = processes.Barrier(4), processes.Queue()
    started = [processes.Process(target=upgrade_together, args=(database_url, start, results)) for _ in range(4)]
    for process in started:
        process.start()
    answers = [results.get(timeout=120) for _ in started]
    for process in started:
        process.join(timeout=60)
    assert answers == ["fine"] * 4
    engine = open_engine(database_url)
    assert differences(engine) == []
    engine.dispose()


def with_rows(world: World) -> None:
    world.upload(person("a"))
    with world.ledger.database.begin() as tx:
        event = events.append(tx, world.tenant_id, "test", "x")
        tx.session.flush()
        tx.session.add(Leaf(position=0, event_id=event.id, leaf_hash=event.leaf_hash))


@pytest.mark.parametrize("table", APPEND_ONLY)
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE {table} SET leaf_hash = leaf_hash",
        "UPDATE {table} SET leaf_hash = NULL WHERE 1 = 0 OR {key} >= 0",
        "DELETE FROM {table}",
        "DELETE FROM {table} WHERE {key} >= 0",
    ],
)
def test_what_happened_cannot_be_changed(world: World, table: str, statement: str) -> None:
    with_rows(world)
    refused(world, statement, table)


@pytest.mark.parametrize("table", APPEND_ONLY)
def test_what_happened_cannot_be_written_over(world: World, table: str) -> None:
    """The ways around UPDATE and DELETE that each database has of its own."""
    with_rows(world)
    columns = ", ".join(column.name for column in Base.metadata.tables[table].columns)
    if world.ledger.database.is_sqlite:
        refused(world, f"INSERT OR REPLACE INTO {{table}} ({columns}) SELECT {columns} FROM {{table}}", table)
        refused(world, f"REPLACE INTO {{table}} ({columns}) SELECT {columns} FROM {{table}}", table)
        return
    refused(world, "TRUNCATE {table} CASCADE", table)
    refused(
        world,
        f"INSERT INTO {{table}} ({columns}) SELECT {columns} FROM {{table}} "
        "ON CONFLICT ({key}) DO UPDATE SET leaf_hash = EXCLUDED.leaf_hash",
        table,
    )


def refused(world: World, statement: str, table: str) -> None:
    key = "id" if table == "events" else "position"

    def rows() -> list[object]:
        with world.ledger.database.read() as tx:
            kind = Event if table == "events" else Leaf
            return [list(row) for row in tx.session.execute(kind.__table__.select())]

    before = rows()
    assert before
    with (
        pytest.raises(DBAPIError, match="append-only"),
        world.ledger.database.engine.connect().execution_options(lacuna_write=True) as connection,
        connection.begin(),
    ):
        connection.execute(text(statement.format(table=table, key=key)))
    assert rows() == before
