"""`lacuna correct`: records that replace stored ones."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from service.commands import show
from service.commands.common import AsJson, DataDir, Key, SubjectType, Url, cohort_ids, connect, out, print_json


def correct(
    cohort: Annotated[str, typer.Argument(help="Cohort, by name or id.")],
    file: Annotated[
        Path,
        typer.Argument(
            help="File of records, each with the id (and the subject, if it had one) of the stored record, and a new "
            "x, a new y or both.",
            exists=True,
            dir_okay=False,
            readable=True,
        ),
    ],
    format: Annotated[
        str | None, typer.Option(help="npz, ndjson, parquet, tar or zip. Default: by the file's suffix.")
    ] = None,
    subject_type: SubjectType = "controller_customer_id",
    wait: Annotated[bool, typer.Option("--wait", help="Return only when nothing of the old content is left.")] = False,
    url: Url = None,
    key: Key = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Replace stored records. What was there before is erased, with a deadline and a certificate.

    Example: lacuna correct patients corrected.ndjson --wait
    """
    with connect(url, key, data_dir) as client:
        (cohort_id,) = cohort_ids(client, [cohort])
        stored = client.correct_file(cohort_id, file, format=format, subject_type=subject_type)
        request = client.request(stored["forget_request"])
        if wait:
            request = client.wait_for_request(request["id"])
    if as_json:
        print_json({**stored, "request": request} if wait else stored)
        return
    out.print(f"{stored['records']} corrected records are stored. The old ones are erased by this request:\n")
    show.request(out, request)
    if not wait:
        out.print(f"\nFollow it with: lacuna status {request['id']}", soft_wrap=True)
