"""Being told from a terminal; the embedded server's own worker sends, and refuses what only this machine can reach."""

from __future__ import annotations

import json

import pytest
from support.command_line import Lacuna
from support.waiting import wait_until


@pytest.mark.acceptance
def test_a_webhook_from_a_terminal(asked: Lacuna) -> None:
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
        return sent["last_error"] == "the address may not be told"

    wait_until(refused, 60, "the worker to refuse to tell this machine")
    assert "may not be" in asked("webhook", "deliveries", webhook).out
    assert "0 messages" in asked("webhook", "replay", webhook, "--since", "2026-01-01T00:00:00Z").out
    assert asked("webhook", "remove", webhook).status == 0
    assert asked("webhook", "ping", webhook).status == 3


@pytest.mark.acceptance
def test_a_request_is_followed_from_a_terminal(asked: Lacuna) -> None:
    request = json.loads(asked("forget", "--subject", "ada", "--json").out)["id"]
    said = asked("follow", request, "--json")
    assert said.status == 0
    told = [json.loads(line) for line in said.out.splitlines()]
    assert (told[0]["type"], told[-1]["type"]) == ("request.accepted", "request.completed")
    assert "request.completed" in asked("follow", request).out
    assert asked("follow", request, "--after", told[-1]["id"]).out == ""
