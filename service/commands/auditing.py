"""`lacuna audit`: doing over again what the service says it did. The work is done by a process of the workers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from service.commands.common import NOT_AS_HOPED, AsJson, DataDir, SettingsFile, err, load_settings, out, print_json
from service.first_start import FIRST_TENANT
from service.local_errors import ReplayImpossible

audit = typer.Typer(no_args_is_help=True, help="Do over again what the service says it did.")

KeyFile = Annotated[
    Path | None, typer.Option("--key", help="The service's public keys, kept apart from it. Default: its own word.")
]


@audit.command("replay")
def replay(
    model: Annotated[str, typer.Argument(help="Name or id of a model.")],
    checkpoint: Annotated[
        Path | None, typer.Option(help="A checkpoint that you obtained after the requests. Default: the newest.")
    ] = None,
    challenge: Annotated[str, typer.Option(help="Any text that you make up now; it decides what is drawn, too.")] = "",
    sample: Annotated[int, typer.Option(min=0, max=100_000, help="Past requests, and shards, that are drawn.")] = 20,
    key: KeyFile = None,
    key_list: Annotated[Path | None, typer.Option(help="Newer keys, as `verify certificate` takes them.")] = None,
    revocations: Annotated[Path | None, typer.Option(help="The service's list of revoked keys.")] = None,
    tenant: Annotated[str, typer.Option(help="Whose model.")] = FIRST_TENANT,
    data_dir: DataDir = None,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Sum the stored records anew, solve, check, and look at past requests. Changes nothing. Ends with 1 if one fails.

    It needs the database (the role lacuna_auditor is enough), the objects and the keys. Which requests are looked at
    follows from the checkpoint and your challenge, so that the operator cannot choose them.

    Example: lacuna audit replay digits --key service.pem --checkpoint kept-checkpoint.txt --challenge "a throw of dice"
    """
    load_settings(data_dir, settings)
    command = [sys.executable, "-m", "workers.replay", model, "--tenant", tenant, "--sample", str(sample)]
    command += ["--challenge", challenge]
    for name, path in (
        ("--checkpoint", checkpoint),
        ("--key", key),
        ("--key-list", key_list),
        ("--revocations", revocations),
    ):
        command += [] if path is None else [name, str(path)]
    report = _run(command)
    if as_json:
        print_json(report)
    else:
        _tell(report)
    if not report["passed"]:
        raise typer.Exit(NOT_AS_HOPED)


def _run(command: list[str]) -> dict[str, Any]:
    """Run the replay, show how far it is, and return its report. Raises ReplayImpossible."""
    bar = Progress(TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(), console=err, transient=True)
    said: dict[str, Any] = {}
    with bar, subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        task = bar.add_task("starting", total=1.0)
        assert process.stdout is not None
        for line in process.stdout:
            said = json.loads(line)
            if "doing" in said:
                bar.update(task, description=said["doing"], completed=said["done"])
    report: dict[str, Any] | None = said.get("report")
    if report is None:
        raise ReplayImpossible(said.get("error", f"the process ended with {process.returncode}"))
    return report


def _tell(report: dict[str, Any]) -> None:
    table = Table(box=None, header_style="dim")
    for column in ("", "check", "what was found"):
        table.add_column(column, overflow="fold")
    for check in report["checks"]:
        mark = "[green]pass[/]" if check["passed"] else "[red]FAIL[/]"
        table.add_row(mark, check["name"], escape(check["what"]))
    out.print(table)
    sample = report["sample"]
    out.print(
        f"\nDrawn by a checkpoint of {sample['checkpoint_size']} entries: {len(sample['drawn'])} of "
        f"{sample['requests']} certified requests. {sample['requests_after_checkpoint']} came after it."
    )
    whole = report["passed"]
    out.print(f"Version {report['version']}: {'everything holds' if whole else '[red]not everything holds[/]'}.")
