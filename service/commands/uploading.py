"""`lacuna upload`: a file of records, sent in parts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from service.commands.common import AsJson, DataDir, Key, SubjectType, Url, cohort_ids, connect, err, out, print_json


def upload(
    cohort: Annotated[str, typer.Argument(help="Cohort, by name or id.")],
    file: Annotated[Path, typer.Argument(help="File of records.", exists=True, dir_okay=False, readable=True)],
    format: Annotated[
        str | None, typer.Option(help="npz, ndjson, parquet, tar or zip. Default: by the file's suffix.")
    ] = None,
    subject_type: SubjectType = "controller_customer_id",
    resume: Annotated[str | None, typer.Option(help="Id of an interrupted upload of the same file.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Return only when the models have read it.")] = False,
    url: Url = None,
    key: Key = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Send records to a cohort. Interrupted, it goes on by itself or with --resume.

    Example: lacuna upload patients records.parquet --wait
    """

    def begun(upload: str) -> None:
        if resume is None:
            err.print(f"If this is interrupted, go on with --resume {upload}", style="dim", soft_wrap=True)

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with connect(url, key, data_dir) as client:
        (cohort_id,) = cohort_ids(client, [cohort])
        with Progress(*columns, console=err, transient=True) as bar:
            task = bar.add_task("sending", total=1.0)

            def show(fraction: float, note: str) -> None:
                bar.update(task, completed=fraction, description=note or "waiting")

            stored = client.upload_file(
                cohort_id,
                file,
                format=format,
                subject_type=subject_type,
                resume=resume,
                on_begin=begun,
                on_progress=show,
            )
            if wait and stored["job"] is not None:
                client.wait_for_job(
                    stored["job"],
                    on_progress=lambda fraction, note: bar.update(
                        task, completed=fraction, description=note or "waiting"
                    ),
                )
    if as_json:
        print_json(stored)
    else:
        out.print(f"{stored['records']} records are stored by upload {stored['upload']}.", soft_wrap=True)
