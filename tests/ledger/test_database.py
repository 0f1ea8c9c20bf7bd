"""Opening databases: what every connection is set to, what a transaction sees, and how the log is cut."""

from __future__ import annotations

import secrets
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, func, select, text, update
from sqlalchemy.exc import DBAPIError
from support.clock import FixedClock
from support.locks import waiters
from support.waiting import wait_until
from support.world import NewWorld, World

from ledger import changes
from ledger.database import Database, open_engine, storage_fact
from ledger.errors import StoreFull, StoreReadOnly
from ledger.migrate import upgrade
from ledger.tables import Change, Job, Tenant


@pytest.fixture
def world(new_world: NewWorld, database_url: str) -> World:
    return new_world(database_url, core_people=1)


def test_every_sqlite_connection_is_durable_strict_and_leaves_nothing_behind(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'ledger.db'}")
    wanted = {
        "journal_mode": "wal",
        "synchronous": 2,  # FULL
        "foreign_keys": 1,
        "secure_delete": 1,
        "busy_timeout": 15_000,
        "temp_store": 2,  # MEMORY
        "recursive_triggers": 1,
    }
    with engine.connect() as first, engine.connect() as second:
        for connection in (first, second):
            assert {name: connection.execute(text(f"PRAGMA {name}")).scalar_one() for name in wanted} == wanted
    engine.dispose()


def test_postgres_sessions_neither_wait_for_ever_nor_leave_utc(fresh_postgres_database: str) -> None:
    engine = open_engine(fresh_postgres_database)
    with engine.connect() as connection:
        shown = [
            connection.execute(text(f"SHOW {name}")).scalar_one()
            for name in ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout", "timezone")
        ]
    assert shown == ["10s", "1min", "2min", "UTC"]
    engine.dispose()


def test_a_transaction_is_all_or_nothing_and_has_one_time(world: World, clock: FixedClock) -> None:
    database = Database(world.ledger.database.engine, clock, world.ledger.database.random)
    with database.begin() as tx:
        began = tx.now
        clock.advance(seconds=5)
        assert tx.now == began
        assert tx.new_id() != tx.new_id()
        tx.session.execute(update(Tenant).values(name="renamed"))

    def fail_midway() -> None:
        with database.begin() as tx:
            tx.session.execute(update(Tenant).values(name="lost"))
            raise KeyError

    with pytest.raises(KeyError):
        fail_midway()
    with database.read() as tx:
        assert tx.session.execute(select(Tenant.name)).scalar_one() == "renamed"


def test_what_a_reader_writes_is_thrown_away(world: World) -> None:
    with world.ledger.database.read() as tx:
        tx.session.execute(update(Tenant).values(name="lost"))
    with world.ledger.database.read() as tx:
        assert tx.session.execute(select(Tenant.name)).scalar_one() == "default"


def test_writers_queue_and_every_change_gets_its_own_number(world: World) -> None:
    """Reading first and writing then would fail halfway on SQLite, and repeat numbers on PostgreSQL."""
    database = world.ledger.database
    together = threading.Barrier(8)

    def write(_: int) -> list[int]:
        together.wait(timeout=30)
        mine = []
        for _ in range(5):
            with database.begin() as tx:
                tx.session.execute(select(func.count()).select_from(Change)).scalar_one()
                mine.append(changes.next_change(tx, world.tenant_id, changes.STORED))
        return mine

    with database.read() as tx:
        first = changes.current_sequence(tx, world.tenant_id)
    with ThreadPoolExecutor(8) as pool:
        numbers = sorted(n for mine in pool.map(write, range(8)) for n in mine)
    assert numbers == list(range(first + 1, first + 41))


def test_numbers_become_visible_in_their_own_order(new_world: NewWorld, fresh_postgres_database: str) -> None:
    world = new_world(fresh_postgres_database, core_people=1)
    database = world.ledger.database
    with ThreadPoolExecutor(1) as pool:
        with database.begin() as tx:
            first = changes.next_change(tx, world.tenant_id, changes.STORED)

            def second() -> int:
                with database.begin() as other:
                    return changes.next_change(other, world.tenant_id, changes.STORED)

            later = pool.submit(second)
            wait_until(lambda: waiters(database) or later.done(), 10, "the second writer to wait")
            assert not later.done()
        assert later.result(timeout=20) == first + 1


def test_the_log_is_cut_to_nothing_unless_a_reader_holds_it(new_world: NewWorld) -> None:
    world = new_world(core_people=1)
    engine = open_engine(str(world.ledger.database.engine.url))
    event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA busy_timeout = 1"))
    database = Database(engine, world.ledger.database.clock, world.ledger.database.random)
    log = Path(f"{engine.url.database}-wal")
    assert log.stat().st_size > 0
    with database.read() as tx:
        tx.session.execute(select(Job)).all()
        with database.begin() as other:
            other.session.execute(update(Tenant).values(name="renamed"))
        assert not database.checkpoint()
    assert database.checkpoint()
    assert log.stat().st_size == 0
    with database.begin() as tx:  # the connection is as good as before
        tx.session.execute(update(Tenant).values(name="again"))
    engine.dispose()


def test_a_new_database_that_somebody_writes_to_is_waited_for(tmp_path: Path) -> None:
    """Two processes start on an empty directory: one still makes the tables when the other switches the log on."""
    path = tmp_path / "ledger.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("CREATE TABLE begun (x)")
        other.execute("BEGIN IMMEDIATE")
        other.execute("INSERT INTO begun VALUES (1)")
        engine = open_engine(f"sqlite:///{path}")
        with ThreadPoolExecutor(1) as pool:
            opening = pool.submit(lambda: engine.connect().close())
            with pytest.raises(TimeoutError):
                opening.result(timeout=0.3)
            other.execute("COMMIT")
            opening.result(timeout=30)
    engine.dispose()


def test_other_databases_have_no_log_to_cut(new_world: NewWorld, fresh_postgres_database: str) -> None:
    assert new_world(fresh_postgres_database, core_people=1).ledger.database.checkpoint()


def test_a_full_database_is_a_fact_of_its_own(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    upgrade(engine)
    database = Database(engine, lambda: 1, secrets.token_bytes)
    with engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()

    def limit(connection: Any, _record: Any, _proxy: Any) -> None:
        connection.execute(f"PRAGMA max_page_count = {pages}")

    def add() -> None:
        with database.begin() as tx:
            for _ in range(2000):
                tx.session.add(Tenant(id=tx.new_id(), name=tx.new_id(), identifier_key=b"", change_seq=0, created_at=1))

    event.listen(engine, "checkout", limit)
    with pytest.raises(StoreFull, match="Free space"):
        add()
    with database.read() as tx:
        assert tx.session.execute(select(Tenant)).first() is None  # nothing of it was kept
    event.remove(engine, "checkout", limit)
    engine.dispose()
    add()
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA query_only = ON")
        with pytest.raises(DBAPIError) as refused:
            connection.exec_driver_sql("DELETE FROM tenants")
        assert isinstance(storage_fact(refused.value), StoreReadOnly)
    engine.dispose()


def test_a_read_only_postgres_is_a_fact_of_its_own(fresh_postgres_database: str) -> None:
    engine = open_engine(fresh_postgres_database)
    upgrade(engine)
    database = Database(engine, lambda: 1, secrets.token_bytes)

    def run(statement: str) -> None:
        with database.begin() as tx:
            tx.session.execute(text("SET TRANSACTION READ ONLY"))
            tx.session.execute(text(statement))

    with pytest.raises(StoreReadOnly):
        run("DELETE FROM tenants")
    with pytest.raises(DBAPIError) as other:
        run("SELECT 1 / 0")
    assert storage_fact(other.value) is None
    engine.dispose()
