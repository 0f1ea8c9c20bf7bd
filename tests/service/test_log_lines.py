"""Every line that the service logs on account of a request bears the request's id."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from support.site import open_site
from support.world import NewWorld

from service.logs import configure_logging


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    before, root = structlog.get_config(), logging.getLogger()
    handlers, level = root.handlers, root.level
    written = io.StringIO()
    configure_logging("INFO", "json", written)
    yield written
    structlog.configure(**before)
    root.handlers, root.level = handlers, level


def test_lines_on_the_way_of_a_request_bear_its_id(new_world: NewWorld, lines: io.StringIO, tmp_path: Path) -> None:
    world = new_world(core_people=4)
    world.register()  # never trained: predictions are refused, and the refusal is logged from deep inside
    with open_site(world, tmp_path) as site:
        answers = [
            site.client.post(f"/v1/models/{world.model_id}/predict", json={"instances": [[0.0] * 6]}) for _ in range(2)
        ]
    said = [json.loads(line) for line in lines.getvalue().splitlines()]
    ids = [answer.headers["x-request-id"] for answer in answers]
    failed = [line for line in said if line["event"] == "request.failed"]
    assert [answer.status_code for answer in answers] == [503, 503]
    assert [line["request_id"] for line in failed] == ids
    assert [line["request_id"] for line in said if line["event"] == "request"] == ids


def test_a_look_at_readiness_is_one_line(new_world: NewWorld, lines: io.StringIO, tmp_path: Path) -> None:
    """Balancers ask every few seconds."""
    with open_site(new_world(core_people=1), tmp_path) as site:
        lines.truncate(0)
        asked = [site.client.get("/readyz").headers["x-request-id"] for _ in range(2)]
    said = [json.loads(line) for line in lines.getvalue().strip("\0").splitlines()]
    assert [line["event"] for line in said if line.get("request_id") in asked] == ["request"] * 2
