"""Asking for a dry run and waiting for its answer."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from service.client import LacunaClient
from service.client_errors import JobFailed, WaitedTooLong


def client_of(*jobs: dict[str, Any]) -> tuple[LacunaClient, list[tuple[str, Any]]]:
    """Return a client of a service whose job looks like this, one after another, and what it is asked."""
    asked: list[tuple[str, Any]] = []
    left = list(jobs)

    def handler(request: httpx.Request) -> httpx.Response:
        body = request.read()
        asked.append((f"{request.method} {request.url.path}", json.loads(body) if body else None))
        if request.method == "POST":
            return httpx.Response(202, json={"job": 7})
        return httpx.Response(200, json=left.pop(0) if len(left) > 1 else left[0])

    return LacunaClient("http://service", "key", transport=httpx.MockTransport(handler)), asked


def job(state: str, result: Any = None, error: str | None = None) -> dict[str, Any]:
    return {"state": state, "result": result, "error": error}


def test_the_answer_is_waited_for() -> None:
    client, asked = client_of(job("ready"), job("running"), job("done", {"outcome": "erased"}))
    with client:
        number = client.dry_runs.start(subjects=["ada"], labels=(), cohorts=["c"], regulation="ccpa")
        assert client.dry_runs.answer(number) == {"outcome": "erased"}
    body = {"subjects": [{"value": "ada", "type": "controller_customer_id"}], "cohorts": ["c"], "regulation": "ccpa"}
    assert asked[0] == ("POST /v1/forget-requests/dry-run", body)
    assert [name for name, _ in asked[1:]] == ["GET /v1/jobs/7"] * 3


@pytest.mark.parametrize(
    ("ended", "why"), [(job("failed", error="Moot: because"), "Moot: because"), (job("done"), "deleted already")]
)
def test_an_answer_that_will_not_come(ended: dict[str, Any], why: str) -> None:
    client, _ = client_of(ended)
    with client, pytest.raises(JobFailed, match=why):
        client.dry_runs.answer(7)


def test_an_answer_that_is_late() -> None:
    client, _ = client_of(job("running"))
    with client, pytest.raises(WaitedTooLong):
        client.dry_runs.answer(7, timeout_s=0.0)
