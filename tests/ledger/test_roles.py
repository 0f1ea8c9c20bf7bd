"""The roles on a real PostgreSQL: whoever logs in with one of them can do its work and no more."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from sqlalchemy import Engine, make_url, text
from sqlalchemy.exc import DBAPIError
from support.postgres import admin_connection
from support.world import NewWorld, person

from ledger.database import open_engine
from ledger.errors import RolesRefused
from ledger.migrate import upgrade
from ledger.roles import append_only, plan_roles, set_roles
from ledger.tables import Base

APPEND_ONLY = {"events", "leaves", "log_nodes", "log_checkpoints"}


@dataclass(frozen=True)
class Roles:
    """Roles of one test, since a server has one set of roles for all its databases; and who may log in with them."""

    owner: Engine
    app: str
    auditor: str
    urls: dict[str, str]

    def set(self) -> list[str]:
        return set_roles(self.owner, app=self.app, auditor=self.auditor)


@pytest.fixture
def roles(fresh_postgres_database: str) -> Iterator[Roles]:
    owner = open_engine(fresh_postgres_database)
    upgrade(owner)
    mark = secrets.token_hex(4)
    app, auditor = f"lacuna_app_{mark}", f"lacuna_auditor_{mark}"
    set_roles(owner, app=app, auditor=auditor)
    urls = {}
    with admin_connection(fresh_postgres_database) as admin:
        for role in (app, auditor):
            password = secrets.token_hex(16)
            admin.execute(f"CREATE ROLE {role}_login LOGIN PASSWORD '{password}' IN ROLE {role}")
            url = make_url(fresh_postgres_database).set(username=f"{role}_login", password=password)
            urls[role] = url.render_as_string(hide_password=False)
    yield Roles(owner, app, auditor, urls)
    owner.dispose()
    with admin_connection(fresh_postgres_database) as admin:
        for role in (f"{app}_login", f"{auditor}_login", app, auditor):
            admin.execute(f"DROP OWNED BY {role} CASCADE")
            admin.execute(f"DROP ROLE {role}")


def state_after(url: str, statement: str) -> str | None:
    """Run a statement in a transaction that is rolled back; return the SQLSTATE of the refusal, None if it ran."""
    engine = open_engine(url)
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql(statement)
    except DBAPIError as problem:
        return str(getattr(problem.orig, "sqlstate", "none"))
    finally:
        engine.dispose()
    return None


def test_the_application_does_all_its_work_in_its_role(roles: Roles, new_world: NewWorld) -> None:
    world = new_world(roles.urls[roles.app], core_people=4)
    world.upload(*(person(name) for name in "abc"))
    world.register()
    world.work()
    world.hold("c")
    request = world.forget("a")
    world.work()
    assert world.request(request).state == "completed"


@pytest.mark.parametrize("who", ["app", "auditor"])
def test_what_happened_cannot_be_changed_nor_the_triggers_lifted(roles: Roles, who: str) -> None:
    url = roles.urls[getattr(roles, who)]
    with roles.owner.connect() as connection:
        tables = append_only(connection)
    assert tables == APPEND_ONLY
    for table in tables:
        column = next(iter(Base.metadata.tables[table].columns)).name
        for statement in (
            f"UPDATE {table} SET {column} = {column}",
            f"DELETE FROM {table}",
            f"TRUNCATE {table} CASCADE",
            f"ALTER TABLE {table} DISABLE TRIGGER ALL",
            f"DROP TRIGGER {table}_append_only ON {table}",
            f"DROP TABLE {table} CASCADE",
            f"CREATE OR REPLACE FUNCTION {table}_append_only() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RETURN NULL; END $$",
        ):
            assert state_after(url, statement) == "42501", statement  # no right to, before any trigger is asked


def test_an_auditor_reads_and_does_nothing_else(roles: Roles) -> None:
    url = roles.urls[roles.auditor]
    for name, table in Base.metadata.tables.items():
        column = next(iter(table.columns)).name
        hidden = name in ("api_keys", "idempotency", "people", "receipts", "sessions")
        assert state_after(url, f"SELECT * FROM {name}") == ("42501" if hidden else None), name
        for statement in (
            f"INSERT INTO {name} SELECT * FROM {name}",
            f"UPDATE {name} SET {column} = {column}",
            f"DELETE FROM {name}",
            f"SELECT {column} FROM {name} FOR UPDATE",
            f"LOCK TABLE {name} IN EXCLUSIVE MODE",
        ):
            assert state_after(url, statement) == "42501", statement
    for statement in (
        "CREATE TABLE t (x int)",
        "CREATE TEMPORARY TABLE t (x int)",
        "SELECT nextval('events_id_seq')",
        "UPDATE alembic_version SET version_num = 'x'",
    ):
        assert state_after(url, statement) == "42501", statement
    assert state_after(url, "SELECT version_num FROM alembic_version") is None


def test_the_application_cannot_change_tables(roles: Roles) -> None:
    for statement in (
        "CREATE TABLE t (x int)",
        "ALTER TABLE models ADD COLUMN x int",
        "DROP TABLE models CASCADE",
        "TRUNCATE models CASCADE",
        "UPDATE alembic_version SET version_num = 'x'",
    ):
        assert state_after(roles.urls[roles.app], statement) == "42501", statement
    assert state_after(roles.urls[roles.app], "DELETE FROM models") is None


def test_setting_them_again_takes_back_what_was_added_by_hand(roles: Roles) -> None:
    with roles.owner.begin() as connection:
        connection.execute(text(f"GRANT ALL ON events TO {roles.auditor}"))
    assert state_after(roles.urls[roles.auditor], "INSERT INTO events SELECT * FROM events") is None
    first = roles.set()
    assert first == roles.set() == plan_roles(roles.owner, app=roles.app, auditor=roles.auditor)
    assert state_after(roles.urls[roles.auditor], "INSERT INTO events SELECT * FROM events") == "42501"


def test_a_new_table_is_closed_until_they_are_set_again(roles: Roles) -> None:
    with roles.owner.begin() as connection:
        connection.execute(text("CREATE TABLE later (x int)"))
    assert state_after(roles.urls[roles.app], "SELECT * FROM later") == "42501"
    roles.set()
    assert state_after(roles.urls[roles.app], "DELETE FROM later") is None
    assert state_after(roles.urls[roles.auditor], "SELECT * FROM later") is None


def test_whoever_may_not_is_told_so(roles: Roles, new_world: NewWorld) -> None:
    for url in roles.urls.values():
        engine = open_engine(url)
        with pytest.raises(RolesRefused, match="lacks the right"):
            set_roles(engine, app=f"{roles.app}_other", auditor=roles.auditor)
        engine.dispose()
    with pytest.raises(RolesRefused, match="SQLite"):
        set_roles(new_world(core_people=1).ledger.database.engine)
