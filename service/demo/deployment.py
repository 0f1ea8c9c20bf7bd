"""Setting a service up over HTTP as any customer would: cohorts, uploads, a model."""

from __future__ import annotations

import time
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from service.client import Json, LacunaClient
from service.client_errors import JobFailed, WaitedTooLong
from service.demo.data import CLASS_NAMES, SHAPE, DemoData, Records

MODEL = {
    "architecture": "small-cnn",
    "feature_map": "pooled",
    "alpha": 5.0,
    "mu": 0.01,
    "epochs": 60,
    "seed": 1,
}
"""All layers' pooled activations (1,041 features); the ridge where forgotten classes are really gone."""
KINDS = {
    "train_core": "train the public core",
    "ingest_model": "extract features",
    "ingest_upload": "extract features",
    "advance": "sum up and solve",
}
POLL_S = 0.15
TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True)
class Deployment:
    """A model that serves, and the cohort whose people it can forget. `seconds`: from its registration to then."""

    client: LacunaClient
    model: str
    user_cohort: str
    seconds: float


def deploy(client: LacunaClient, data: DemoData, users: Records, console: Console) -> Deployment:
    """Upload core, test and user records, register the model and wait until it serves. Raises what the client does."""
    core = _cohort(client, "core digits", "core", data.core)
    test = _cohort(client, "test digits", "core", data.test)
    people = _cohort(client, "people's digits", "user", users)
    started = time.monotonic()
    answer = client.create_model("digits", core_cohort=core, user_cohorts=[people], evaluation_cohort=test, **MODEL)
    model = answer["model"] if isinstance(answer["model"], str) else answer["model"]["id"]
    wait_until_it_serves(client, model, console)
    return Deployment(client, model, people, time.monotonic() - started)


def _cohort(client: LacunaClient, name: str, kind: str, records: Records) -> str:
    cohort = client.create_cohort(name, kind=kind, shape=SHAPE, dtype="uint8", class_names=CLASS_NAMES)
    cohort_id = str(cohort["id"])
    if kind == "user":
        client.upload(cohort_id, records.x, records.y, subjects=records.subjects, ids=records.ids)
    else:
        client.upload(cohort_id, records.x, records.y)
    return cohort_id


def wait_until_it_serves(client: LacunaClient, model: str, console: Console) -> None:
    """Show a bar per kind of job until the model has a version and nothing more to do. Raises JobFailed."""
    bars: dict[str, TaskID] = {}
    until = time.monotonic() + TIMEOUT_S
    columns = (TextColumn("    {task.description:<24}"), BarColumn(30), TextColumn("{task.percentage:>3.0f} %"))
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        while time.monotonic() < until:
            found = [job for job in client.jobs(limit=50) if job["kind"] in KINDS]
            _draw(progress, bars, found)
            busy = any(job["state"] in ("ready", "running") for job in found)
            if not busy and client.model(model)["active_version"] is not None:
                return
            time.sleep(POLL_S)
    raise WaitedTooLong("the model", TIMEOUT_S)


def _draw(progress: Progress, bars: dict[str, TaskID], found: list[Json]) -> None:
    for job in sorted(found, key=lambda job: int(job["id"])):
        if job["state"] == "failed":
            raise JobFailed(job["id"], str(job["error"]))
        words = KINDS[job["kind"]]
        if words not in bars:
            bars[words] = progress.add_task(words, total=1.0)
        progress.update(bars[words], completed=float(job["progress"]))
