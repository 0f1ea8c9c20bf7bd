"""The client's calls about people who must not be uploaded again."""

from __future__ import annotations

from collections.abc import Sequence

from service.client_connection import Connection, Json


class Suppressions:
    """The suppressions of a service; `LacunaClient.suppressions`."""

    def __init__(self, connection: Connection) -> None:
        """`connection` is the client's."""
        self._connection = connection

    def count(self) -> Json:
        """Return `{active, withdrawn}`. Who they are cannot be read."""
        return self._connection.json("GET", "/v1/suppressions")

    def withdraw(self, subjects: Sequence[str], *, subject_type: str = "controller_customer_id") -> Json:
        """Let these people be uploaded again. Returns `{withdrawn}`: how many of them were suppressed until now."""
        body = {"subjects": [{"value": value, "type": subject_type} for value in subjects]}
        return self._connection.json("POST", "/v1/suppressions/withdrawals", json=body)
