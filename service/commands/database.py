"""`lacuna db` and `lacuna key`: what works on the database itself, beside the service."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import select

from ledger.ledger import Ledger, open_ledger
from ledger.migrate import differences, require_current, upgrade
from ledger.tables import Tenant
from ledger.tenants import SCOPES, create_key, create_tenant
from service.commands.common import (
    NOT_AS_HOPED,
    USAGE,
    AsJson,
    DataDir,
    SettingsFile,
    err,
    load_settings,
    out,
    print_json,
)
from service.first_start import FIRST_TENANT, utc_microseconds

db = typer.Typer(no_args_is_help=True, help="Bring the database up to date, or check it.")
key = typer.Typer(no_args_is_help=True, help="Make API keys, directly in the database.")


@contextmanager
def _ledger(data_dir: Path | None, settings: Path | None) -> Iterator[Ledger]:
    ledger = open_ledger(load_settings(data_dir, settings), clock=utc_microseconds, random=os.urandom)
    try:
        yield ledger
    finally:
        ledger.database.engine.dispose()


@db.command("upgrade")
def upgrade_database(data_dir: DataDir = None, settings: SettingsFile = None) -> None:
    """Apply every missing migration. Safe to repeat, and to run from several machines at once.

    Example: lacuna db upgrade --settings /etc/lacuna.env
    """
    with _ledger(data_dir, settings) as ledger:
        upgrade(ledger.database.engine)
        require_current(ledger.database.engine)
    out.print("The database is up to date.")


@db.command("check")
def check_database(data_dir: DataDir = None, settings: SettingsFile = None) -> None:
    """Say whether the database's tables are those of this program. Ends with 1 if columns differ.

    Example: lacuna db check
    """
    with _ledger(data_dir, settings) as ledger:
        require_current(ledger.database.engine)
        found = differences(ledger.database.engine)
    for difference in found:
        err.print(str(difference), markup=False)
    if found:
        raise typer.Exit(NOT_AS_HOPED)
    out.print("The database is up to date, and its tables are those of this program.")


@key.command("create")
def create(
    label: Annotated[str, typer.Option(help="What the key is for; shown in lists.")],
    scope: Annotated[list[str] | None, typer.Option(help=f"May be repeated: {', '.join(SCOPES)}.")] = None,
    tenant: Annotated[str, typer.Option(help="Whose key; a new name makes a new tenant.")] = FIRST_TENANT,
    data_dir: DataDir = None,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Make an API key and print it, this once.

    Example: lacuna key create --label auditor --scope audit:read
    """
    scopes = tuple(dict.fromkeys(scope or ()))
    wrong = [name for name in scopes if name not in SCOPES]
    if wrong or not scopes:
        err.print(f"Give --scope at least once; the scopes are {', '.join(SCOPES)}.", style="red")
        raise typer.Exit(USAGE)
    with _ledger(data_dir, settings) as ledger:
        require_current(ledger.database.engine)
        with ledger.database.begin() as tx:
            owner = tx.session.execute(select(Tenant).where(Tenant.name == tenant)).scalar_one_or_none()
            owner = owner or create_tenant(tx, ledger.ring, tenant)
            secret = create_key(tx, owner.id, label, scopes)
    if as_json:
        print_json({"key": secret, "label": label, "scopes": list(scopes), "tenant": tenant})
    else:
        out.print("The key, shown this once:")
        out.print(f"  [bold]{secret}[/]", soft_wrap=True)
