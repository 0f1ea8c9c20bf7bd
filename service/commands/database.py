"""`lacuna db`: what works on the database itself, beside the service."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import Engine

from ledger.database import open_engine
from ledger.migrate import differences, downgrade, require_current, upgrade
from ledger.roles import APP, AUDITOR, plan_roles, set_roles
from service.commands.common import (
    NOT_AS_HOPED,
    DataDir,
    SettingsFile,
    err,
    load_settings,
    out,
)

db = typer.Typer(no_args_is_help=True, help="Bring the database up to date, or check it.")


@contextmanager
def _engine(data_dir: Path | None, settings: Path | None) -> Iterator[Engine]:
    """Open the database alone: whoever owns its tables needs neither the keys nor the objects."""
    loaded = load_settings(data_dir, settings)
    if loaded.is_embedded:
        Path(loaded.data_dir).mkdir(parents=True, exist_ok=True, mode=0o700)
    engine = open_engine(loaded.resolved_database_url())
    try:
        yield engine
    finally:
        engine.dispose()


@db.command("upgrade")
def upgrade_database(data_dir: DataDir = None, settings: SettingsFile = None) -> None:
    """Apply every missing migration. Safe to repeat, and to run from several machines at once.

    Example: lacuna db upgrade --settings /etc/lacuna.env
    """
    with _engine(data_dir, settings) as engine:
        upgrade(engine)
        require_current(engine)
    out.print("The database is up to date.")


@db.command("downgrade")
def downgrade_database(
    revision: Annotated[str, typer.Argument(help="The migration to go back to, for example 0006.")],
    data_dir: DataDir = None,
    settings: SettingsFile = None,
) -> None:
    """Undo migrations, for an older program. Refused if anything stored would be lost; then nothing is changed.

    Example: lacuna db downgrade 0006
    """
    with _engine(data_dir, settings) as engine:
        downgrade(engine, revision)
    out.print(f"The database stands at migration {revision}.", markup=False)


@db.command("check")
def check_database(data_dir: DataDir = None, settings: SettingsFile = None) -> None:
    """Say whether the database's tables are those of this program. Ends with 1 if columns differ.

    Example: lacuna db check
    """
    with _engine(data_dir, settings) as engine:
        require_current(engine)
        found = differences(engine)
    for difference in found:
        err.print(str(difference), markup=False)
    if found:
        raise typer.Exit(NOT_AS_HOPED)
    out.print("The database is up to date, and its tables are those of this program.")


@db.command("roles")
def set_database_roles(
    only_print: Annotated[
        bool, typer.Option("--print", help="Change nothing; print the statements for an administrator.")
    ] = False,
    data_dir: DataDir = None,
    settings: SettingsFile = None,
) -> None:
    """Make PostgreSQL's roles lacuna_app and lacuna_auditor and give them their rights. Repeat after every upgrade.

    Example: lacuna db roles --print
    """
    with _engine(data_dir, settings) as engine:
        if only_print:
            for statement in plan_roles(engine):
                typer.echo(f"{statement};")
            return
        require_current(engine)
        set_roles(engine)
    out.print(f"{APP} and {AUDITOR} have their rights. Put logins into them: GRANT {APP} TO ...", markup=False)
