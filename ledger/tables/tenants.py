"""Who uses the service: tenants, keys, kept answers."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Boolean, ForeignKey, Integer, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from ledger.tables.base import Base, Id, Micros


class Tenant(Base):
    """One customer. `change_seq` counts the ledger's changes; updating it is what puts changes in order."""

    __tablename__ = "tenants"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    identifier_key: Mapped[bytes] = mapped_column(LargeBinary)  # HMAC key of the identifiers, wrapped by the key ring
    change_seq: Mapped[int] = mapped_column(BigInteger, default=0)
    created_at: Mapped[int] = mapped_column(Micros)
    time_zone: Mapped[str | None] = mapped_column(String(64))  # IANA name; days of deadlines end there; none: UTC


class ApiKey(Base):
    """A key that a client presents; only its SHA-256 is stored."""

    __tablename__ = "api_keys"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    sha256: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    label: Mapped[str] = mapped_column(String(200))
    scopes: Mapped[list[Any]]
    created_at: Mapped[int] = mapped_column(Micros)
    expires_at: Mapped[int | None] = mapped_column(Micros)
    revoked_at: Mapped[int | None] = mapped_column(Micros)
    last_used_at: Mapped[int | None] = mapped_column(Micros)
    outputs: Mapped[str | None] = mapped_column(String(16))  # of predictions: rounded | label; None: probabilities
    digits: Mapped[int | None] = mapped_column(Integer)  # of rounded ones, behind the point
    client_id: Mapped[str | None] = mapped_column(Id)  # the first of the keys that this one replaces; None: itself


class IdempotencyEntry(Base):
    """The answer that was given to an idempotency key, without identities."""

    __tablename__ = "idempotency"
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    key_hmac: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    fingerprint: Mapped[bytes] = mapped_column(LargeBinary(32))
    status: Mapped[int | None] = mapped_column(Integer)
    response: Mapped[dict[str, Any] | None]
    expires_at: Mapped[int] = mapped_column(Micros)
    in_flight: Mapped[bool] = mapped_column(Boolean, default=True)
