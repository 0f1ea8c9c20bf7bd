"""Every line that a worker logs while it does a job bears the job's number."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest
import structlog
from support.world import NewWorld, person

from workers.logs import configure_logs


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    before = structlog.get_config()
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    configure_logs("INFO")
    yield written
    structlog.configure(**before)


def test_lines_of_what_a_job_calls_name_the_job(new_world: NewWorld, lines: io.StringIO) -> None:
    world = new_world(core_people=4)
    world.upload(person("a"))
    world.register()
    log = structlog.get_logger("somebody else")
    world.work(deps=replace(world.deps, point=lambda place: log.info("passing", place=place)))
    log.info("between jobs")
    said = [json.loads(line) for line in lines.getvalue().splitlines()]
    passing = [line for line in said if line["event"] == "passing"]
    done = {line["job"]: line["kind"] for line in said if line["event"] == "job done"}
    assert len(done) >= 3
    assert {line["job"] for line in passing} == set(done)
    assert all(line["kind"] == done[line["job"]] and line["fence"] >= 1 for line in passing)
    (between,) = [line for line in said if line["event"] == "between jobs"]
    assert "job" not in between
