"""The client's calls about webhooks, and the check that a message which arrived is the service's own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import cast

from standardwebhooks import Webhook as Signer
from standardwebhooks.webhooks import WebhookVerificationError

from service.client_connection import Connection
from service.client_errors import WebhookNotGenuine
from service.client_events import Event
from service.client_types import Delivery, MadeWebhook, Webhook


def verify_webhook(secret: str, body: bytes, headers: Mapping[str, str]) -> Event:
    """Return what a message says, once its signature and its time (five minutes) are right.

    `body`: the bytes as they came. An `Event.id` may come more than once: act on it once. Raises WebhookNotGenuine.
    """
    try:
        Signer(secret).verify(body, dict(headers), json_parse=False)
        said = json.loads(body)
    except (WebhookVerificationError, ValueError) as problem:  # ValueError: a header or the body is malformed
        raise WebhookNotGenuine from problem
    named = {name.lower(): value for name, value in headers.items()}
    return Event(named["webhook-id"], said["type"], said["timestamp"], said["data"])


class Webhooks:
    """A tenant's webhooks; `LacunaClient.webhooks`. Changing them needs the scope `admin`, reading `audit:read`."""

    def __init__(self, connection: Connection) -> None:
        """`connection` is the client's."""
        self._connection = connection

    def create(self, url: str, label: str, *, events: Sequence[str] = ()) -> MadeWebhook:
        """Register an address for these types of events, none named: for all. The answer's `secret` is shown once."""
        body = {"url": url, "label": label, "events": list(events)}
        return cast(MadeWebhook, self._connection.json("POST", "/v1/webhooks", json=body))

    def list_all(self) -> list[Webhook]:
        """Return all of them, oldest first."""
        return cast(list[Webhook], self._connection.items("/v1/webhooks"))

    def change(self, webhook: str, **changes: object) -> Webhook:
        """Change url, label, events or state (active or disabled)."""
        return cast(Webhook, self._connection.json("PATCH", f"/v1/webhooks/{webhook}", json=changes))

    def delete(self, webhook: str) -> None:
        """Send nothing more to it."""
        self._connection.call("DELETE", f"/v1/webhooks/{webhook}")

    def rotate(self, webhook: str, *, overlap_s: int = 86_400) -> MadeWebhook:
        """Replace its secret; for `overlap_s` seconds both sign."""
        body = {"overlap_s": overlap_s}
        return cast(MadeWebhook, self._connection.json("POST", f"/v1/webhooks/{webhook}/rotate", json=body))

    def ping(self, webhook: str) -> Delivery:
        """Have a test message sent."""
        return cast(Delivery, self._connection.json("POST", f"/v1/webhooks/{webhook}/ping"))

    def deliveries(self, webhook: str, *, state: str | None = None) -> list[Delivery]:
        """Return what it was sent or is owed, newest first."""
        params = {} if state is None else {"state": state}
        return cast(list[Delivery], self._connection.items(f"/v1/webhooks/{webhook}/deliveries", params))

    def replay(self, webhook: str, delivery: str) -> Delivery:
        """Send one message again."""
        path = f"/v1/webhooks/{webhook}/deliveries/{delivery}/replay"
        return cast(Delivery, self._connection.json("POST", path))

    def replay_since(self, webhook: str, since: str) -> int:
        """Send again what has failed since a time as `2026-11-01T00:00:00Z`; return how many messages that are."""
        answer = self._connection.json("POST", f"/v1/webhooks/{webhook}/replay", json={"since": since})
        return int(answer["replayed"])
