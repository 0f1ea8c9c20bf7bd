"""Taking longer than the law's first deadline: once, in time, and with a reason that is kept."""

from __future__ import annotations

import re

from ledger import deadlines, events, requests
from ledger.database import Transaction
from ledger.errors import ReasonRefused, WrongState
from ledger.keys import KeyRing
from ledger.sealed import seal, unseal
from ledger.tables import ForgetRequest, Tenant

ENDED = ("completed", "cancelled")
_ADDRESS = re.compile(r"[^\s@]@[^\s@]")


def extend(tx: Transaction, ring: KeyRing, tenant_id: str, request_id: str, reason: str) -> ForgetRequest:
    """Move a request's deadline to the latest that its regulation allows, counted from when it was received.

    GDPR, Art. 12(3): two further months, and the person must be told the reasons within the first one. CCPA
    regulations, section 7021(b): 90 days in all. The reason is kept encrypted.
    Raises NotFound, ReasonRefused, WrongState: it has ended, is overdue, or was extended before.
    """
    requests.get(tx, tenant_id, request_id)
    request = tx.session.get_one(ForgetRequest, request_id, with_for_update=True, populate_existing=True)
    if request.state in ENDED:
        raise WrongState("forget request", request.state, "open")
    if request.extended_at is not None:
        raise WrongState("forget request", "extended", "one with its first deadline")
    if tx.now > request.due_at:
        raise WrongState("forget request", "overdue", "one whose deadline is still to come")
    if _ADDRESS.search(reason):
        raise ReasonRefused
    zone = tx.session.get_one(Tenant, tenant_id).time_zone
    request.first_due_at, request.extended_at = request.due_at, tx.now
    request.due_at = max(request.due_at, deadlines.due_at(request.received_at, request.regulation, zone, extended=True))
    request.extension_reason = seal(reason.encode(), ring=ring, context=_context(request.id), random=tx.random)
    tx.session.flush()
    events.append(tx, tenant_id, "forget.extended", request.id, due_at=request.due_at)
    return request


def reason_of(request: ForgetRequest, ring: KeyRing) -> str | None:
    """Return why it takes longer, None if it was not extended. Raises ObjectCorrupt."""
    if request.extension_reason is None:
        return None
    sealed = request.extension_reason
    return unseal(sealed, ring=ring, context=_context(request.id), name="reason of an extension").decode()


def _context(request_id: str) -> bytes:
    return b"extension:" + request_id.encode()
