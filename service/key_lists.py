"""What is public about the keys that sign, for the HTTP interface and the command line alike."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from ledger import signing_keys
from ledger.database import Transaction
from ledger.signing_keys import KnownKey
from ledger.tables import LogState
from service.moments import rfc3339


def described(key: KnownKey) -> dict[str, Any]:
    """Return what is public about a key, for JSON."""
    row = key.row
    found: dict[str, Any] = {"key_id": key.key_id, "public_key_pem": key.pem(), "state": key.state}
    if row is None:
        return found
    times = {name: rfc3339(getattr(row, name)) for name in ("created_at", "activated_at", "retired_at", "revoked_at")}
    revoked = {"not_after": rfc3339(row.not_after), "log_size": row.trusted_size, "reason": row.reason}
    return {**found, **times, **revoked, "handover": signing_keys.handover_of(row)}


def revocation_list(tx: Transaction) -> dict[str, Any]:
    """Return the list of revoked keys, for JSON."""
    return {
        "log": tx.session.execute(select(LogState.origin)).scalar_one_or_none(),
        "as_of": rfc3339(tx.now),
        "items": [
            {
                "key_id": row.id,
                "reason": row.reason,
                "not_after": rfc3339(row.not_after),
                "log_size": row.trusted_size,
                "revoked_at": rfc3339(row.revoked_at),
            }
            for row in signing_keys.revoked(tx)
        ],
    }
