"""Sending records to a service: arrays and files in one piece, and files in parts, through interruptions."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import httpx
import numpy as np
import numpy.typing as npt

from service.client_connection import Connection, Json
from service.client_errors import ApiProblem, ServiceUnreachable, UploadFailed, WaitedTooLong

Progress = Callable[[float, str], None]

FORMATS = {
    ".npz": "npz",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".parquet": "parquet",
    ".tar": "tar",
    ".zip": "zip",
}
CONTENT_TYPES = {
    "npz": "application/octet-stream",
    "ndjson": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
    "tar": "application/x-tar",
    "zip": "application/zip",
}
IN_MEMORY = 8 << 20
"""Bytes of arrays that are kept in memory; larger ones go through a temporary file."""
PART = 32 * 2**20
"""Bytes per request."""
CHUNK = 2**20
PAUSE_S = 0.5
OFFSET = "Upload-Offset"
WRONG_OFFSET, WRONG_STATE = "/problems/wrong-offset", "/problems/wrong-state"


def send_arrays(
    client: Connection, path: str, arrays: Mapping[str, npt.NDArray[Any] | None], *, subject_type: str
) -> Json:
    """Send those arrays that are given, as one .npz, and return the answer."""
    with tempfile.SpooledTemporaryFile(IN_MEMORY) as file:
        np.savez(file, allow_pickle=False, **{name: array for name, array in arrays.items() if array is not None})
        file.seek(0)
        return _post(client, path, file, CONTENT_TYPES["npz"], subject_type)


def send_whole_file(client: Connection, path: str, file: Path, *, format: str | None, subject_type: str) -> Json:
    """Send a file in one request and return the answer. Raises UploadFailed: its format is not known."""
    content_type = CONTENT_TYPES.get(_format_of(file, format))
    if content_type is None:
        raise UploadFailed("", f"there is no format {format!r}; there are {', '.join(CONTENT_TYPES)}")
    with file.open("rb") as opened:
        return _post(client, path, opened, content_type, subject_type)


def _post(client: Connection, path: str, file: IO[bytes], content_type: str, subject_type: str) -> Json:
    headers = {"Content-Type": content_type}
    return client.json("POST", path, params={"subject_type": subject_type}, headers=headers, content=_chunks(file))


def _format_of(file: Path, format: str | None) -> str:
    kind = format or FORMATS.get(file.suffix.lower())
    if kind is None:
        raise UploadFailed("", f"the format of a file named *{file.suffix} is not known; say which it has")
    return kind


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    while chunk := file.read(CHUNK):
        yield chunk


def send_file(
    client: Connection,
    cohort: str,
    path: Path,
    *,
    format: str | None,
    subject_type: str,
    resume: str | None,
    on_begin: Callable[[str], None],
    on_progress: Progress,
    patience_s: float,
) -> Json:
    """Send a file and return `{upload, records, job}`. See `LacunaClient.upload_file`."""
    size = path.stat().st_size
    if resume is None:
        begun = client.json(
            "POST",
            f"/v1/cohorts/{cohort}/uploads",
            json={"format": _format_of(path, format), "size": size, "subject_type": subject_type},
        )
        resume = str(begun["id"])
    on_begin(resume)
    with path.open("rb") as file:
        _send_bytes(client, resume, file, size, on_progress, patience_s)
    on_progress(1.0, "checking and storing")
    return _finish(client, resume, patience_s)


def _send_bytes(
    client: Connection, upload: str, file: IO[bytes], size: int, on_progress: Progress, patience_s: float
) -> None:
    """Send part by part from where the service says, until all is there or `patience_s` went by without progress."""
    reached, until = -1, time.monotonic() + patience_s
    while True:
        try:
            offset = int(client.call("HEAD", f"/v1/uploads/{upload}").headers[OFFSET])
            if offset > reached:
                reached, until = offset, time.monotonic() + patience_s
            on_progress(offset / max(size, 1), "sending")
            if offset >= size:
                return
            headers = {OFFSET: str(offset), "Content-Type": "application/offset+octet-stream"}
            client.call("PATCH", f"/v1/uploads/{upload}", headers=headers, content=_part(file, offset))
        except (ServiceUnreachable, ApiProblem) as problem:
            if not _may_pass(problem, WRONG_OFFSET) or time.monotonic() > until:
                raise
            time.sleep(PAUSE_S)


def _part(file: IO[bytes], offset: int) -> Iterator[bytes]:
    file.seek(offset)
    left = PART
    while left > 0 and (chunk := file.read(min(CHUNK, left))):
        left -= len(chunk)
        yield chunk


def _finish(client: Connection, upload: str, patience_s: float) -> Json:
    until = time.monotonic() + patience_s
    while True:
        try:
            found = client.json("GET", f"/v1/uploads/{upload}")
            if found["state"] in ("stored", "added"):
                return {"upload": upload, "records": found["records"], "job": found["job"]}
            if found["state"] == "failed":
                raise UploadFailed(upload, str(found["error"]))
            if found["state"] == "open":
                client.call("POST", f"/v1/uploads/{upload}/finish", timeout=None)
                continue
            until = time.monotonic() + patience_s  # somebody is storing it
        except (ServiceUnreachable, ApiProblem) as problem:
            if not _may_pass(problem, WRONG_STATE):
                raise
        if time.monotonic() > until:
            raise WaitedTooLong(f"upload {upload}", patience_s)
        time.sleep(PAUSE_S)


def _may_pass(problem: ServiceUnreachable | ApiProblem, kind: str) -> bool:
    """Whether asking again later may help: nobody answers, the service is busy, or another request was faster."""
    if isinstance(problem, ServiceUnreachable):
        return True
    return problem.status == httpx.codes.SERVICE_UNAVAILABLE or problem.type == kind
