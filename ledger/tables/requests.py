"""What is to be forgotten: requests, suppressions, holds, certificates, callbacks."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from ledger.tables.base import Base, Id, Micros


class ForgetRequest(Base):
    """`accepted -> scrubbing -> published -> purging -> completed`, or `failed`, `cancelled`."""

    __tablename__ = "forget_requests"
    __table_args__ = (Index(None, "tenant_id", "state"), Index(None, "tenant_id", "received_at"))
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    state: Mapped[str] = mapped_column(String(16))
    outcome: Mapped[str | None] = mapped_column(String(16))
    selector_kind: Mapped[str] = mapped_column(String(16))
    selector: Mapped[dict[str, Any] | None]  # keyed hashes only; erased on completion
    high_water: Mapped[int] = mapped_column(BigInteger)
    seq: Mapped[int | None] = mapped_column(BigInteger)
    records: Mapped[int | None] = mapped_column(BigInteger)
    waits_for: Mapped[list[Any]]  # earlier requests that hold some of the same records
    regulation: Mapped[str] = mapped_column(String(16))
    received_at: Mapped[int] = mapped_column(Micros)
    due_at: Mapped[int] = mapped_column(Micros)
    published_at: Mapped[int | None] = mapped_column(Micros)
    unserved_at: Mapped[int | None] = mapped_column(Micros)
    erased_at: Mapped[int | None] = mapped_column(Micros)
    completed_at: Mapped[int | None] = mapped_column(Micros)
    evidence: Mapped[dict[str, Any] | None]
    error: Mapped[str | None] = mapped_column(Text)
    callback_url: Mapped[str | None] = mapped_column(Text)


class RequestModel(Base):
    """The models that a request covers, and the version in which each no longer knows the records."""

    __tablename__ = "request_models"
    __table_args__ = (Index(None, "model_id"),)
    request_id: Mapped[str] = mapped_column(ForeignKey("forget_requests.id"), primary_key=True)
    model_id: Mapped[str] = mapped_column(ForeignKey("models.id"), primary_key=True)
    version_id: Mapped[str | None] = mapped_column(ForeignKey("model_versions.id"))


class Suppression(Base):
    """A forgotten (or never seen) subject who must not come back unasked: one row per alias form."""

    __tablename__ = "suppressions"
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    type: Mapped[str] = mapped_column(String(64), primary_key=True)
    format: Mapped[str] = mapped_column(String(16), primary_key=True)
    hmac: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    request_id: Mapped[str] = mapped_column(ForeignKey("forget_requests.id"))
    created_at: Mapped[int] = mapped_column(Micros)
    withdrawn_at: Mapped[int | None] = mapped_column(Micros)


class Hold(Base):
    """A legal duty to keep a subject's records for a while."""

    __tablename__ = "holds"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    subject_id: Mapped[str] = mapped_column(ForeignKey("subjects.id"))
    reason: Mapped[str] = mapped_column(Text)
    created_at: Mapped[int] = mapped_column(Micros)
    released_at: Mapped[int | None] = mapped_column(Micros)


class Certificate(Base):
    """The signed statement of a completed request (a DSSE envelope)."""

    __tablename__ = "certificates"
    request_id: Mapped[str] = mapped_column(ForeignKey("forget_requests.id"), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    envelope: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[int] = mapped_column(Micros)


class WebhookDelivery(Base):
    """A message owed to a callback address."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (Index(None, "state", "not_before"),)
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    request_id: Mapped[str] = mapped_column(ForeignKey("forget_requests.id"))
    state: Mapped[str] = mapped_column(String(16))
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    not_before: Mapped[int] = mapped_column(Micros)
    created_at: Mapped[int] = mapped_column(Micros)
