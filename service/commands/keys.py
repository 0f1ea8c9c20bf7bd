"""`lacuna key`: API keys, made and revoked directly in the database, beside the service."""

from __future__ import annotations

import math
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table
from sqlalchemy import select

from ledger import api_keys, catalog, generations, leakage
from ledger.tables import ApiKey, Tenant
from ledger.tenants import SCOPES, create_tenant
from service.commands.beside import TenantName, beside_service, tenant_named
from service.commands.common import USAGE, AsJson, DataDir, SettingsFile, err, out, print_json
from service.first_start import FIRST_TENANT
from service.moments import rfc3339

key = typer.Typer(no_args_is_help=True, help="Make, list, rotate and revoke API keys, directly in the database.")

DAY_US = 86_400_000_000
Outputs = Annotated[str, typer.Option(help="How predictions are answered: probabilities, rounded or label.")]
Digits = Annotated[int | None, typer.Option(min=1, max=6, help="Of rounded ones: how many behind the point. [2]")]
KeyId = Annotated[str, typer.Argument(metavar="KEY", help="Id of a key, from `lacuna key list`; not the key itself.")]


def _shown(row: ApiKey, now: int) -> dict[str, Any]:
    return {
        "id": row.id,
        "label": row.label,
        "scopes": row.scopes,
        "state": api_keys.state(row, now),
        "expires_at": rfc3339(row.expires_at),
        "last_used_at": rfc3339(row.last_used_at),
        "outputs": api_keys.outputs_of(row).mode,
        "digits": row.digits,
    }


def _print_made(secret: str, row: ApiKey, tenant: str, as_json: bool) -> None:
    if as_json:
        print_json({"key": secret, "id": row.id, "label": row.label, "scopes": row.scopes, "tenant": tenant})
    else:
        out.print("The key, shown this once:")
        out.print(f"  [bold]{secret}[/]", soft_wrap=True)


@key.command("create")
def create(
    label: Annotated[str, typer.Option(help="What the key is for; shown in lists.")],
    scope: Annotated[list[str] | None, typer.Option(help=f"May be repeated: {', '.join(SCOPES)}.")] = None,
    tenant: Annotated[str, typer.Option(help="Whose key; a new name makes a new tenant.")] = FIRST_TENANT,
    expires_in_days: Annotated[
        int | None, typer.Option(min=1, max=3660, help="When it ends. Default: only when it is revoked.")
    ] = None,
    outputs: Outputs = api_keys.PROBABILITIES,
    digits: Digits = None,
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
    answered = api_keys.chosen(outputs, digits)
    with beside_service(data_dir, settings) as ledger, ledger.database.begin() as tx:
        owner = tx.session.execute(select(Tenant).where(Tenant.name == tenant)).scalar_one_or_none()
        owner = owner or create_tenant(tx, ledger.ring, tenant)
        expires_at = None if expires_in_days is None else tx.now + expires_in_days * DAY_US
        row, secret = api_keys.create(tx, owner.id, label, scopes, expires_at=expires_at, outputs=answered)
    _print_made(secret, row, tenant, as_json)


@key.command("list")
def list_all(
    tenant: TenantName = FIRST_TENANT, data_dir: DataDir = None, settings: SettingsFile = None, as_json: AsJson = False
) -> None:
    """Show a tenant's keys, oldest first, without the keys themselves.

    Example: lacuna key list
    """
    with beside_service(data_dir, settings) as ledger, ledger.database.read() as tx:
        found = [_shown(row, tx.now) for row in api_keys.list_all(tx, tenant_named(tx, tenant).id)]
    if as_json:
        print_json({"keys": found})
        return
    table = Table(box=None, header_style="dim")
    for column in ("id", "label", "state", "scopes", "outputs", "expires", "last used"):
        table.add_column(column)
    for one in found:
        times = (one["expires_at"] or "never", one["last_used_at"] or "never")
        table.add_row(one["id"], escape(one["label"]), one["state"], " ".join(one["scopes"]), one["outputs"], *times)
    out.print(table)


@key.command("change")
def change(
    key_id: KeyId,
    outputs: Outputs,
    digits: Digits = None,
    tenant: TenantName = FIRST_TENANT,
    data_dir: DataDir = None,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Change how a key's predictions are answered; running servers follow within a second.

    Example: lacuna key change 4f0c... --outputs rounded --digits 2
    """
    answered = api_keys.chosen(outputs, digits)
    with beside_service(data_dir, settings) as ledger, ledger.database.begin() as tx:
        shown = _shown(api_keys.change_outputs(tx, tenant_named(tx, tenant).id, key_id, answered), tx.now)
    if as_json:
        print_json(shown)
    else:
        out.print(f"The key {escape(repr(shown['label']))} is answered with: {shown['outputs']}.", soft_wrap=True)


@key.command("budget")
def budget(
    key_id: KeyId,
    model_id: Annotated[str, typer.Argument(metavar="MODEL", help="Id of a model.")],
    nats: Annotated[
        float | None, typer.Option(min=0, help="The most it may learn of any forgotten cohort. Default: any number.")
    ] = None,
    then: Annotated[str, typer.Option(help="What becomes of answers beyond it: warn, coarsen or refuse.")] = "warn",
    tenant: TenantName = FIRST_TENANT,
    data_dir: DataDir = None,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Say how many nats a key may learn of what a model has forgotten; without --nats any number.

    Example: lacuna key budget 4f0c... 9a1b... --nats 0.5 --then refuse
    """
    if then not in leakage.ACTIONS or (nats is not None and not math.isfinite(nats)):
        err.print(f"Give a finite number, and --then as one of {', '.join(leakage.ACTIONS)}.", style="red")
        raise typer.Exit(USAGE)
    with beside_service(data_dir, settings) as ledger, ledger.database.begin() as tx:
        owner = tenant_named(tx, tenant).id
        client_id = api_keys.client_of(api_keys.get(tx, owner, key_id))
        line_id = generations.of(tx, catalog.get_model(tx, owner, model_id).id).line_id
        if nats is None:
            leakage.drop_budget(tx, client_id, line_id)
        else:
            leakage.set_budget(tx, owner, client_id, line_id, nats, then)
    if as_json:
        print_json({"client": client_id, "model": line_id, "nats": nats, "then": None if nats is None else then})
    else:
        out.print("Any number of nats." if nats is None else f"At most {nats:g} nats, then: {then}.", soft_wrap=True)


@key.command("rotate")
def rotate(
    key_id: KeyId,
    overlap_hours: Annotated[float, typer.Option(min=0, max=720, help="How long the old key still opens.")] = 24.0,
    tenant: TenantName = FIRST_TENANT,
    data_dir: DataDir = None,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Make a key like another one, print it this once, and let the old one end after the overlap.

    Example: lacuna key rotate 4f0c... --overlap-hours 1
    """
    with beside_service(data_dir, settings) as ledger, ledger.database.begin() as tx:
        overlap_us = round(overlap_hours * 3600e6)
        row, secret = api_keys.rotate(tx, tenant_named(tx, tenant).id, key_id, overlap_us=overlap_us)
    _print_made(secret, row, tenant, as_json)


@key.command("revoke")
def revoke(
    key_id: KeyId,
    tenant: TenantName = FIRST_TENANT,
    data_dir: DataDir = None,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Let a key open nothing from now on.

    Example: lacuna key revoke 4f0c...
    """
    with beside_service(data_dir, settings) as ledger, ledger.database.begin() as tx:
        shown = _shown(api_keys.revoke(tx, tenant_named(tx, tenant).id, key_id), tx.now)
    if as_json:
        print_json(shown)
    else:
        out.print(f"The key {escape(repr(shown['label']))} is revoked.", soft_wrap=True)
