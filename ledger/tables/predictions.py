"""What keys have seen of models, and how much they may."""

from __future__ import annotations

from sqlalchemy import BigInteger, Float, ForeignKey, Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from ledger.tables.base import Base, Micros


class Sighting(Base):
    """That a key was answered from a version of a generation. The row is there before the first answer is sent.

    `last_at` and `queries` follow about once a minute, so a crash may lose a minute of them, and never a row.
    """

    __tablename__ = "sightings"
    __table_args__ = (Index(None, "model_id", "number"),)
    key_id: Mapped[str] = mapped_column(ForeignKey("api_keys.id"), primary_key=True)
    model_id: Mapped[str] = mapped_column(ForeignKey("models.id"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    first_at: Mapped[int] = mapped_column(Micros)
    last_at: Mapped[int] = mapped_column(Micros)
    queries: Mapped[int] = mapped_column(BigInteger)


class LeakageBudget(Base):
    """How many nats a client (a key and those that replaced it) may learn of a model's forgotten records."""

    __tablename__ = "leakage_budgets"
    client_id: Mapped[str] = mapped_column(ForeignKey("api_keys.id"), primary_key=True)
    line_id: Mapped[str] = mapped_column(ForeignKey("models.id"), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    nats: Mapped[float] = mapped_column(Float)
    then: Mapped[str] = mapped_column(String(8))  # warn | coarsen | refuse


class RequestHolder(Base):
    """From which change on versions of a model held records that a forget request removed, up to its own change."""

    __tablename__ = "request_holders"
    __table_args__ = (Index(None, "model_id"),)
    request_id: Mapped[str] = mapped_column(ForeignKey("forget_requests.id"), primary_key=True)
    model_id: Mapped[str] = mapped_column(ForeignKey("models.id"), primary_key=True)
    since_seq: Mapped[int] = mapped_column(BigInteger)
