"""The roles of PostgreSQL: what the service may do, and what an auditor may see.

The tables belong to their owner, who migrates them. Triggers keep even the owner from changing what happened by
accident; these roles keep the service and its auditors from lifting the triggers:

- the application reads and writes every table, but may only read and add to append-only ones, and changes no table;
- the auditor reads, and nothing else. Hashes of keys and passwords, sessions and kept answers are of no use to an
  audit, and not shown.

Both are roles without a login. Whoever runs the database makes logins and puts them in: GRANT lacuna_app TO api.
"""

from __future__ import annotations

from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.exc import DBAPIError

from ledger.data_loss import VERSION_TABLE
from ledger.errors import RolesRefused

APP, AUDITOR = "lacuna_app", "lacuna_auditor"
HIDDEN = ("api_keys", "idempotency", "people", "receipts", "sessions")
"""Tables that an auditor does not see."""
_LOCK = 7_203_955_662  # an arbitrary number that all processes that set roles share


def set_roles(engine: Engine, *, app: str = APP, auditor: str = AUDITOR) -> list[str]:
    """Make the roles if they are missing, give them exactly their rights, and return the statements that did it.

    Safe to repeat, and to be repeated after every upgrade: new tables are closed to both until then.
    Raises RolesRefused: no PostgreSQL, or the database's user may not do this; then nothing was changed.
    """
    _require_postgres(engine)
    try:
        with engine.connect() as connection, connection.begin():
            connection.execute(text("SELECT pg_advisory_xact_lock(:n)"), {"n": _LOCK})
            done = statements(connection, app=app, auditor=auditor)
            for statement in done:
                connection.exec_driver_sql(statement)
    except DBAPIError as problem:
        if getattr(problem.orig, "sqlstate", None) != "42501":
            raise
        raise RolesRefused("the database's user lacks the right to do it") from problem
    return done


def plan_roles(engine: Engine, *, app: str = APP, auditor: str = AUDITOR) -> list[str]:
    """Return the statements of `set_roles` without running them. Raises RolesRefused."""
    _require_postgres(engine)
    with engine.connect() as connection:
        return statements(connection, app=app, auditor=auditor)


def statements(connection: Connection, *, app: str, auditor: str) -> list[str]:
    """Return what makes the roles and gives them their rights on the tables that are there now."""
    quote = connection.dialect.identifier_preparer.quote
    database, schema = connection.execute(text("SELECT current_database(), current_schema()")).one()
    names = inspect(connection).get_table_names()
    both, inside = f"{quote(app)}, {quote(auditor)}", f"IN SCHEMA {quote(schema)}"
    made = [_make(role, quote(role)) for role in (app, auditor)]
    closed = [
        f"REVOKE CREATE, TEMPORARY ON DATABASE {quote(database)} FROM PUBLIC, {both}",
        f"REVOKE ALL ON SCHEMA {quote(schema)} FROM PUBLIC, {both}",
        f"REVOKE ALL ON ALL TABLES {inside} FROM PUBLIC, {both}",
        f"REVOKE ALL ON ALL SEQUENCES {inside} FROM PUBLIC, {both}",
    ]
    opened = [
        f"GRANT CONNECT ON DATABASE {quote(database)} TO {both}",
        f"GRANT USAGE ON SCHEMA {quote(schema)} TO {both}",
        f"GRANT USAGE ON ALL SEQUENCES {inside} TO {quote(app)}",
    ]
    kept = append_only(connection)
    for name in sorted(names):
        rights = "SELECT, INSERT, UPDATE, DELETE"
        if name == VERSION_TABLE:
            rights = "SELECT"
        elif name in kept:
            rights = "SELECT, INSERT"
        opened.append(f"GRANT {rights} ON {quote(name)} TO {quote(app)}")
        if name not in HIDDEN:
            opened.append(f"GRANT SELECT ON {quote(name)} TO {quote(auditor)}")
    return [*made, *closed, *opened]


def append_only(connection: Connection) -> set[str]:
    """Return the tables that a trigger keeps from being changed: there the rights end, too."""
    query = (
        "SELECT c.relname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid "
        "JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = current_schema() AND t.tgname = c.relname || '_append_only'"
    )
    return set(connection.execute(text(query)).scalars())


def _make(role: str, quoted: str) -> str:
    literal = role.replace("'", "''")
    return (
        f"DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{literal}') "
        f"THEN CREATE ROLE {quoted} NOLOGIN; END IF; END $$"
    )


def _require_postgres(engine: Engine) -> None:
    if engine.dialect.name != "postgresql":
        raise RolesRefused("SQLite has no roles; its one file is guarded by the permissions of the data directory")
