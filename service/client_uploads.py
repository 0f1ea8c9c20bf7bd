"""Sending a file to a service in parts, through interruptions of either side."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Protocol

import httpx

from service.client_errors import ApiProblem, ServiceUnreachable, UploadFailed, WaitedTooLong

Json = dict[str, Any]
Progress = Callable[[float, str], None]

FORMATS = {
    ".npz": "npz",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".parquet": "parquet",
    ".tar": "tar",
    ".zip": "zip",
}
PART = 32 * 2**20
"""Bytes per request."""
CHUNK = 2**20
PAUSE_S = 0.5
OFFSET = "Upload-Offset"
WRONG_OFFSET, WRONG_STATE = "/problems/wrong-offset", "/problems/wrong-state"


class Caller(Protocol):
    """What can send a request to the service."""

    def call(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        """Send one request. Raises ApiProblem, ServiceUnreachable."""
        ...


def send_file(
    client: Caller,
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
        kind = format or FORMATS.get(path.suffix.lower())
        if kind is None:
            raise UploadFailed("", f"the format of a file named *{path.suffix} is not known; say which it has")
        begun = client.call(
            "POST",
            f"/v1/cohorts/{cohort}/uploads",
            json={"format": kind, "size": size, "subject_type": subject_type},
        ).json()
        resume = str(begun["id"])
    on_begin(resume)
    with path.open("rb") as file:
        _send_bytes(client, resume, file, size, on_progress, patience_s)
    on_progress(1.0, "checking and storing")
    return _finish(client, resume, patience_s)


def _send_bytes(
    client: Caller, upload: str, file: IO[bytes], size: int, on_progress: Progress, patience_s: float
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


def _finish(client: Caller, upload: str, patience_s: float) -> Json:
    until = time.monotonic() + patience_s
    while True:
        try:
            found: Json = client.call("GET", f"/v1/uploads/{upload}").json()
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
