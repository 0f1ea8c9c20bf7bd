"""`lacuna follow` and `lacuna webhook`: being told what happens."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from service.commands.common import AsJson, DataDir, Key, Url, connect, out, print_json

webhook = typer.Typer(no_args_is_help=True, help="Have your own systems told what happens, by signed messages.")
WebhookId = Annotated[str, typer.Argument(metavar="WEBHOOK", help="Id of a webhook.")]


def follow(
    request: Annotated[str | None, typer.Argument(help="Id of a forget request; without it, everything.")] = None,
    after: Annotated[str | None, typer.Option(help="Go on behind the event of this id.")] = None,
    url: Url = None,
    key: Key = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Print what happens as it happens: to one forget request, until it ends, or to everything.

    Example: lacuna follow 4f0c...
    """
    with connect(url, key, data_dir) as client:
        for event in client.follow(request, after=after):
            if as_json:
                told = {"id": event.id, "type": event.type, "timestamp": event.timestamp, "data": event.data}
                typer.echo(json.dumps(told))
            else:
                about = " ".join(f"{name}={value}" for name, value in event.data.items())
                out.print(f"{event.timestamp}  {event.type:20} {escape(about)}", soft_wrap=True)


@webhook.command("add")
def add(
    target: Annotated[str, typer.Argument(metavar="ADDRESS", help="https://...")],
    label: Annotated[str, typer.Option(help="What it is for.")],
    event: Annotated[list[str] | None, typer.Option(help="A type of event; may be repeated. None: all.")] = None,
    url: Url = None,
    key: Key = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Register an address. Its secret, with which it can tell our messages from others', is printed this once.

    Example: lacuna webhook add https://hooks.example.org/lacuna --label "privacy desk" --event request.completed
    """
    with connect(url, key, data_dir) as client:
        made = client.webhooks.create(target, label, events=event or ())
    if as_json:
        print_json(made)
        return
    out.print(f"Webhook {made['id']} is registered. Its secret, shown this once:\n{made['secret']}", soft_wrap=True)
    out.print(f"Try it with: lacuna webhook ping {made['id']}", soft_wrap=True)


@webhook.command("list")
def list_all(url: Url = None, key: Key = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show the registered addresses and whether they answer.

    Example: lacuna webhook list
    """
    with connect(url, key, data_dir) as client:
        found = client.webhooks.list_all()
    if as_json:
        print_json({"webhooks": found})
        return
    table = Table(box=None, header_style="dim")
    for column in ("webhook", "label", "state", "failing since"):
        table.add_column(column)
    for one in found:
        state = one["state"] if one["why"] is None else f"{one['state']} ({one['why']})"
        table.add_row(one["id"], escape(one["label"]), state, one["failing_since"] or "")
    out.print(table if found else "No webhooks.")


@webhook.command("ping")
def ping(
    webhook_id: WebhookId, url: Url = None, key: Key = None, data_dir: DataDir = None, as_json: AsJson = False
) -> None:
    """Have a test message sent.

    Example: lacuna webhook ping 4f0c...
    """
    with connect(url, key, data_dir) as client:
        owed = client.webhooks.ping(webhook_id)
    if as_json:
        print_json(owed)
    else:
        out.print(f"Message {owed['id']} is on its way: lacuna webhook deliveries {webhook_id}", soft_wrap=True)


@webhook.command("deliveries")
def deliveries(
    webhook_id: WebhookId, url: Url = None, key: Key = None, data_dir: DataDir = None, as_json: AsJson = False
) -> None:
    """Show what an address was sent and is owed, newest first.

    Example: lacuna webhook deliveries 4f0c...
    """
    with connect(url, key, data_dir) as client:
        found = client.webhooks.deliveries(webhook_id)
    if as_json:
        print_json({"deliveries": found})
        return
    table = Table(box=None, header_style="dim")
    for column in ("message", "type", "state", "attempts", "last answer"):
        table.add_column(column)
    for one in found:
        last = one["last_error"] or ("" if one["last_status"] is None else str(one["last_status"]))
        table.add_row(one["id"], one["type"], one["state"], str(one["attempts"]), last)
    out.print(table if found else "Nothing was sent.")


@webhook.command("replay")
def replay(
    webhook_id: WebhookId,
    since: Annotated[str, typer.Option(help="A time as 2026-11-01T00:00:00Z.")],
    url: Url = None,
    key: Key = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Send again what has failed since a moment.

    Example: lacuna webhook replay 4f0c... --since 2026-11-01T00:00:00Z
    """
    with connect(url, key, data_dir) as client:
        count = client.webhooks.replay_since(webhook_id, since)
    if as_json:
        print_json({"replayed": count})
    else:
        out.print(f"{count} messages are sent again.")


@webhook.command("remove")
def remove(
    webhook_id: WebhookId, url: Url = None, key: Key = None, data_dir: DataDir = None, as_json: AsJson = False
) -> None:
    """Send nothing more to an address, and forget what it was sent.

    Example: lacuna webhook remove 4f0c...
    """
    with connect(url, key, data_dir) as client:
        client.webhooks.delete(webhook_id)
    if as_json:
        print_json({"removed": webhook_id})
    else:
        out.print("The webhook is removed.")
