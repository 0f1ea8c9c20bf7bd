"""Does every accepted request end once and rightly, whatever breaks meanwhile?

Run it from the repository's root: `python -m benchmarks.chaos --minutes 5 --requests 1000 --clients 8 --seed 1`. It
starts PostgreSQL and Valkey from wheels, API processes, Celery workers and reconcilers, all of them real processes, and
breaks them at random while clients ask for people to be forgotten. PostgreSQL itself is killed, stopped and frozen too.
tests/support/chaos.py does the work, tests/support/storm.py the breaking; the short version is a test.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import tempfile
from pathlib import Path


def main() -> int:
    """Run one storm and print what happened. Returns 0 when everything held."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=5.0, help="how long things break")
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--models", type=int, default=3)
    parser.add_argument("--servers", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--pause", type=float, default=6.0, help="most seconds between two breakages")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    arguments = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # the installation is the one of the tests
    from support.chaos import Plan, run
    from support.mortal_postgres import MortalPostgres
    from support.postgres import temporary_database
    from support.production import Production

    print(f"seed {arguments.seed}", flush=True)
    plan = Plan(
        arguments.seed,
        requests=arguments.requests,
        clients=arguments.clients,
        storm_s=60 * arguments.minutes,
        models=arguments.models,
        servers=arguments.servers,
        workers=arguments.workers,
        longest_pause_s=arguments.pause,
        patience_s=1800.0,
    )
    server = MortalPostgres()
    try:
        with temporary_database(server.url) as database, tempfile.TemporaryDirectory() as folder:
            production = Production(Path(folder), database, postgres=server)
            try:
                production.upgrade()
                report = run(production, plan)
            finally:
                production.stop()
    finally:
        server.stop()
    print(report.lines())
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
