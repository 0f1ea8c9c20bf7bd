"""What happened: events and their places in the transparency log."""

from __future__ import annotations

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from ledger.tables.base import Base, Id, Micros


class Event(Base):
    """What happened, in canonical bytes, with its RFC 9162 leaf hash. Append-only: triggers forbid the rest."""

    __tablename__ = "events"
    __table_args__ = (Index(None, "tenant_id", "id"), Index(None, "subject"))
    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    kind: Mapped[str] = mapped_column(String(64))
    subject: Mapped[str] = mapped_column(Id)  # the id of what it is about: a request, model, cohort
    at: Mapped[int] = mapped_column(Micros)
    body: Mapped[bytes] = mapped_column(LargeBinary)
    leaf_hash: Mapped[bytes] = mapped_column(LargeBinary(32))


class Leaf(Base):
    """An event's place in the transparency log."""

    __tablename__ = "leaves"
    position: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    event_id: Mapped[int] = mapped_column(ForeignKey("events.id"), unique=True)
    leaf_hash: Mapped[bytes] = mapped_column(LargeBinary(32))


class LogState(Base):
    """How far the log has got: one row, whose lock makes the sequencer one."""

    __tablename__ = "log_state"
    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    origin: Mapped[str] = mapped_column(String(64))  # the log's name, random; it tells one deployment from another
    size: Mapped[int] = mapped_column(BigInteger)
    last_event_id: Mapped[int] = mapped_column(BigInteger)


class LogNode(Base):
    """A node of the log's tree over 256^(level / 8) leaves; only levels 8, 16, 24 ... are kept. Append-only."""

    __tablename__ = "log_nodes"
    level: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    position: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    hash: Mapped[bytes] = mapped_column(LargeBinary(32))


class LogCheckpoint(Base):
    """A signed statement of the log's size and root. Append-only."""

    __tablename__ = "log_checkpoints"
    size: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    note: Mapped[str] = mapped_column(Text)
    created_at: Mapped[int] = mapped_column(Micros)
