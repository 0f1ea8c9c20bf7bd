"""`lacuna jobs` and `lacuna retry`: what the workers do, what has failed for good, and trying it again."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from service.commands.common import AsJson, DataDir, Key, Url, connect, out, print_json


def jobs(
    failed: Annotated[bool, typer.Option("--failed", help="Only those that were given up.")] = False,
    url: Url = None,
    key: Key = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """List the newest jobs. One that was given up stays until somebody retries it.

    Example: lacuna jobs --failed
    """
    with connect(url, key, data_dir) as client:
        params: dict[str, Any] = {"state": "failed"} if failed else {}
        found = client.call("GET", "/v1/jobs", params=params).json()["items"]
    if as_json:
        print_json(found)
        return
    if not found:
        out.print("No job has failed." if failed else "No jobs yet.")
        return
    table = Table(box=None, header_style="dim")
    for column in ("job", "kind", "state", "attempts", "why"):
        table.add_column(column, justify="right" if column in ("job", "attempts") else "left")
    for job in found:
        table.add_row(str(job["id"]), job["kind"], job["state"], str(job["attempts"]), escape(job["error"] or ""))
    out.print(table)


def retry(
    job: Annotated[int, typer.Argument(help="Number of a failed job.", min=1)],
    url: Url = None,
    key: Key = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Try a job again that was given up. Look at its error first: the cause should be gone.

    Example: lacuna retry 17
    """
    with connect(url, key, data_dir) as client:
        started = client.call("POST", f"/v1/jobs/{job}/retry").json()
    if as_json:
        print_json(started)
    else:
        out.print(f"Job {job} ({started['kind']}) starts over.")
