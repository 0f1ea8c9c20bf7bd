"""What is to be done and what lies in the stores: jobs and objects."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Float, ForeignKey, Index, Integer, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from ledger.tables.base import Base, Id, Micros


class Job(Base):
    """Work to be done. The row is the truth; any message about it is only a nudge.

    At most one running job holds a `lock_key`. Every claim raises `fence`; publishing checks it.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        Index(
            "ix_jobs_open",
            "priority",
            "id",
            sqlite_where=text("state IN ('ready', 'running')"),
            postgresql_where=text("state IN ('ready', 'running')"),
        ),
        Index(
            "uq_jobs_one_running_per_lock",
            "lock_key",
            unique=True,
            sqlite_where=text("state = 'running'"),
            postgresql_where=text("state = 'running'"),
        ),
    )
    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    kind: Mapped[str] = mapped_column(String(32))
    state: Mapped[str] = mapped_column(String(16))  # ready | running | done | failed
    priority: Mapped[int] = mapped_column(Integer)
    lock_key: Mapped[str] = mapped_column(String(64))
    model_id: Mapped[str | None] = mapped_column(ForeignKey("models.id"))
    upload_id: Mapped[str | None] = mapped_column(ForeignKey("uploads.id"))
    not_before: Mapped[int] = mapped_column(Micros)
    lease_until: Mapped[int | None] = mapped_column(Micros)
    worker: Mapped[str | None] = mapped_column(String(64))
    fence: Mapped[int] = mapped_column(Integer, default=0)
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    progress: Mapped[float] = mapped_column(Float, default=0.0)
    note: Mapped[str | None] = mapped_column(Text)
    result: Mapped[dict[str, Any] | None]
    error: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[int] = mapped_column(Micros)
    started_at: Mapped[int | None] = mapped_column(Micros)
    finished_at: Mapped[int | None] = mapped_column(Micros)


class JobPart(Base):
    """That a job is a part of a larger one: some record shards, by the range of their ids, for one model.

    The larger job waits until all its parts have ended, and then deletes their rows here. What parts have summed goes
    with them, at the latest in the transaction that publishes the version for which it was summed.
    """

    __tablename__ = "job_parts"
    __table_args__ = (Index(None, "parent_id"),)
    job_id: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), ForeignKey("jobs.id"), primary_key=True, autoincrement=False
    )
    parent_id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), ForeignKey("jobs.id"))
    first_shard: Mapped[str] = mapped_column(Id)
    last_shard: Mapped[str] = mapped_column(Id)
    shards: Mapped[int] = mapped_column(Integer)
    done: Mapped[int] = mapped_column(Integer, default=0)  # of these shards
    upto: Mapped[int | None] = mapped_column(BigInteger)  # of a sum: the sequence number that it holds records up to
    object_name: Mapped[str | None] = mapped_column(String(64))  # of a sum that is done: its statistics


class StoredObject(Base):
    """An object of the store: `pending` while its writer works, `live`, or `doomed` (to be deleted).

    The row is written before the object, so that a crash leaves nothing that nobody knows about.
    """

    __tablename__ = "objects"
    __table_args__ = (Index(None, "state"), Index(None, "owner"))
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    kind: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(8))
    owner: Mapped[str] = mapped_column(String(64))  # "job:<id>:<fence>" or "upload:<id>" while pending
    size: Mapped[int] = mapped_column(BigInteger, default=0)
    sha256: Mapped[str | None] = mapped_column(String(64))  # of the encrypted bytes
    created_at: Mapped[int] = mapped_column(Micros)
