"""The client's calls about legal holds."""

from __future__ import annotations

from service.client_connection import Connection, Json


class Holds:
    """The holds of a service; `LacunaClient.holds`."""

    def __init__(self, connection: Connection) -> None:
        """`connection` is the client's."""
        self._connection = connection

    def place(self, subject: str, reason: str, *, subject_type: str = "controller_customer_id") -> Json:
        """Keep everything of a person, now and later. `reason` is for people, and must not name the person."""
        body = {"subject": {"value": subject, "type": subject_type}, "reason": reason}
        return self._connection.json("POST", "/v1/holds", json=body)

    def list_all(self) -> list[Json]:
        """Return the holds that are in force, oldest first."""
        return self._connection.items("/v1/holds")

    def release(self, hold: str) -> Json:
        """Delete a hold. Returns `{id, filed_again}`: the requests that take up again what it had stopped."""
        return self._connection.json("DELETE", f"/v1/holds/{hold}")
