"""What a completed request leaves behind that has to do with its identifiers: what, why, and for how long.

Stated in the certificate. `ends` says in words what ends it; `until` is a time where one is fixed.
"""

from __future__ import annotations

from dataclasses import dataclass

from ledger import idempotency, receipts
from ledger.database import Transaction
from ledger.tables import ForgetRequest, Receipt


@dataclass(frozen=True, slots=True)
class Kept:
    """One thing that stays. until: UTC microseconds, None where no time is fixed."""

    what: str
    purpose: str
    ends: str
    until: int | None = None


def retained(tx: Transaction, request: ForgetRequest) -> list[Kept]:
    """Return what stays of a request that is completed in this transaction."""
    kept = [
        Kept(
            "The request's row: random numbers, the kind of selection, times, states and counts; no identifier.",
            "To show that the request was met, and in time (GDPR, Art. 5(2)).",
            "No end is set; it ends with the tenant's data.",
        ),
        Kept(
            "This certificate and entries of the log: random numbers, salted commitments and times; no identifier.",
            "To prove the erasure, also to whoever trusts nobody.",
            "Never: the log is append-only, and what outsiders have fetched of it is out of reach.",
        ),
    ]
    if request.selector_kind == "subjects":
        kept.append(
            Kept(
                "Keyed hashes (HMAC-SHA256 under the tenant's key) of the forms in which each identifier is known.",
                "So that nobody who was forgotten is uploaded again unasked.",
                "A withdrawal of the suppression ends its effect; the hashes end with the tenant's key.",
            )
        )
    if request.held:
        kept.append(
            Kept(
                "Keyed hashes of the identifiers of those whose records a legal hold keeps.",
                "To file the request again when the hold is released.",
                "When the request that takes this one up is completed.",
            )
        )
    if request.commitment is not None and tx.session.get(Receipt, request.id) is not None:
        until = None if request.held else tx.now + receipts.KEPT_US
        kept.append(
            Kept(
                "The salts of the commitment, encrypted.",
                "So that the requester can fetch the receipt.",
                "30 days after the completion (of the request that follows a hold), or when the receipt is let go of.",
                until,
            )
        )
    kept.append(
        Kept(
            "A keyed hash of the request as it was sent, if it came with an Idempotency-Key.",
            "So that the same request, sent again, is not filed twice.",
            "24 hours after the request.",
            request.received_at + idempotency.KEPT_US,
        )
    )
    return kept
