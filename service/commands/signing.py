"""`lacuna signing-keys`: the keys that certificates and checkpoints are signed with, directly in the database."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.table import Table

from ledger import key_rotation
from ledger import signing_keys as keys
from ledger.log.sequencer import sequence
from service.commands.beside import beside_service
from service.commands.common import USAGE, AsJson, DataDir, SettingsFile, err, out, print_json
from service.key_lists import described, revocation_list

signing_keys = typer.Typer(
    no_args_is_help=True, help="List, rotate and revoke the keys that sign certificates and the log."
)

Reason = enum.StrEnum("Reason", {reason: reason for reason in keys.REASONS})  # type: ignore[misc]  # from one list


@signing_keys.command("list")
def listed(data_dir: DataDir = None, settings: SettingsFile = None, as_json: AsJson = False) -> None:
    """List every key that signs or ever signed. With --json: the file that `lacuna verify` takes as --key.

    Example: lacuna signing-keys list --json > service-keys.json
    """
    with beside_service(data_dir, settings) as ledger, ledger.database.read() as tx:
        found = [described(key) for key in keys.known(tx, ledger.ring)]
    if as_json:
        print_json({"items": found})
        return
    table = Table(box=None, header_style="dim")
    for column in ("key", "state", "from", "to", "not trusted after", "reason"):
        table.add_column(column, no_wrap=column == "key")
    for key in found:
        times = ((key.get(name) or "")[:16].replace("T", " ") for name in ("activated_at", "retired_at", "not_after"))
        table.add_row(key["key_id"], key["state"], *times, key.get("reason") or "")
    out.print(table)


@signing_keys.command("rotate")
def rotate(
    announce: Annotated[
        bool, typer.Option("--announce", help="Only announce the new key: both sign checkpoints until you rotate.")
    ] = False,
    lost: Annotated[
        bool, typer.Option("--lost", help="The active key's file is gone: the new key vouches for itself alone.")
    ] = False,
    data_dir: DataDir = None,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Let a new key sign, announced in the log by both, and destroy the old one's private half.

    Servers and workers need no restart. If it was interrupted, run it again: it goes on where it stopped.

    Example: lacuna signing-keys rotate
    """
    if announce and lost:
        raise typer.BadParameter("a lost key cannot announce another; leave --announce out.")
    with beside_service(data_dir, settings) as ledger:
        done = key_rotation.rotate(ledger, only_announce=announce, old_is_lost=lost)
        with ledger.database.read() as tx:
            shown = described(keys.get(tx, ledger.ring, done.key_id))
    if as_json:
        print_json(shown)
    elif done.announced:
        out.print(f"{done.key_id} is announced. Checkpoints carry both signatures until you rotate again.")
    else:
        out.print(f"{done.key_id} signs now. Give its public half to whoever verifies; back the key directory up.")


@signing_keys.command("revoke")
def revoke(
    key: Annotated[str, typer.Argument(metavar="KEY", help="Id of a key that signs no more.")],
    reason: Annotated[Reason, typer.Option(help="Why, as a code: nothing about anybody is written down.")],
    not_after: Annotated[
        str | None, typer.Option(help="From when on it is not to be trusted, 2026-01-31T12:00:00Z. Default: now.")
    ] = None,
    data_dir: DataDir = None,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Say from when on a key is not to be trusted. It becomes an event in the log; nothing takes it back.

    Example: lacuna signing-keys revoke 0123456789abcdef --reason key_compromise --not-after 2026-01-31T12:00:00Z
    """
    until = None if not_after is None else _micros(not_after)
    with beside_service(data_dir, settings) as ledger:
        with ledger.database.begin() as tx:
            keys.revoke(tx, ledger.ring, key, reason=reason.value, not_after=until)
            shown = described(keys.get(tx, ledger.ring, key))
        key_rotation.destroy_retired(ledger)
        sequence(ledger.database, ledger.ring)
    if as_json:
        print_json(shown)
    else:
        out.print(f"{key} counts for nothing after {shown['not_after']}. Publish `lacuna signing-keys revocations`.")


@signing_keys.command("revocations")
def revocations(data_dir: DataDir = None, settings: SettingsFile = None) -> None:
    """Print the list of revoked keys, which `lacuna verify certificate` takes as --revocations.

    Example: lacuna signing-keys revocations > revocations.json
    """
    with beside_service(data_dir, settings) as ledger, ledger.database.read() as tx:
        found: dict[str, Any] = revocation_list(tx)
    print_json(found)


def _micros(text: str) -> int:
    """Return a time with its zone as UTC microseconds."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        err.print("Error: --not-after is a time with its zone, such as 2026-01-31T12:00:00Z.", style="red")
        raise typer.Exit(USAGE)
    return int(moment.timestamp()) * 1_000_000 + moment.microsecond
