"""How requests, models and certificates look in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from service.client import Json

STATE_STYLE = {"completed": "green", "failed": "bold red", "cancelled": "dim"}


def request(console: Console, found: Json) -> None:
    """Print one forget request, a fact per line."""
    rows: list[tuple[str, Any]] = [
        ("Request", found["id"]),
        ("State", state(found)),
        ("Records", found["records"] if found["records"] is not None else "not counted yet"),
        ("Received", found["received_at"]),
        ("Due", due(found)),
    ]
    if found["completed_at"]:
        rows.append(("Completed", found["completed_at"]))
    if found["held"]:
        rows.append(("Kept by holds", f"{found['held']} records"))
    for name, label in (("follows", "Follows"), ("followed_by", "Followed by")):
        if found[name]:
            rows.append((label, f"lacuna status {found[name]}"))
    for covered in found["models"]:
        version = covered["version"]
        rows.append(("Model", f"{covered['model']}: " + (f"version {version}" if version else "not through yet")))
    if found["certificate_url"]:
        rows.append(("Certificate", f"lacuna certificate {found['id']}"))
    if found["error"]:
        rows.append(("Error", Text(str(found["error"]), style="red")))
    facts(console, rows)


def overview(console: Console, models: Sequence[Json], requests: Sequence[Json]) -> None:
    """Print the models and the newest requests as two tables."""
    if not models:
        console.print("No models yet.")
    else:
        table = Table(title="Models", title_justify="left", box=None, header_style="dim")
        for column in ("name", "state", "version", "id"):
            table.add_column(column)
        for model in models:
            version = model["active_version"]
            table.add_row(escape(model["name"]), model["state"], "-" if version is None else str(version), model["id"])
        console.print(table)
    console.print()
    if not requests:
        console.print("No forget requests yet.")
        return
    table = Table(title="Forget requests, newest first", title_justify="left", box=None, header_style="dim")
    for column in ("id", "state", "records", "due"):
        table.add_column(column, justify="right" if column == "records" else "left", no_wrap=column != "due")
    for found in requests:
        records = "-" if found["records"] is None else str(found["records"])
        table.add_row(found["id"], state(found), records, due(found))
    console.print(table)


def hold(console: Console, found: Json) -> None:
    """Print one hold, a fact per line."""
    rows = [("Hold", found["id"]), ("Reason", found["reason"]), ("Placed", found["created_at"])]
    facts(console, [*rows, ("Records kept", found["records"]), ("Records leaving", found["leaving"])])


def holds(console: Console, found: Sequence[Json]) -> None:
    """Print holds as a table."""
    if not found:
        console.print("No holds are in force.")
        return
    table = Table(title="Holds, oldest first", title_justify="left", box=None, header_style="dim")
    for column in ("id", "records", "leaving", "placed", "reason"):
        numbers = column in ("records", "leaving")
        table.add_column(column, justify="right" if numbers else "left", no_wrap=column == "id", overflow="fold")
    for one in found:
        counts = (str(one["records"]), str(one["leaving"]))
        table.add_row(one["id"], *counts, one["created_at"][:10], escape(one["reason"]))
    console.print(table)


def statement(console: Console, content: Json, indent: int = 0) -> None:
    """Print what a certificate states: names and values, nested by indentation."""
    for name, value in content.items():
        _member(console, name, value, indent)


def _member(console: Console, name: str, value: Any, indent: int) -> None:
    label = Text(" " * indent + name.replace("_", " "), style="dim")
    if isinstance(value, dict):
        console.print(label)
        statement(console, value, indent + 2)
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        console.print(label)
        for item in value:
            if isinstance(item, dict):
                statement(console, item, indent + 2)
            else:
                console.print(Text(" " * (indent + 2) + str(item)), soft_wrap=True)
    elif isinstance(value, list) and any(len(str(item)) > 30 for item in value):
        console.print(label)
        for item in value:
            console.print(Text(" " * (indent + 2) + f"- {item}"), soft_wrap=True)
    else:
        shown = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        console.print(label + Text(f"  {shown}", style="default not dim"), soft_wrap=True)


def state(found: Json) -> Text:
    """Return a request's state and outcome, coloured."""
    name = str(found["state"])
    words = name if not found["outcome"] else f"{name}, {str(found['outcome']).replace('_', ' ')}"
    return Text(words, style=STATE_STYLE.get(name, "yellow"))


def due(found: Json) -> Text:
    """Return the deadline; the days left are given while the request is open."""
    day = str(found["due_at"])[:10]
    if found["state"] in ("completed", "cancelled"):
        return Text(day)
    days = int(found["days_left"])
    return Text(f"{day} ({days} days left)", style="red" if days < 5 else "yellow" if days < 10 else "green")


def facts(console: Console, rows: Sequence[tuple[str, Any]]) -> None:
    """Print names and values in two columns."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, value if isinstance(value, Text) else escape(str(value)))
    console.print(table)
