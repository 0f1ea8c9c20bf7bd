"""A small client of the HTTP interface, used by the command line and the demo."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt

from service.client_connection import LONGEST_PAUSE_S, Connection, Json, wait
from service.client_dry_runs import DryRuns, selection
from service.client_errors import ApiProblem, JobFailed, RequestFailed
from service.client_events import Event, Following, follow
from service.client_holds import Holds
from service.client_keys import Keys
from service.client_suppressions import Suppressions
from service.client_uploads import Progress, send_arrays, send_file, send_whole_file
from service.client_webhooks import Webhooks

__all__ = ["Json", "LacunaClient", "Progress"]


def ignore(_fraction: float, _note: str) -> None:
    """Ignore progress."""


class LacunaClient(Connection):
    """One service and one key. Close it, or use it in a `with` block.

    Every method may raise ApiProblem (the service refused) and ServiceUnreachable (nobody answered).
    """

    @property
    def holds(self) -> Holds:
        """Records that are kept for a while, whatever is asked to be forgotten."""
        return Holds(self)

    @property
    def dry_runs(self) -> DryRuns:
        """What forgetting would do, before it is asked for."""
        return DryRuns(self)

    @property
    def keys(self) -> Keys:
        """API keys, of which this one must have the scope `admin` to see or change any."""
        return Keys(self)

    @property
    def suppressions(self) -> Suppressions:
        """People who must not be uploaded again."""
        return Suppressions(self)

    @property
    def webhooks(self) -> Webhooks:
        """Addresses that are told what happens."""
        return Webhooks(self)

    def follow(self, request: str | None = None, *, after: str | None = None) -> Iterator[Event]:
        """Give what happens, to one forget request (until it ends) or to everything, as it happens.

        `after`: the id of the last event that was seen. An interruption is gone on after by itself.
        """
        return follow(self._http, self.base_url, Following.of(request, after))

    def me(self) -> Json:
        """Return this key's tenant, label and scopes."""
        return self.json("GET", "/v1/me")

    def create_cohort(
        self, name: str, *, kind: str, shape: Sequence[int], dtype: str, class_names: Sequence[str]
    ) -> Json:
        """Add a cohort of `kind` core (public, never forgotten) or user (forgettable)."""
        body = {"name": name, "kind": kind, "shape": list(shape), "dtype": dtype, "class_names": list(class_names)}
        return self.json("POST", "/v1/cohorts", json=body)

    def cohorts(self) -> list[Json]:
        """Return all cohorts, oldest first."""
        return self.items("/v1/cohorts")

    def upload(
        self,
        cohort: str,
        x: npt.NDArray[Any],
        y: npt.NDArray[Any],
        *,
        subjects: npt.NDArray[np.str_] | None = None,
        ids: npt.NDArray[np.str_] | None = None,
        subject_type: str = "controller_customer_id",
    ) -> Json:
        """Send records x (n, *shape) with labels y (n,), and if known the subject and id of each."""
        arrays = {"x": x, "y": y, "subject": subjects, "id": ids}
        return send_arrays(self, f"/v1/cohorts/{cohort}/records", arrays, subject_type=subject_type)

    def upload_file(
        self,
        cohort: str,
        path: Path,
        *,
        format: str | None = None,
        subject_type: str = "controller_customer_id",
        resume: str | None = None,
        on_begin: Callable[[str], None] = lambda _upload: None,
        on_progress: Progress = ignore,
        patience_s: float = 60.0,
    ) -> Json:
        """Send a file in parts and return `{upload, records, job}` when it is stored.

        `format`: npz, ndjson, parquet, tar or zip; None: by the file's suffix. `resume`: the id of an upload of the
        same file that was interrupted; `on_begin` is told it. Interruptions are waited for, up to `patience_s` without
        progress. Raises UploadFailed.
        """
        return send_file(
            self,
            cohort,
            path,
            format=format,
            subject_type=subject_type,
            resume=resume,
            on_begin=on_begin,
            on_progress=on_progress,
            patience_s=patience_s,
        )

    def correct(
        self,
        cohort: str,
        *,
        ids: npt.NDArray[np.str_],
        subjects: npt.NDArray[np.str_] | None = None,
        x: npt.NDArray[Any] | None = None,
        y: npt.NDArray[Any] | None = None,
        subject_type: str = "controller_customer_id",
    ) -> Json:
        """Give the stored records of these ids and subjects new contents x, new labels y, or both.

        Returns `{upload, records, job, forget_request, ...}`; the forget request removes what was there before.
        """
        arrays = {"x": x, "y": y, "subject": subjects, "id": ids}
        return send_arrays(self, f"/v1/cohorts/{cohort}/corrections", arrays, subject_type=subject_type)

    def correct_file(
        self, cohort: str, path: Path, *, format: str | None = None, subject_type: str = "controller_customer_id"
    ) -> Json:
        """Send a file of corrected records, formats as for `upload_file`. Returns what `correct` does.

        It is sent in one piece: interrupted, nothing of it is stored. Raises UploadFailed.
        """
        return send_whole_file(
            self, f"/v1/cohorts/{cohort}/corrections", path, format=format, subject_type=subject_type
        )

    def create_model(self, name: str, *, core_cohort: str, user_cohorts: Sequence[str], **settings: Any) -> Json:
        """Register a model; `settings` as in the HTTP interface. Returns `{model, job}`."""
        body = {"name": name, "core_cohort": core_cohort, "user_cohorts": list(user_cohorts), **settings}
        return self.json("POST", "/v1/models", json=body)

    def successor(self, model: str, **changes: Any) -> Json:
        """Register a model's next generation; `changes` as in the HTTP interface. Returns `{model, job}`."""
        return self.json("POST", f"/v1/models/{model}/successor", json=changes)

    def cut_over(self, model: str) -> Json:
        """Let the successor take over. Returns `{model, job}`; the job destroys the old generation."""
        return self.json("POST", f"/v1/models/{model}/cut-over")

    def roll_back(self, model: str, to: int) -> Json:
        """Go back to the configuration of generation `to`, with today's records. Returns `{model, job}`."""
        return self.json("POST", f"/v1/models/{model}/rollback", json={"to": to})

    def delete_model(self, model: str) -> Json:
        """Destroy a model. Returns `{model, job}`."""
        return self.json("DELETE", f"/v1/models/{model}")

    def destruction_certificate(self, model: str) -> bytes:
        """Return the signed certificate (a DSSE envelope) of a destroyed model, byte for byte."""
        return self.call("GET", f"/v1/models/{model}/certificate").content

    def models(self) -> list[Json]:
        """Return all models, oldest first."""
        return self.items("/v1/models")

    def model(self, model: str) -> Json:
        """Return one model."""
        return self.json("GET", f"/v1/models/{model}")

    def versions(self, model: str) -> list[Json]:
        """Return a model's versions, newest first."""
        return self.items(f"/v1/models/{model}/versions")

    def version(self, model: str, number: int) -> Json:
        """Return one version."""
        return self.json("GET", f"/v1/models/{model}/versions/{number}")

    def digests(self, model: str, version: int, challenge: bytes) -> Json:
        """Return HMAC-SHA256(challenge, bytes) of the weights and the statistics of a living version."""
        body = {"challenge": challenge.hex()}
        return self.json("POST", f"/v1/models/{model}/versions/{version}/digests", json=body)

    def rebuild(self, model: str) -> Json:
        """Ask for the statistics to be computed anew from the stored records and compared. Returns `{job}`."""
        return self.json("POST", f"/v1/models/{model}/rebuild")

    def predict(self, model: str, x: npt.NDArray[Any], *, patience_s: float = 30.0) -> Json:
        """Return the predictions for records x (n, *shape). A 503 (no version or no lease yet) is tried again."""
        body = {"instances": x.tolist()}
        until = time.monotonic() + patience_s
        while True:
            try:
                return self.json("POST", f"/v1/models/{model}/predict", json=body)
            except ApiProblem as problem:
                if problem.status != httpx.codes.SERVICE_UNAVAILABLE or time.monotonic() > until:
                    raise
                time.sleep(min(problem.retry_after_s or LONGEST_PAUSE_S, 2.0))

    def forget(
        self,
        *,
        subjects: Sequence[str] = (),
        subject_type: str = "controller_customer_id",
        record_ids: Sequence[str] = (),
        labels: Sequence[int] = (),
        everything: bool = False,
        cohorts: Sequence[str] = (),
        regulation: str | None = None,
        idempotency_key: str | None = None,
    ) -> Json:
        """Ask for records to be forgotten, selected in exactly one way. Returns the request, stored durably.

        Sent again with the same `idempotency_key` within 24 hours, it returns the same request and files no other.
        """
        body = selection(
            subjects=subjects,
            subject_type=subject_type,
            record_ids=record_ids,
            labels=labels,
            everything=everything,
            cohorts=cohorts,
            regulation=regulation,
        )
        headers = {} if idempotency_key is None else {"Idempotency-Key": f'"{idempotency_key}"'}
        return self.json("POST", "/v1/forget-requests", json=body, headers=headers)

    def request(self, request: str) -> Json:
        """Return one forget request."""
        return self.json("GET", f"/v1/forget-requests/{request}")

    def requests(self, *, state: str | None = None, limit: int = 100) -> list[Json]:
        """Return the newest forget requests."""
        params: Json = {"limit": limit} | ({"state": state} if state else {})
        return self.items("/v1/forget-requests", params)

    def extend(self, request: str, reason: str) -> Json:
        """Extend a request's deadline, once and in time. `reason` is for people, and must not name the person."""
        return self.json("POST", f"/v1/forget-requests/{request}/extension", json={"reason": reason})

    def certificate(self, request: str) -> bytes:
        """Return the signed certificate (a DSSE envelope) of a completed request, byte for byte."""
        return self.call("GET", f"/v1/forget-requests/{request}/certificate").content

    def statement(self, request: str) -> Json:
        """Return what the certificate states, decoded and without its signature."""
        return self.json("GET", f"/v1/forget-requests/{request}/certificate", params={"decoded": "true"})

    def receipt(self, request: str, place: int = 0) -> bytes:
        """Return the receipt of what stands at `place` of the request, counted from 0: it opens the certificate."""
        return self.call("GET", f"/v1/forget-requests/{request}/receipt", params={"place": place}).content

    def signing_keys(self) -> list[Json]:
        """Return the public keys that certificates verify with."""
        return self.items("/v1/signing-keys")

    def job(self, job: int) -> Json:
        """Return one job."""
        return self.json("GET", f"/v1/jobs/{job}")

    def jobs(self, *, limit: int = 100) -> list[Json]:
        """Return the newest jobs."""
        return self.items("/v1/jobs", {"limit": limit})

    def wait_for_job(self, job: int, *, on_progress: Progress = ignore, timeout_s: float = 600.0) -> Json:
        """Return the job once it is done. Raises JobFailed, WaitedTooLong."""

        def done(now: Json) -> bool:
            on_progress(float(now["progress"]), str(now["note"] or ""))
            if now["state"] == "failed":
                raise JobFailed(job, str(now["error"]))
            return bool(now["state"] == "done")

        return wait(lambda: self.job(job), done, f"job {job}", timeout_s)

    def wait_for_version(self, model: str, *, timeout_s: float = 600.0) -> Json:
        """Return the model once a version of it serves. Raises WaitedTooLong; JobFailed: it failed before."""

        def serves(now: Json) -> bool:
            if now["state"] == "failed":
                raise JobFailed(model, str(now["error"]))
            return now["active_version"] is not None

        return wait(lambda: self.model(model), serves, f"a version of model {model}", timeout_s)

    def wait_for_request(self, request: str, *, timeout_s: float = 600.0) -> Json:
        """Return the forget request once it is completed. Raises RequestFailed, WaitedTooLong."""

        def completed(now: Json) -> bool:
            if now["state"] in ("failed", "cancelled"):
                raise RequestFailed(request, str(now["state"]), now.get("error"))
            return bool(now["state"] == "completed")

        return wait(lambda: self.request(request), completed, f"forget request {request}", timeout_s)
