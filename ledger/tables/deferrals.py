"""Removals that some model cannot make yet."""

from __future__ import annotations

from sqlalchemy import BigInteger, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from ledger.tables.base import Base, Micros


class Deferral(Base):
    """That a model takes what a request removes out later than at the request's own place in the sequence of changes.

    Without `seq` nobody knows when: something that the removal needs is missing. The row goes with the version that
    takes the records out.
    """

    __tablename__ = "deferrals"
    model_id: Mapped[str] = mapped_column(ForeignKey("models.id"), primary_key=True)
    request_id: Mapped[str] = mapped_column(ForeignKey("forget_requests.id"), primary_key=True)
    seq: Mapped[int | None] = mapped_column(BigInteger)
    created_at: Mapped[int] = mapped_column(Micros)
