"""Somebody who was recognised, and what they may do."""

from __future__ import annotations

from dataclasses import dataclass

from ledger.api_keys import FULL, Outputs
from ledger.sessions import SignedIn


@dataclass(frozen=True, slots=True)
class Principal:
    """A key that was recognised: its tenant, its id, its label and its scopes.

    Or a session of the dashboard; then `signed_in` says whose, and id and label are the person's or the key's.
    `client_id` is the first of the keys that this one replaces, `outputs` how its predictions are answered.
    """

    tenant_id: str
    key_id: str
    tenant: str
    key: str
    scopes: frozenset[str]
    signed_in: SignedIn | None = None
    client_id: str = ""
    outputs: Outputs = FULL
    expires_at: int | None = None
