"""Setting a service up over HTTP as any customer would: cohorts, uploads, a model."""

from __future__ import annotations

import time
from dataclasses import dataclass

from rich.console import Console

from service.client import Json, LacunaClient
from service.client_errors import JobFailed, WaitedTooLong
from service.demo.data import CLASS_NAMES, SHAPE, DemoData, Records
from service.demo.telling import Bars

MODEL = {
    "architecture": "small-cnn",
    "feature_map": "pooled",
    "alpha": 5.0,
    "mu": 0.01,
    "epochs": 60,
    "seed": 1,
}
"""All layers' pooled activations (1,041 features), and a ridge small enough to let go of a whole class."""
STEPS = {
    "train_core": "train the public core",
    "ingest_model": "extract everybody's features",
    "advance": "sum up, solve, check",
}
ALSO_AWAITED = ("ingest_upload",)
POLL_S = 0.1
TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True)
class Deployment:
    """A model that serves, and the cohort whose people it can forget. `seconds`: from its registration to then."""

    client: LacunaClient
    model: str
    user_cohort: str
    seconds: float


def deploy(
    client: LacunaClient, data: DemoData, users: Records, console: Console, *, transient: bool = False
) -> Deployment:
    """Upload core, test and user records, register the model and wait until it serves.

    `transient` takes the progress bars away at the end. Raises what the client does.
    """
    core = _cohort(client, "core digits", "core", data.core)
    test = _cohort(client, "test digits", "core", data.test)
    people = _cohort(client, "people's digits", "user", users)
    started = time.monotonic()
    answer = client.create_model("digits", core_cohort=core, user_cohorts=[people], evaluation_cohort=test, **MODEL)
    model = str(answer["model"]["id"])
    with Bars(console, STEPS, transient=transient) as bars:
        _wait_until_it_serves(client, model, bars)
    return Deployment(client, model, people, time.monotonic() - started)


def _cohort(client: LacunaClient, name: str, kind: str, records: Records) -> str:
    cohort = client.create_cohort(name, kind=kind, shape=SHAPE, dtype="uint8", class_names=CLASS_NAMES)
    cohort_id = str(cohort["id"])
    if kind == "user":
        client.upload(cohort_id, records.x, records.y, subjects=records.subjects, ids=records.ids)
    else:
        client.upload(cohort_id, records.x, records.y)
    return cohort_id


def _wait_until_it_serves(client: LacunaClient, model: str, bars: Bars) -> None:
    """Return once the model has a version and nothing more to do."""
    until = time.monotonic() + TIMEOUT_S
    while time.monotonic() < until:
        found = [job for job in client.jobs(limit=50) if job["kind"] in STEPS or job["kind"] in ALSO_AWAITED]
        _draw(bars, found)
        busy = any(job["state"] in ("ready", "running") for job in found)
        if not busy and client.model(model)["active_version"] is not None:
            return
        time.sleep(POLL_S)
    raise WaitedTooLong("the model", TIMEOUT_S)


def _draw(bars: Bars, found: list[Json]) -> None:
    for job in sorted(found, key=lambda job: int(job["id"])):
        if job["state"] == "failed":
            raise JobFailed(job["id"], str(job["error"]))
        if job["kind"] in STEPS and job["state"] != "ready":
            bars.show(job["kind"], float(job["progress"]))
