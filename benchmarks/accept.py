"""How long does accepting a forget request take on SQLite while the worker is busy?

Run it from the repository's root: `python -m benchmarks.accept`. It starts the real embedded server, trains a model,
then sends forget requests at a fixed rate from one process while the worker (a) idles, (b) advances and purges for the
requests themselves, (c) ingests an upload as well. The baseline is GET /healthz at the same rate. Open loop: a request
that starts late counts from when it was due.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from pathlib import Path

import httpx
import numpy as np

from service.demo.running_service import RunningService, running_service

SHAPE = [32]
CLASSES = [str(c) for c in range(10)]


def records(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return synthetic tabular records x (count, 32) and labels y (count,)."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, len(CLASSES), count)
    return (rng.normal(size=(count, *SHAPE)) + y[:, None] / 3).astype(np.float32), y


async def fire(
    service: RunningService, method: str, path: str, *, rate: float, seconds: float, body: bool
) -> list[float]:
    """Send requests at `rate` per second; return the milliseconds from when each was due until it was answered."""
    took: list[float] = []
    limits = httpx.Limits(max_connections=200)
    headers = {"Authorization": f"Bearer {service.key}"}
    async with httpx.AsyncClient(base_url=service.url, headers=headers, limits=limits, timeout=60) as client:
        start = time.perf_counter() + 0.2

        async def one(number: int) -> None:
            due = start + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            json = {"subjects": [{"value": f"person-{number}"}]} if body else None
            answer = await client.request(method, path, json=json)
            if answer.is_error:
                raise SystemExit(f"refused: {answer.text}")
            took.append((time.perf_counter() - due) * 1000)

        await asyncio.gather(*(one(n) for n in range(int(rate * seconds))))
    return took


def row(name: str, took: list[float]) -> str:
    """Return one line of the table."""
    cuts = statistics.quantiles(took, n=100)
    return (
        f"| {name:<44} | {len(took):>6} | {cuts[49]:>7.1f} | {cuts[94]:>7.1f} | {cuts[98]:>7.1f} | {max(took):>7.1f} |"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=float, default=50.0)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--people", type=int, default=4000)
    options = parser.parse_args()
    title = f"at {options.rate:g} requests/s, milliseconds"
    print(f"| {title:<44} |  count |     p50 |     p95 |     p99 |     max |")
    print(f"| {'-' * 44} | ------ | ------- | ------- | ------- | ------- |")
    with tempfile.TemporaryDirectory() as folder, running_service(Path(folder) / "service") as service:
        client = service.client
        cohorts = [
            client.create_cohort(kind, kind=kind, shape=SHAPE, dtype="float32", class_names=CLASSES)["id"]
            for kind in ("core", "user")
        ]
        client.upload(cohorts[0], *records(500, 0))
        x, y = records(2 * options.people, 1)
        client.upload(cohorts[1], x, y, subjects=np.array([f"person-{i // 2}" for i in range(len(y))]))

        def measure(name: str, method: str = "POST", path: str = "/v1/forget-requests", body: bool = True) -> None:
            took = asyncio.run(fire(service, method, path, rate=options.rate, seconds=options.seconds, body=body))
            print(row(name, took), flush=True)

        measure("baseline: GET /healthz, worker idle", "GET", "/healthz", body=False)
        made = client.create_model(
            "model", core_cohort=cohorts[0], user_cohorts=[cohorts[1]], architecture="mlp", feature_map="head", epochs=5
        )
        client.wait_for_version(made["model"]["id"])
        measure("accept while the worker forgets")
        bulk, labels = records(60_000, 2)
        client.upload(cohorts[1], bulk, labels)
        measure("accept while the worker forgets and ingests")


if __name__ == "__main__":
    main()
