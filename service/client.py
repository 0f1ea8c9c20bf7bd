"""A small client of the HTTP interface, used by the command line and the demo."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Self

import httpx
import numpy as np
import numpy.typing as npt

from service.client_errors import ApiProblem, JobFailed, RequestFailed, ServiceUnreachable, WaitedTooLong
from service.client_uploads import send_file

Json = dict[str, Any]
Progress = Callable[[float, str], None]

NPZ = "application/octet-stream"
IN_MEMORY = 8 << 20
"""Bytes of an upload that are kept in memory; larger ones go through a temporary file."""
CHUNK = 1 << 20
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 0.5


def ignore(_fraction: float, _note: str) -> None:
    """Ignore progress."""


class LacunaClient:
    """One service and one key. Close it, or use it in a `with` block.

    Every method may raise ApiProblem (the service refused) and ServiceUnreachable (nobody answered).
    """

    def __init__(
        self, base_url: str, key: str, *, timeout_s: float = 60.0, transport: httpx.BaseTransport | None = None
    ) -> None:
        """`transport` is for tests that answer in the service's place."""
        self.base_url = base_url.rstrip("/")
        self._http = httpx.Client(
            base_url=self.base_url,
            headers={"Authorization": f"Bearer {key}"},
            timeout=timeout_s,
            transport=transport,
            trust_env=False,  # a proxy of the environment must not see records
        )

    def __enter__(self) -> Self:
        """Return the client itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def me(self) -> Json:
        """Return this key's tenant, label and scopes."""
        return self._json("GET", "/v1/me")

    def create_cohort(
        self, name: str, *, kind: str, shape: Sequence[int], dtype: str, class_names: Sequence[str]
    ) -> Json:
        """Add a cohort of `kind` core (public, never forgotten) or user (forgettable)."""
        body = {
            "name": name,
            "kind": kind,
            "shape": list(shape),
            "dtype": dtype,
            "class_names": list(class_names),
        }
        return self._json("POST", "/v1/cohorts", json=body)

    def cohorts(self) -> list[Json]:
        """Return all cohorts, oldest first."""
        return self._items("/v1/cohorts")

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
        arrays: dict[str, npt.NDArray[Any]] = {"x": x, "y": y}
        if subjects is not None:
            arrays["subject"] = subjects
        if ids is not None:
            arrays["id"] = ids
        with tempfile.SpooledTemporaryFile(IN_MEMORY) as file:
            np.savez(file, allow_pickle=False, **arrays)
            file.seek(0)
            return self._json(
                "POST",
                f"/v1/cohorts/{cohort}/records",
                params={"subject_type": subject_type},
                headers={"Content-Type": NPZ},
                content=_chunks(file),
            )

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

    def create_model(self, name: str, *, core_cohort: str, user_cohorts: Sequence[str], **settings: Any) -> Json:
        """Register a model; `settings` as in the HTTP interface. Returns `{model, job}`."""
        body = {"name": name, "core_cohort": core_cohort, "user_cohorts": list(user_cohorts), **settings}
        return self._json("POST", "/v1/models", json=body)

    def successor(self, model: str, **changes: Any) -> Json:
        """Register a model's next generation; `changes` as in the HTTP interface. Returns `{model, job}`."""
        return self._json("POST", f"/v1/models/{model}/successor", json=changes)

    def cut_over(self, model: str) -> Json:
        """Let the successor take over. Returns `{model, job}`; the job destroys the old generation."""
        return self._json("POST", f"/v1/models/{model}/cut-over")

    def roll_back(self, model: str, to: int) -> Json:
        """Go back to the configuration of generation `to`, with today's records. Returns `{model, job}`."""
        return self._json("POST", f"/v1/models/{model}/rollback", json={"to": to})

    def delete_model(self, model: str) -> Json:
        """Destroy a model. Returns `{model, job}`."""
        return self._json("DELETE", f"/v1/models/{model}")

    def destruction_certificate(self, model: str) -> bytes:
        """Return the signed certificate (a DSSE envelope) of a destroyed model, byte for byte."""
        return self.call("GET", f"/v1/models/{model}/certificate").content

    def models(self) -> list[Json]:
        """Return all models, oldest first."""
        return self._items("/v1/models")

    def model(self, model: str) -> Json:
        """Return one model."""
        return self._json("GET", f"/v1/models/{model}")

    def versions(self, model: str) -> list[Json]:
        """Return a model's versions, newest first."""
        return self._items(f"/v1/models/{model}/versions")

    def version(self, model: str, number: int) -> Json:
        """Return one version."""
        return self._json("GET", f"/v1/models/{model}/versions/{number}")

    def digests(self, model: str, version: int, challenge: bytes) -> Json:
        """Return HMAC-SHA256(challenge, bytes) of the weights and the statistics of a living version."""
        body = {"challenge": challenge.hex()}
        return self._json("POST", f"/v1/models/{model}/versions/{version}/digests", json=body)

    def rebuild(self, model: str) -> Json:
        """Ask for the statistics to be computed anew from the stored records and compared. Returns `{job}`."""
        return self._json("POST", f"/v1/models/{model}/rebuild")

    def predict(self, model: str, x: npt.NDArray[Any], *, patience_s: float = 30.0) -> Json:
        """Return the predictions for records x (n, *shape). A 503 (no version or no lease yet) is tried again."""
        body = {"instances": x.tolist()}
        until = time.monotonic() + patience_s
        while True:
            try:
                return self._json("POST", f"/v1/models/{model}/predict", json=body)
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
    ) -> Json:
        """Ask for records to be forgotten, selected in exactly one way. Returns the request, stored durably."""
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
        return self._json("POST", "/v1/forget-requests", json=body)

    def request(self, request: str) -> Json:
        """Return one forget request."""
        return self._json("GET", f"/v1/forget-requests/{request}")

    def requests(self, *, state: str | None = None, limit: int = 100) -> list[Json]:
        """Return the newest forget requests."""
        params: Json = {"limit": limit} | ({"state": state} if state else {})
        return self._items("/v1/forget-requests", params)

    def certificate(self, request: str) -> bytes:
        """Return the signed certificate (a DSSE envelope) of a completed request, byte for byte."""
        return self.call("GET", f"/v1/forget-requests/{request}/certificate").content

    def statement(self, request: str) -> Json:
        """Return what the certificate states, decoded and without its signature."""
        return self._json("GET", f"/v1/forget-requests/{request}/certificate", params={"decoded": "true"})

    def signing_keys(self) -> list[Json]:
        """Return the public keys that certificates verify with."""
        return self._items("/v1/signing-keys")

    def job(self, job: int) -> Json:
        """Return one job."""
        return self._json("GET", f"/v1/jobs/{job}")

    def jobs(self, *, limit: int = 100) -> list[Json]:
        """Return the newest jobs."""
        return self._items("/v1/jobs", {"limit": limit})

    def wait_for_job(self, job: int, *, on_progress: Progress = ignore, timeout_s: float = 600.0) -> Json:
        """Return the job once it is done. Raises JobFailed, WaitedTooLong."""
        for now in self._watch(lambda: self.job(job), f"job {job}", timeout_s):
            on_progress(float(now["progress"]), str(now["note"] or ""))
            if now["state"] == "failed":
                raise JobFailed(job, str(now["error"]))
            if now["state"] == "done":
                return now
        raise AssertionError("unreachable: _watch raises at the deadline")

    def wait_for_version(self, model: str, *, timeout_s: float = 600.0) -> Json:
        """Return the model once a version of it serves. Raises WaitedTooLong; JobFailed: it failed before."""
        for now in self._watch(lambda: self.model(model), f"a version of model {model}", timeout_s):
            if now["state"] == "failed":
                raise JobFailed(model, str(now["error"]))
            if now["active_version"] is not None:
                return now
        raise AssertionError("unreachable: _watch raises at the deadline")

    def wait_for_request(self, request: str, *, timeout_s: float = 600.0) -> Json:
        """Return the forget request once it is completed. Raises RequestFailed, WaitedTooLong."""
        for now in self._watch(lambda: self.request(request), f"forget request {request}", timeout_s):
            if now["state"] in ("failed", "cancelled"):
                raise RequestFailed(request, str(now["state"]), now.get("error"))
            if now["state"] == "completed":
                return now
        raise AssertionError("unreachable: _watch raises at the deadline")

    def _watch(self, look: Callable[[], Json], what: str, timeout_s: float) -> Iterator[Json]:
        until, pause_s = time.monotonic() + timeout_s, FIRST_PAUSE_S
        while True:
            last = time.monotonic() >= until
            yield look()
            if last:
                raise WaitedTooLong(what, timeout_s)
            time.sleep(pause_s)
            pause_s = min(1.5 * pause_s, LONGEST_PAUSE_S)

    def _items(self, path: str, params: Mapping[str, Any] | None = None) -> list[Json]:
        items: list[Json] = self._json("GET", path, params=params)["items"]
        return items

    def _json(self, method: str, path: str, **arguments: Any) -> Json:
        answer: Json = self.call(method, path, **arguments).json()
        return answer

    def call(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        """Send one request; `arguments` as in httpx."""
        try:
            response = self._http.request(method, path, **arguments)
        except (httpx.TransportError, httpx.InvalidURL) as problem:
            raise ServiceUnreachable(self.base_url, str(problem) or type(problem).__name__) from problem
        if response.is_success:
            return response
        raise ApiProblem.of(response)


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    while chunk := file.read(CHUNK):
        yield chunk
