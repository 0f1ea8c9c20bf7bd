"""The client's way of saying what to forget, and of asking what that would do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from service.client_connection import Connection, Json, wait
from service.client_errors import JobFailed


def selection(
    *,
    subjects: Sequence[str] = (),
    subject_type: str = "controller_customer_id",
    record_ids: Sequence[str] = (),
    labels: Sequence[int] = (),
    everything: bool = False,
    cohorts: Sequence[str] = (),
    regulation: str | None = None,
) -> Json:
    """Return the body that says what to forget; what is not said is left out."""
    body: Json = {}
    if subjects:
        body["subjects"] = [{"value": value, "type": subject_type} for value in subjects]
    if record_ids:
        body["record_ids"] = list(record_ids)
    if labels:
        body["labels"] = list(labels)
    if everything:
        body["everything"] = True
    if cohorts:
        body["cohorts"] = list(cohorts)
    if regulation is not None:
        body["regulation"] = regulation
    return body


class DryRuns:
    """Looking before forgetting; `LacunaClient.dry_runs`."""

    def __init__(self, connection: Connection) -> None:
        """`connection` is the client's."""
        self._connection = connection

    def start(self, **said: Any) -> int:
        """Ask what `LacunaClient.forget` with these arguments would do. Returns the number of the job that looks."""
        return int(self._connection.json("POST", "/v1/forget-requests/dry-run", json=selection(**said))["job"])

    def answer(self, job: int, *, timeout_s: float = 600.0) -> Json:
        """Return the answer once there is one: records, outcome, deadline, and what changes in every model.

        Raises JobFailed: somebody of those it names was forgotten meanwhile, or the answer is deleted already;
        WaitedTooLong.
        """

        def ended(now: Json) -> bool:
            return now["state"] in ("done", "failed")

        found = wait(lambda: self._connection.json("GET", f"/v1/jobs/{job}"), ended, f"job {job}", timeout_s)
        if found["result"] is None:
            raise JobFailed(job, str(found["error"] or "its answer is deleted already. Ask again."))
        answer: Json = found["result"]
        return answer
