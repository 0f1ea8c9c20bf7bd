"""Who is told what happens: registered addresses, and the messages that are owed to them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ForeignKey, Index, Integer, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from ledger.tables.base import Base, Id, Micros


class WebhookEndpoint(Base):
    """An address of a tenant that is told of events: `active`, `disabled`, or `deleted` a moment ago."""

    __tablename__ = "webhook_endpoints"
    __table_args__ = (Index(None, "tenant_id"),)
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    label: Mapped[str] = mapped_column(String(200))
    url: Mapped[bytes] = mapped_column(LargeBinary)  # sealed: paths often carry a token
    events: Mapped[list[Any]]  # types of messages; empty: all
    state: Mapped[str] = mapped_column(String(16))
    why: Mapped[str | None] = mapped_column(String(16))  # of a disabled one: operator, gone or failing
    secret: Mapped[bytes] = mapped_column(LargeBinary)  # sealed
    old_secret: Mapped[bytes | None] = mapped_column(LargeBinary)  # sealed; signs beside the new one for a while
    old_secret_until: Mapped[int | None] = mapped_column(Micros)
    failing_since: Mapped[int | None] = mapped_column(Micros)  # the first failure after the last success
    created_at: Mapped[int] = mapped_column(Micros)


class WebhookDelivery(Base):
    """A message owed to an address: `pending -> delivered`, or `failed`; a replay makes it pending again.

    Written in the transaction of the event that it tells of. While it is being sent, `lease_until` lies in the future;
    if the sender dies, it is sent again after that, under the same id.
    """

    __tablename__ = "webhook_deliveries"
    __table_args__ = (Index(None, "state", "not_before"), Index(None, "endpoint_id", "created_at"))
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    endpoint_id: Mapped[str] = mapped_column(ForeignKey("webhook_endpoints.id"))
    type: Mapped[str] = mapped_column(String(64))
    body: Mapped[bytes] = mapped_column(LargeBinary)  # the bytes that are signed and sent, the same each time
    state: Mapped[str] = mapped_column(String(16))
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    not_before: Mapped[int] = mapped_column(Micros)
    lease_until: Mapped[int | None] = mapped_column(Micros)
    last_status: Mapped[int | None] = mapped_column(Integer)  # HTTP, of the last answer
    last_error: Mapped[str | None] = mapped_column(String(64))  # why there was no answer, or none that counts
    created_at: Mapped[int] = mapped_column(Micros)
    delivered_at: Mapped[int | None] = mapped_column(Micros)
