"""`lacuna people`: who may sign in to the dashboard, kept directly in the database, beside the service."""

from __future__ import annotations

import getpass
import sys
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from ledger import people
from ledger.database import Transaction
from ledger.errors import NotFound
from ledger.passwords import Passwords
from ledger.tables import Person
from service.commands.beside import TenantName, beside_service, tenant_named
from service.commands.common import USAGE, AsJson, DataDir, SettingsFile, err, out, print_json
from service.first_start import FIRST_TENANT
from service.moments import rfc3339

people_commands = typer.Typer(no_args_is_help=True, help="Let people sign in to the dashboard.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="The name that the person signs in with.")]


@people_commands.command("add")
def add(
    name: Name,
    role: Annotated[str, typer.Option(help="admin changes things, auditor only looks.")] = people.AUDITOR,
    tenant: TenantName = FIRST_TENANT,
    data_dir: DataDir = None,
    settings: SettingsFile = None,
) -> None:
    """Let a person sign in. The password is asked for, or read from the first line of the standard input.

    Example: lacuna people add olga --role admin
    """
    if role not in people.ROLES:
        err.print(f"The roles are {', '.join(people.ROLES)}.", style="red")
        raise typer.Exit(USAGE)
    hashed = Passwords().hash(read_password())
    with beside_service(data_dir, settings) as ledger, ledger.database.begin() as tx:
        person = people.add(tx, tenant_named(tx, tenant).id, name, role, hashed)
        out.print(f"{escape(repr(person.name))} may sign in as {role}; the log says {person.id}.", soft_wrap=True)


@people_commands.command("list")
def list_all(
    tenant: TenantName = FIRST_TENANT, data_dir: DataDir = None, settings: SettingsFile = None, as_json: AsJson = False
) -> None:
    """Show who may sign in, and by which random id the log names them.

    Example: lacuna people list
    """
    with beside_service(data_dir, settings) as ledger, ledger.database.read() as tx:
        found = [_shown(person) for person in people.list_all(tx, tenant_named(tx, tenant).id)]
    if as_json:
        print_json({"people": found})
        return
    table = Table(box=None, header_style="dim")
    for column in ("name", "role", "state", "in the log as"):
        table.add_column(column)
    for one in found:
        table.add_row(escape(one["name"]), one["role"], one["state"], one["id"])
    out.print(table)


@people_commands.command("disable")
def disable(
    name: Name, tenant: TenantName = FIRST_TENANT, data_dir: DataDir = None, settings: SettingsFile = None
) -> None:
    """Let a person in no more and end their sessions at once. A new password lets them in again.

    Example: lacuna people disable olga
    """
    with beside_service(data_dir, settings) as ledger, ledger.database.begin() as tx:
        people.disable(tx, _named(tx, tenant, name))
    out.print(f"{escape(repr(name))} may sign in no more.", soft_wrap=True)


@people_commands.command("password")
def password(
    name: Name, tenant: TenantName = FIRST_TENANT, data_dir: DataDir = None, settings: SettingsFile = None
) -> None:
    """Give a person another password and end their sessions.

    Example: lacuna people password olga
    """
    hashed = Passwords().hash(read_password())
    with beside_service(data_dir, settings) as ledger, ledger.database.begin() as tx:
        people.set_password(tx, _named(tx, tenant, name), hashed)
    out.print(f"{escape(repr(name))} signs in with the new password from now on.", soft_wrap=True)


def read_password() -> str:
    """Ask twice at a terminal; elsewhere read one line. An argument would be seen by everybody on the machine."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    first = getpass.getpass("Password: ")
    if getpass.getpass("Again: ") != first:
        err.print("The two are not the same. Nothing was changed.", style="red")
        raise typer.Exit(USAGE)
    return first


def _named(tx: Transaction, tenant: str, name: str) -> Person:
    person = people.find(tx, name)
    if person is None or person.tenant_id != tenant_named(tx, tenant).id:
        raise NotFound("person", name)
    return person


def _shown(person: Person) -> dict[str, Any]:
    return {
        "id": person.id,
        "name": person.name,
        "role": person.role,
        "state": "active" if person.disabled_at is None else "disabled",
        "created_at": rfc3339(person.created_at),
    }
