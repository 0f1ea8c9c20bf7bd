"""The short version of `python -m benchmarks.chaos`: nothing accepted is lost, and nothing happens twice."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import pytest
from support.chaos import Plan, run
from support.production import Production

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]
SEED = int(os.environ.get("LACUNA_CHAOS_SEED", secrets.randbelow(10**6)))


@pytest.mark.timeout(900)
def test_requests_survive_a_storm(
    tmp_path: Path, fresh_postgres_database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    production = Production(tmp_path, fresh_postgres_database)
    try:
        production.upgrade()
        report = run(production, Plan(SEED, requests=40, clients=3, storm_s=25))
    finally:
        production.stop()
    with capsys.disabled():
        print(f"\n{report.lines()}")  # repeat it with LACUNA_CHAOS_SEED
    assert report.wrong == []
    assert report.completed == report.stored >= report.accepted == 40
    assert sum(report.broken.values()) >= 8
