"""How the answer of a dry run looks in a terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from service.client import Json
from service.commands import show

OUTCOMES = {
    "erased": "every one of these records would be erased",
    "partially_core": "erased; equal content stays in a public core cohort",
    "no_match": "nothing is stored that this selects",
    "on_hold": "a legal hold keeps all of it back",
}


def outlook(console: Console, found: Json) -> None:
    """Print what a forget request would do: a fact per line, then a table of models."""
    console.print("Nothing was changed. A forget request would do this:\n")
    rows: list[tuple[str, Any]] = [
        ("Outcome", f"{found['outcome']}: {OUTCOMES.get(found['outcome'], '')}"),
        ("Records", found["records"]),
        ("On hold", found["held"]),
        ("Also in core", found["in_core"]),
        ("Due", str(found["due_at"])[:10]),
    ]
    show.facts(console, rows)
    if not found["models"]:
        return
    console.print()
    table = Table(title="Models", title_justify="left", box=None, header_style="dim")
    for column in ("model", "records", "accuracy", "labels flipped", "largest change", "seconds"):
        table.add_column(column, justify="left" if column == "model" else "right", overflow="fold")
    for one in found["models"]:
        table.add_row(
            one["model"],
            str(one["records"]),
            f"{percent(one['accuracy_before'])} -> {percent(one['accuracy_after'])}",
            "-" if one["labels_flipped"] is None else f"{one['labels_flipped']} of {one['evaluated']}",
            "-" if one["largest_change"] is None else f"{one['largest_change']:.4f}",
            f"{one['seconds']:.3f}",
        )
    console.print(table)
    for one in found["models"]:
        if one["problem"]:
            console.print(f"\nModel {one['model']} would refuse: {escape(one['problem'])}", style="red", soft_wrap=True)
    for note in dict.fromkeys(one["exposure_note"] for one in found["models"] if one["exposure"] is None):
        console.print(f"\nExposure: {escape(note)}", style="dim", soft_wrap=True)


def percent(share: float | None) -> str:
    """Return a share as a percentage, a dash when it is not known."""
    return "-" if share is None else f"{100 * share:.1f} %"
