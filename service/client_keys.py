"""The client's calls about API keys."""

from __future__ import annotations

from collections.abc import Sequence

from service.client_connection import Connection, Json


class Keys:
    """The API keys of a tenant; `LacunaClient.keys`. All of it needs the scope `admin`."""

    def __init__(self, connection: Connection) -> None:
        """`connection` is the client's."""
        self._connection = connection

    def create(
        self,
        label: str,
        scopes: Sequence[str],
        *,
        expires_in_s: int | None = None,
        outputs: str = "probabilities",
        digits: int | None = None,
    ) -> Json:
        """Make a key, whose predictions are answered with probabilities, rounded ones or labels (`outputs`).

        The answer's `key` is shown this once.
        """
        body = {
            "label": label,
            "scopes": list(scopes),
            "expires_in_s": expires_in_s,
            "outputs": outputs,
            "digits": digits,
        }
        return self._connection.json("POST", "/v1/keys", json=body)

    def list_all(self) -> list[Json]:
        """Return all keys, oldest first, without the keys themselves."""
        return self._connection.items("/v1/keys")

    def change(self, key: str, *, outputs: str, digits: int | None = None) -> Json:
        """Change how the predictions of the key of this id are answered."""
        return self._connection.json("PATCH", f"/v1/keys/{key}", json={"outputs": outputs, "digits": digits})

    def rotate(self, key: str, *, overlap_s: int = 86_400) -> Json:
        """Replace the key of this id; the old one still opens for `overlap_s` seconds. Returns the new one."""
        return self._connection.json("POST", f"/v1/keys/{key}/rotate", json={"overlap_s": overlap_s})

    def revoke(self, key: str) -> Json:
        """Let the key of this id open nothing any more."""
        return self._connection.json("DELETE", f"/v1/keys/{key}")
