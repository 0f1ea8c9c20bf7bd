"""People who sign in to the dashboard, and their sessions."""

from __future__ import annotations

from sqlalchemy import ForeignKey, Index, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from ledger.tables.base import Base, Id, Micros


class Person(Base):
    """Somebody of the operator's who may sign in. Events name them by `id`, which is random, never by `name`."""

    __tablename__ = "people"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    name: Mapped[str] = mapped_column(String(100), unique=True)
    password: Mapped[str] = mapped_column(String(255))  # Argon2id with its parameters and salt, as RFC 9106 has it
    role: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[int] = mapped_column(Micros)
    disabled_at: Mapped[int | None] = mapped_column(Micros)


class WebSession(Base):
    """A browser in which a person signed in, or somebody with an API key; only the SHA-256 of its token is stored."""

    __tablename__ = "sessions"
    __table_args__ = (Index(None, "person_id"), Index(None, "expires_at"))
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    sha256: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    person_id: Mapped[str | None] = mapped_column(ForeignKey("people.id"))
    key_id: Mapped[str | None] = mapped_column(ForeignKey("api_keys.id"))
    created_at: Mapped[int] = mapped_column(Micros)
    used_at: Mapped[int] = mapped_column(Micros)
    expires_at: Mapped[int] = mapped_column(Micros)
