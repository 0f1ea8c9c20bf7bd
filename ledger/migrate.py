"""Bringing the database's tables up to date, and checking that they are."""

from __future__ import annotations

from importlib.resources import files

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.script.revision import RevisionError
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, text

from ledger import data_loss
from ledger.errors import DowngradeRefused, MigrationNeeded
from ledger.tables import Base

_LOCK = 7_203_955_661  # an arbitrary number that all migrating processes share


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(files("migrations")))
    config.attributes["connection"] = connection
    return config


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Apply every missing migration. Safe to run from several processes at once."""
    with engine.connect().execution_options(lacuna_write=True) as connection, connection.begin():
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:n)"), {"n": _LOCK})
        command.upgrade(_config(connection), revision)


def downgrade(engine: Engine, revision: str) -> None:
    """Undo migrations down to `revision` ("base" undoes all of them), or nothing at all.

    Raises DowngradeRefused: something would be lost with a table or a column, or older programs would misread what
    stays.
    """
    with engine.connect().execution_options(lacuna_write=True) as connection, connection.begin():
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:n)"), {"n": _LOCK})
        before = data_loss.contents(connection)
        try:
            rebuilt = _rebuilt(MigrationContext.configure(connection).get_current_revision(), revision)
            command.downgrade(_config(connection), revision)
        except (CommandError, RevisionError) as problem:
            raise DowngradeRefused([f"no migrations lead from where it stands down to {revision!r}"]) from problem
        except RuntimeError as problem:  # how a migration says no
            raise DowngradeRefused([str(problem)]) from problem
        if lost := data_loss.losses(before, connection, rebuilt=rebuilt):
            raise DowngradeRefused([f"it would lose {', '.join(lost)}"])


def _rebuilt(current: str | None, revision: str) -> set[str]:
    """Return the tables that the migrations between these two fill from others when they are applied."""
    scripts = ScriptDirectory.from_config(_config()).iterate_revisions(current or "base", revision)
    return {table for script in scripts for table in getattr(script.module, "REBUILT", ())}


def require_current(engine: Engine) -> None:
    """Raise MigrationNeeded unless the database stands at this program's newest migration."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    with engine.connect() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
    if current != head:
        raise MigrationNeeded(current, head)


def differences(engine: Engine) -> list[object]:
    """List what the tables in `ledger.tables` and the database have apart; empty when they agree."""
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        return list(compare_metadata(context, Base.metadata))
