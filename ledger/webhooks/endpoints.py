"""The addresses of a tenant: registered, listed, changed, deleted; and the secrets that sign what they are sent.

Addresses and secrets are sealed: whoever reads the database can neither send in the service's name nor use a token that
an address carries.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence

from sqlalchemy import delete, func, select

from ledger import changes
from ledger.database import Transaction
from ledger.errors import NotFound, QuotaExceeded
from ledger.keys import KeyRing
from ledger.sealed import seal, unseal
from ledger.tables import WebhookDelivery, WebhookEndpoint
from ledger.webhooks import deliveries

ACTIVE, DISABLED, DELETED = "active", "disabled", "deleted"
OPERATOR = "operator"
MOST = 20
"""Addresses of one tenant: each event is written once for each of them."""
SECRET_BYTES = 32


def register(
    tx: Transaction, ring: KeyRing, tenant_id: str, *, url: str, label: str, events: Sequence[str]
) -> tuple[WebhookEndpoint, str]:
    """Add an address that `Rules.target` has let pass. Returns its row and its secret.

    The secret cannot be had again. Raises QuotaExceeded.
    """
    changes.lock_sequence(tx, tenant_id)  # two at once must not both find room
    mine = select(func.count()).select_from(WebhookEndpoint)
    mine = mine.where(WebhookEndpoint.tenant_id == tenant_id, WebhookEndpoint.state != DELETED)
    if tx.session.execute(mine).scalar_one() >= MOST:
        raise QuotaExceeded(MOST, "webhooks", "Delete one that is not needed")
    endpoint_id, secret = tx.new_id(), new_secret(tx)
    row = WebhookEndpoint(
        id=endpoint_id,
        tenant_id=tenant_id,
        label=label,
        url=_sealed(tx, ring, endpoint_id, "url", url),
        events=list(events),
        state=ACTIVE,
        secret=_sealed(tx, ring, endpoint_id, "secret", secret),
        created_at=tx.now,
    )
    tx.session.add(row)
    tx.session.flush()
    return row, secret


def new_secret(tx: Transaction) -> str:
    """Return a secret of 256 random bits, spelled as Standard Webhooks does."""
    return "whsec_" + base64.b64encode(tx.random(SECRET_BYTES)).decode()


def get(tx: Transaction, tenant_id: str, endpoint_id: str, *, lock: bool = False) -> WebhookEndpoint:
    """Return an address of this tenant. Raises NotFound, also for another tenant's."""
    query = select(WebhookEndpoint).where(WebhookEndpoint.id == endpoint_id, WebhookEndpoint.tenant_id == tenant_id)
    query = query.where(WebhookEndpoint.state != DELETED)
    # This lock lets others go on owing messages to the address.
    row = tx.session.execute(query.with_for_update(key_share=True) if lock else query).scalar_one_or_none()
    if row is None:
        raise NotFound("webhook", endpoint_id)
    return row


def list_all(tx: Transaction, tenant_id: str) -> Sequence[WebhookEndpoint]:
    """Return all addresses of the tenant, oldest first."""
    query = select(WebhookEndpoint).where(WebhookEndpoint.tenant_id == tenant_id, WebhookEndpoint.state != DELETED)
    return tx.session.execute(query.order_by(WebhookEndpoint.created_at, WebhookEndpoint.id)).scalars().all()


def change(
    tx: Transaction,
    ring: KeyRing,
    tenant_id: str,
    endpoint_id: str,
    *,
    url: str | None = None,
    label: str | None = None,
    events: Sequence[str] | None = None,
    state: str | None = None,
) -> WebhookEndpoint:
    """Change what is given. Made active again, it is told what happens from then on. Raises NotFound."""
    row = get(tx, tenant_id, endpoint_id, lock=True)
    row.url = row.url if url is None else _sealed(tx, ring, row.id, "url", url)
    row.label = row.label if label is None else label
    row.events = row.events if events is None else list(events)
    if state == ACTIVE and row.state != ACTIVE:
        row.state, row.why, row.failing_since = ACTIVE, None, None
    if state == DISABLED and row.state != DISABLED:
        deliveries.disable(tx, row, OPERATOR)
    tx.session.flush()
    return row


def remove(tx: Transaction, tenant_id: str, endpoint_id: str) -> None:
    """Delete an address and its secrets, with everything it was or is to be sent. Raises NotFound.

    An empty row stays for a while (`deliveries.drop_old`): a transaction that is under way may owe it a message, and
    what that transaction does must not fail because of it.
    """
    row = get(tx, tenant_id, endpoint_id, lock=True)
    tx.session.execute(delete(WebhookDelivery).where(WebhookDelivery.endpoint_id == row.id))
    row.state, row.why, row.label, row.failing_since = DELETED, None, "", tx.now
    row.url = row.secret = b""
    row.old_secret = None
    tx.session.flush()


def rotate(
    tx: Transaction, ring: KeyRing, tenant_id: str, endpoint_id: str, *, overlap_us: int
) -> tuple[WebhookEndpoint, str]:
    """Give an address a new secret. For `overlap_us` more the old one signs beside it. Raises NotFound."""
    row = get(tx, tenant_id, endpoint_id, lock=True)
    kept, secret = _open(ring, row, "secret", row.secret), new_secret(tx)
    row.old_secret = _sealed(tx, ring, row.id, "secret", kept) if overlap_us else None
    row.old_secret_until = tx.now + overlap_us if overlap_us else None
    row.secret = _sealed(tx, ring, row.id, "secret", secret)
    tx.session.flush()
    return row, secret


def url_of(row: WebhookEndpoint, ring: KeyRing) -> str:
    """Return the address. Raises ObjectCorrupt."""
    return _open(ring, row, "url", row.url)


def secrets_of(row: WebhookEndpoint, ring: KeyRing, now: int) -> list[str]:
    """Return the secrets that sign at this moment, the newest first. Raises ObjectCorrupt."""
    found = [_open(ring, row, "secret", row.secret)]
    if row.old_secret is not None and (row.old_secret_until or 0) > now:
        found.append(_open(ring, row, "secret", row.old_secret))
    return found


def _sealed(tx: Transaction, ring: KeyRing, endpoint_id: str, what: str, text: str) -> bytes:
    return seal(text.encode(), ring=ring, context=_context(endpoint_id, what), random=tx.random)


def _open(ring: KeyRing, row: WebhookEndpoint, what: str, sealed: bytes) -> str:
    return unseal(sealed, ring=ring, context=_context(row.id, what), name=f"{what} of a webhook").decode()


def _context(endpoint_id: str, what: str) -> bytes:
    return f"webhook:{what}:{endpoint_id}".encode()
