"""Being told from a terminal, of a real server: its worker sends, its streams are followed, and end when it stops."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import numpy as np
import pytest
from support.command_line import Lacuna
from support.following import Followed
from support.waiting import wait_until

from service.demo.running_service import RunningService, running_service


@pytest.mark.acceptance
def test_being_told_from_a_terminal_until_the_server_stops(
    lacuna: Lacuna, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_service(tmp_path / "service") as service:
        monkeypatch.setenv("LACUNA_URL", service.url)
        monkeypatch.setenv("LACUNA_API_KEY", service.key)
        follow_a_request(lacuna, service)
        register_and_ping(lacuna)
        headers = {"Authorization": f"Bearer {service.key}"}
        client = httpx.Client(base_url=service.url, headers=headers, trust_env=False)
        stream = Followed(client, "/v1/events")
    stream.wait_for_end()
    client.close()
    assert stream.ended_well  # one that is cut off when the server's patience ends has no last chunk


def follow_a_request(asked: Lacuna, service: RunningService) -> None:
    cohort = service.client.create_cohort("people", kind="user", shape=[2], dtype="float32", class_names=["no", "yes"])
    x, y = np.zeros((2, 2), np.float32), np.array([0, 1])
    service.client.upload(cohort["id"], x, y, subjects=np.array(["ada", "bob"]))
    request = json.loads(asked("forget", "--subject", "ada", "--json").out)["id"]
    said = asked("follow", request, "--json")
    assert said.status == 0
    told = [json.loads(line) for line in said.out.splitlines()]
    assert (told[0]["type"], told[-1]["type"]) == ("request.accepted", "request.completed")
    assert "request.completed" in asked("follow", request).out
    assert asked("follow", request, "--after", told[-1]["id"]).out == ""


def register_and_ping(asked: Lacuna) -> None:
    assert "No webhooks" in asked("webhook", "list").out
    assert asked("webhook", "add", "https://127.0.0.1/", "--label", "inside").status == 3
    said = asked("webhook", "add", "https://localhost/", "--label", "desk", "--event", "request.completed")
    assert "whsec_" in said.out
    (found,) = json.loads(asked("webhook", "list", "--json").out)["webhooks"]
    webhook = found["id"]
    assert "desk" in asked("webhook", "list").out
    assert "Nothing was sent" in asked("webhook", "deliveries", webhook).out
    assert asked("webhook", "ping", webhook).status == 0

    def refused() -> bool:
        (sent,) = json.loads(asked("webhook", "deliveries", webhook, "--json").out)["deliveries"]
        return bool(sent["last_error"] == "the address may not be told")

    wait_until(refused, 60, "the worker to refuse to tell this machine")
    assert "may not be" in asked("webhook", "deliveries", webhook).out
    assert "0 messages" in asked("webhook", "replay", webhook, "--since", "2026-01-01T00:00:00Z").out
    assert asked("webhook", "remove", webhook).status == 0
    assert asked("webhook", "ping", webhook).status == 3
