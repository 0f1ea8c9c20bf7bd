"""Changes that some model cannot make yet."""

from __future__ import annotations

from sqlalchemy import BigInteger, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from ledger.tables.base import Base, Micros


class Deferral(Base):
    """That a model takes what a request removes out later than at the request's own place in the sequence of changes.

    With a correction's request its new records come later too, at the same place.
    Without `seq` nobody knows when: something that the change needs is missing. The row goes with the version that
    makes the change.
    """

    __tablename__ = "deferrals"
    model_id: Mapped[str] = mapped_column(ForeignKey("models.id"), primary_key=True)
    request_id: Mapped[str] = mapped_column(ForeignKey("forget_requests.id"), primary_key=True)
    seq: Mapped[int | None] = mapped_column(BigInteger)
    created_at: Mapped[int] = mapped_column(Micros)


class DeferredShard(Base):
    """That a model takes the records of a shard in later than at the place of their upload; `seq` as above.

    The row goes with the shard, too, when all of its records are forgotten.
    """

    __tablename__ = "deferred_shards"
    model_id: Mapped[str] = mapped_column(ForeignKey("models.id"), primary_key=True)
    record_shard_id: Mapped[str] = mapped_column(ForeignKey("record_shards.id", ondelete="CASCADE"), primary_key=True)
    seq: Mapped[int | None] = mapped_column(BigInteger)
    created_at: Mapped[int] = mapped_column(Micros)
