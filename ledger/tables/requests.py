"""What is to be forgotten: requests, suppressions, holds, certificates."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, LargeBinary, String, Text
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
    selector: Mapped[dict[str, Any] | None]  # keyed hashes only; erased on completion, unless a hold kept some back
    commitment: Mapped[str | None] = mapped_column(String(64))  # to what it names, salted; `receipts` open it
    high_water: Mapped[int] = mapped_column(BigInteger)
    seq: Mapped[int | None] = mapped_column(BigInteger)
    records: Mapped[int | None] = mapped_column(BigInteger)
    held: Mapped[int | None] = mapped_column(BigInteger)  # records that a hold kept back
    in_core: Mapped[int | None] = mapped_column(BigInteger)  # records whose content stands in a core cohort too
    follows: Mapped[str | None] = mapped_column(Id)  # the request that a hold stopped and that this one takes up again
    followed_by: Mapped[str | None] = mapped_column(Id)
    waits_for: Mapped[list[Any]]  # earlier requests that hold some of the same records
    regulation: Mapped[str] = mapped_column(String(16))
    received_at: Mapped[int] = mapped_column(Micros)
    due_at: Mapped[int] = mapped_column(Micros)
    first_due_at: Mapped[int | None] = mapped_column(Micros)  # before it was extended
    extended_at: Mapped[int | None] = mapped_column(Micros)
    extension_reason: Mapped[bytes | None] = mapped_column(LargeBinary)  # sealed
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
    person: Mapped[str | None] = mapped_column(Id)  # random; the same in all forms of one identifier
    request_id: Mapped[str] = mapped_column(ForeignKey("forget_requests.id"))
    created_at: Mapped[int] = mapped_column(Micros)
    withdrawn_at: Mapped[int | None] = mapped_column(Micros)


class Hold(Base):
    """A legal duty to keep a subject's records for a while. The row is deleted when the hold is released.

    The subject is known by one form of its identifier, so that a hold can be placed before the first record arrives.
    """

    __tablename__ = "holds"
    __table_args__ = (Index(None, "tenant_id", "type", "format", "hmac"),)
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    type: Mapped[str] = mapped_column(String(64))
    format: Mapped[str] = mapped_column(String(16))
    hmac: Mapped[bytes] = mapped_column(LargeBinary(32))
    reason: Mapped[bytes] = mapped_column(LargeBinary)  # an operator's words, sealed
    created_at: Mapped[int] = mapped_column(Micros)


class HeldRequest(Base):
    """A completed request of which a hold kept records back; it is filed again when the hold is released."""

    __tablename__ = "held_requests"
    __table_args__ = (Index(None, "request_id"),)
    hold_id: Mapped[str] = mapped_column(ForeignKey("holds.id"), primary_key=True)
    request_id: Mapped[str] = mapped_column(ForeignKey("forget_requests.id"), primary_key=True)


class Certificate(Base):
    """The signed statement of a completed request (a DSSE envelope)."""

    __tablename__ = "certificates"
    request_id: Mapped[str] = mapped_column(ForeignKey("forget_requests.id"), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    envelope: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[int] = mapped_column(Micros)
