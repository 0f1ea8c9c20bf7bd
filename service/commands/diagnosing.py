"""`lacuna doctor`: is everything there that this installation needs?"""

from __future__ import annotations

import os

import typer
from rich.markup import escape

from service.commands.common import NOT_AS_HOPED, AsJson, DataDir, SettingsFile, load_settings, out, print_json
from service.first_start import utc_microseconds

MARKS = {
    "ok": "[green]ok     [/]",
    "warning": "[yellow]warning[/]",
    "wrong": "[red]WRONG  [/]",
    "skipped": "[dim]-      [/]",
}


def doctor(data_dir: DataDir = None, settings: SettingsFile = None, as_json: AsJson = False) -> None:
    """Look at database, clocks, objects, keys, Redis, workers, disk, devices and networks. Ends with 1 if one is wrong.

    Changes nothing, but for one object that is written and deleted again. Run it where and as whom the service runs.

    Example: lacuna doctor --settings /etc/lacuna.env
    """
    from service.doctor.examine import examine  # here, because importing torch takes seconds

    findings = examine(load_settings(data_dir, settings), clock=utc_microseconds, random=os.urandom)
    wrong = any(finding.level == "wrong" for finding in findings)
    if as_json:
        print_json({"ok": not wrong, "findings": [finding.as_dict() for finding in findings]})
    else:
        for finding in findings:
            out.print(f"{MARKS[finding.level]} {finding.check}: {escape(finding.what)}", soft_wrap=True)
            if finding.advice:
                out.print(f"        [bold]{escape(finding.advice)}[/]", soft_wrap=True)
    if wrong:
        raise typer.Exit(NOT_AS_HOPED)
