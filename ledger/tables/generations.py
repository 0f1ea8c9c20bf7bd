"""Generations: the configurations that one model has had, and what is left of those that were destroyed."""

from __future__ import annotations

from sqlalchemy import Boolean, ForeignKey, Index, Integer, LargeBinary, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from ledger.tables.base import Base, Micros


class Generation(Base):
    """A row of `models` and its place in its line.

    A line is what users call a model: its id is that of its first generation and stays, whatever answers behind it.
    Exactly one generation of a line is the current one.
    """

    __tablename__ = "generations"
    __table_args__ = (
        UniqueConstraint("line_id", "number"),
        Index(
            "uq_generations_one_current_per_line",
            "line_id",
            unique=True,
            sqlite_where=text("is_current"),
            postgresql_where=text("is_current"),
        ),
    )
    model_id: Mapped[str] = mapped_column(ForeignKey("models.id"), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    line_id: Mapped[str] = mapped_column(ForeignKey("models.id"))
    number: Mapped[int] = mapped_column(Integer)
    is_current: Mapped[bool] = mapped_column(Boolean)
    cut_over: Mapped[str | None] = mapped_column(String(16))  # of a successor: manual | when_ready
    restores: Mapped[int | None] = mapped_column(Integer)  # the generation whose configuration a rollback took
    created_at: Mapped[int] = mapped_column(Micros)


class Destruction(Base):
    """The signed statement (a DSSE envelope) that a generation was destroyed."""

    __tablename__ = "destructions"
    model_id: Mapped[str] = mapped_column(ForeignKey("models.id"), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    envelope: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[int] = mapped_column(Micros)
