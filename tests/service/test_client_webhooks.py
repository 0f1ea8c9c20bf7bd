"""The client tells messages of the service from all others."""

from __future__ import annotations

import base64
import time
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook

from service.client_errors import WebhookNotGenuine
from service.client_webhooks import verify_webhook

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
OTHER = "whsec_" + base64.b64encode(bytes(range(1, 33))).decode()
BODY = b'{"type":"request.completed","timestamp":"2026-11-01T00:00:00.000000Z","data":{"request":"r1"}}'


def headers(at: int | None = None, *, secrets: tuple[str, ...] = (SECRET,)) -> dict[str, str]:
    moment = int(time.time()) if at is None else at
    signed = [Webhook(one).sign("msg_1", datetime.fromtimestamp(moment, UTC), BODY.decode()) for one in secrets]
    return {"Webhook-Id": "msg_1", "Webhook-Timestamp": str(moment), "Webhook-Signature": " ".join(signed)}


def test_a_genuine_message_is_read() -> None:
    event = verify_webhook(SECRET, BODY, headers())
    assert (event.id, event.type, event.data) == ("msg_1", "request.completed", {"request": "r1"})
    assert verify_webhook(OTHER, BODY, headers(secrets=(SECRET, OTHER))) == event


def test_tampered_strange_and_old_messages_are_refused() -> None:
    good = headers()
    now = int(good["Webhook-Timestamp"])
    v1 = good["Webhook-Signature"]
    flipped = v1[:-5] + ("A" if v1[-5] != "A" else "B") + v1[-4:]
    wrong = [
        (SECRET, BODY.replace(b"r1", b"r2"), good),
        (SECRET, BODY + b" ", good),
        (OTHER, BODY, good),
        (SECRET, BODY, {**good, "Webhook-Id": "msg_2"}),
        (SECRET, BODY, {**good, "Webhook-Timestamp": str(now - 1)}),
        (SECRET, BODY, {**good, "Webhook-Timestamp": "soon"}),
        (SECRET, BODY, {**good, "Webhook-Signature": flipped}),
        (SECRET, BODY, {**good, "Webhook-Signature": v1.replace("v1,", "v2,")}),
        (SECRET, BODY, {**good, "Webhook-Signature": "nonsense"}),
        (SECRET, BODY, {**good, "Webhook-Signature": "v1,***"}),
        (SECRET, BODY, {}),
        (SECRET, b"\xff", good),
        (SECRET, BODY, headers(now - 600)),
        (SECRET, BODY, headers(now + 600)),
    ]
    for secret, body, said in wrong:
        with pytest.raises(WebhookNotGenuine) as refused:
            verify_webhook(secret, body, said)
        assert "r1" not in str(refused.value)
