"""How long does an idle installation take from an accepted request to the beginning of its job?

Run it from the repository's root: `python -m benchmarks.nudge`. It starts PostgreSQL and Valkey from wheels, an API
process, a Celery worker and a reconciler, trains a model, and asks for unknown people to be forgotten, one by one, each
when nothing is left to do. Measured by the ledger: from the commit's job row to the claim.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path


def main() -> None:
    """Measure and print median, 90 % and 99 %."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=200)
    arguments = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # the installation is the one of the tests
    from sqlalchemy import select
    from support.postgres import start_postgres, temporary_database
    from support.production import Production
    from support.waiting import wait_until
    from support.world import person

    from ledger.tables import Job

    server, url = start_postgres()
    try:
        with temporary_database(url) as database, tempfile.TemporaryDirectory() as folder:
            production = Production(Path(folder), database)
            try:
                production.upgrade()
                production.start_server()
                production.start_celery()
                production.start_reconciler()
                with production.client() as client, production.ledger() as ledger:
                    production.train(client, [person("somebody")])

                    def idle() -> bool:
                        with ledger.database.read() as tx:
                            return tx.session.execute(select(Job.id).where(Job.state != "done")).first() is None

                    took: list[float] = []
                    for number in range(arguments.requests):
                        wait_until(idle, 60, "nothing to be left to do")
                        time.sleep(0.02)
                        with ledger.database.read() as tx:
                            newest = tx.session.execute(select(Job.id).order_by(Job.id.desc()).limit(1)).scalar_one()
                        client.forget(subjects=[f"nobody-{number}"])
                        wait_until(idle, 60, "nothing to be left to do")
                        with ledger.database.read() as tx:
                            first = tx.session.execute(select(Job).where(Job.id > newest).order_by(Job.id)).scalars()
                            job = first.first()
                        assert job is not None
                        assert job.started_at is not None
                        took.append((job.started_at - job.created_at) / 1000)
            finally:
                production.stop()
    finally:
        server.stop()
    cuts = statistics.quantiles(took, n=100)
    print(f"{len(took)} jobs: median {cuts[49]:.1f} ms, 90 % {cuts[89]:.1f} ms, 99 % {cuts[98]:.1f} ms")


if __name__ == "__main__":
    main()
