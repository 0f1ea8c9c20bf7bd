"""The short version of `python -m benchmarks.chaos`: nothing accepted is lost, and nothing happens twice."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import pytest
from support import nursery
from support.chaos import Plan, run
from support.mortal_postgres import MortalPostgres
from support.postgres import temporary_database
from support.production import Production

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]
SEED = int(os.environ.get("LACUNA_CHAOS_SEED", secrets.randbelow(10**6)))


@pytest.mark.timeout(900)
def test_requests_survive_a_storm(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server = MortalPostgres()  # our own: it is killed, restarted and frozen too
    try:
        with temporary_database(server.url) as database:
            production = Production(tmp_path, database, postgres=server, start=nursery.start)
            try:
                production.upgrade()
                report = run(production, Plan(SEED, requests=40, clients=3, storm_s=25, longest_pause_s=1.0))
            finally:
                production.stop()
    finally:
        server.stop()
    with capsys.disabled():
        print(f"\n{report.lines()}")  # repeat it with LACUNA_CHAOS_SEED
    assert report.wrong == []
    assert report.completed == report.stored >= report.accepted == 40
    assert sum(report.broken.values()) >= 8
