"""How fast do one or several worker processes ingest stored records and publish a first version of them?

Run it from the repository's root: `python -m benchmarks.ingest --records 80000 --workers 1 2`. For each number of
workers it starts PostgreSQL from a wheel, an API process, and workers with one thread each; uploads synthetic records
(64 bytes, ten classes), and then registers a model over them. Timed by the ledger, each job from being added to its
end: `ingest_model`, and the first `advance`, which sums, solves, checks and publishes. Statistics and weights are
compared by a challenge at the end.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.scale import CLASSES, FEATURES, PIECE, records

CHALLENGE = bytes(range(32))


def main() -> None:
    """Print rows per second for each number of workers, and whether all have learned the same bytes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=60_000)
    parser.add_argument("--width", type=int, default=257, help="features of a record, the bias included")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # the installation is the one of the tests
    from support.deployment import Deployment
    from support.postgres import start_postgres, temporary_database

    server, url = start_postgres()
    learned = []
    try:
        for workers in options.workers:
            with temporary_database(url) as database, tempfile.TemporaryDirectory() as folder:
                settings = {"LACUNA_THREADS": "1", "LACUNA_JOB_LEASE_MS": "30000", "LACUNA_POLL_MS": "50"}
                deployment = Deployment(Path(folder), database, settings)
                try:
                    deployment.upgrade()
                    deployment.start_server()
                    ingesting, publishing, digests = measure(deployment, options.records, options.width, workers)
                finally:
                    deployment.stop()
            learned.append(digests)
            rate = options.records / ingesting
            print(
                f"{workers} workers: {rate:,.0f} records/s ingested ({ingesting:.1f} s), {publishing:.1f} s to publish"
            )
    finally:
        server.stop()
    print("the same bytes" if all(digests == learned[0] for digests in learned) else "DIFFERENT BYTES")


def measure(deployment: Any, count: int, width: int, workers: int) -> tuple[float, float, dict[str, str]]:
    """Return how many seconds ingestion and the first version took, and digests of what was learned."""
    shape = {"shape": [FEATURES], "dtype": "uint8", "class_names": CLASSES}
    with deployment.client() as client:
        core = client.create_cohort("core", kind="core", **shape)["id"]
        user = client.create_cohort("user", kind="user", **shape)["id"]
        client.upload(core, *records(4_000, 1))
        for start in range(0, count, PIECE):
            client.upload(user, *records(min(PIECE, count - start), 2 + start))
        for _ in range(workers):
            deployment.start_worker()
        made = client.create_model(
            "model",
            core_cohort=core,
            user_cohorts=[user],
            architecture="mlp",
            feature_map="nystrom",
            width=width,
            epochs=3,
        )
        model = made["model"]["id"]
        client.wait_for_version(model, timeout_s=3600)
        done = {job["kind"]: job for job in client.jobs(limit=1000)}
        ingesting, publishing = (lasted(done[kind]) for kind in ("ingest_model", "advance"))
        return ingesting, publishing, client.digests(model, 1, CHALLENGE)


def lasted(job: dict[str, Any]) -> float:
    """Return the seconds from a job's being added to its end."""
    added, ended = (datetime.fromisoformat(job[at]) for at in ("created_at", "finished_at"))
    return (ended - added).total_seconds()


if __name__ == "__main__":
    main()
