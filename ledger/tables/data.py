"""What was given to us: cohorts, uploads, subjects, records, and the sequence of changes."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from ledger.tables.base import Base, Id, Micros


class Cohort(Base):
    """A set of records: `core` (public, never forgotten) or `user` (forgettable)."""

    __tablename__ = "cohorts"
    __table_args__ = (
        UniqueConstraint("tenant_id", "name"),
        CheckConstraint("kind IN ('core', 'user')", name="kind"),
    )
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    name: Mapped[str] = mapped_column(String(200))
    kind: Mapped[str] = mapped_column(String(8))
    shape: Mapped[list[Any]]
    dtype: Mapped[str] = mapped_column(String(16))
    class_names: Mapped[list[Any]]
    layout: Mapped[str | None] = mapped_column(String(16))  # of images: channels_last; None: channels_first
    missing: Mapped[str | None] = mapped_column(String(16))  # of tables: core_mean; None: NaN is refused
    column_names: Mapped[list[Any] | None]  # of tables: what stands in which column
    retention_days: Mapped[int | None] = mapped_column(Integer)
    retention_day: Mapped[int | None] = mapped_column(Integer)  # days since 1970 (UTC) when it last filed a request
    created_at: Mapped[int] = mapped_column(Micros)


class Upload(Base):
    """Records that arrived together: `receiving -> stored -> added`, or `failed`.

    One that arrives in parts is `open` first. It has a format, a subject type, and how many bytes are announced and
    received; `error` says why it failed.

    Stored records can be forgotten; `added_seq` is the change from which versions fold them in.
    """

    __tablename__ = "uploads"
    __table_args__ = (Index(None, "cohort_id", "state"),)
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    cohort_id: Mapped[str] = mapped_column(ForeignKey("cohorts.id"))
    state: Mapped[str] = mapped_column(String(16))
    records: Mapped[int] = mapped_column(BigInteger, default=0)
    stored_seq: Mapped[int | None] = mapped_column(BigInteger)
    added_seq: Mapped[int | None] = mapped_column(BigInteger)
    corrects: Mapped[bool | None] = mapped_column(Boolean)  # its records replace stored ones; None says no
    request_id: Mapped[str | None] = mapped_column(ForeignKey("forget_requests.id"))  # that removes what it replaces
    lease_until: Mapped[int] = mapped_column(Micros)
    created_at: Mapped[int] = mapped_column(Micros)
    format: Mapped[str | None] = mapped_column(String(16))
    subject_type: Mapped[str | None] = mapped_column(String(64))
    announced_bytes: Mapped[int | None] = mapped_column(BigInteger)
    received_bytes: Mapped[int | None] = mapped_column(BigInteger)
    error: Mapped[str | None] = mapped_column(Text)


class UploadPart(Base):
    """Bytes of an upload that arrives in parts, sealed in an object of its own until the upload is finished."""

    __tablename__ = "upload_parts"
    upload_id: Mapped[str] = mapped_column(ForeignKey("uploads.id"), primary_key=True)
    start: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)  # where its first byte lies
    size: Mapped[int] = mapped_column(BigInteger)
    object_name: Mapped[str] = mapped_column(String(64))


class Subject(Base):
    """A person, known here only by a random id."""

    __tablename__ = "subjects"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    created_at: Mapped[int] = mapped_column(Micros)


class SubjectAlias(Base):
    """One way to name a subject: the HMAC of an identifier in its raw or hashed form."""

    __tablename__ = "subject_aliases"
    __table_args__ = (Index(None, "subject_id"),)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    type: Mapped[str] = mapped_column(String(64), primary_key=True)
    format: Mapped[str] = mapped_column(String(16), primary_key=True)
    hmac: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    subject_id: Mapped[str] = mapped_column(ForeignKey("subjects.id"))


class RecordShard(Base):
    """An object of the record store that holds up to a fixed number of one upload's records."""

    __tablename__ = "record_shards"
    __table_args__ = (Index(None, "upload_id"), Index(None, "cohort_id"))
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    cohort_id: Mapped[str] = mapped_column(ForeignKey("cohorts.id"))
    upload_id: Mapped[str] = mapped_column(ForeignKey("uploads.id"))
    object_name: Mapped[str] = mapped_column(String(64))


class Record(Base):
    """One record's place. The row is deleted, not flagged, once the record is forgotten."""

    __tablename__ = "records"
    __table_args__ = (
        Index(None, "shard_id"),
        Index(None, "subject_id"),
        Index(None, "cohort_id", "record_key"),
        Index(
            "ix_records_removed",
            "tenant_id",
            "removed_seq",
            sqlite_where=text("removed_seq IS NOT NULL"),
            postgresql_where=text("removed_seq IS NOT NULL"),
        ),
    )
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)  # random, 63 bits
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    cohort_id: Mapped[str] = mapped_column(ForeignKey("cohorts.id"))
    upload_id: Mapped[str] = mapped_column(ForeignKey("uploads.id"))
    subject_id: Mapped[str | None] = mapped_column(ForeignKey("subjects.id"))
    shard_id: Mapped[str] = mapped_column(ForeignKey("record_shards.id"))
    record_key: Mapped[bytes] = mapped_column(LargeBinary(32))
    class_index: Mapped[int] = mapped_column(Integer)
    content_key: Mapped[bytes | None] = mapped_column(LargeBinary(32))  # HMAC of the bytes; None before 0004
    removed_seq: Mapped[int | None] = mapped_column(BigInteger)
    request_id: Mapped[str | None] = mapped_column(ForeignKey("forget_requests.id"))


class CoreContent(Base):
    """That a core cohort holds a record of this content: the HMAC of its bytes under the tenant's key."""

    __tablename__ = "core_contents"
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    content_key: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    cohort_id: Mapped[str] = mapped_column(ForeignKey("cohorts.id"), primary_key=True)


class Change(Base):
    """The sequence that versions fold: records stored, added, removed, corrected."""

    __tablename__ = "changes"
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"), primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    upload_id: Mapped[str | None] = mapped_column(ForeignKey("uploads.id"))
    request_id: Mapped[str | None] = mapped_column(ForeignKey("forget_requests.id"))
    created_at: Mapped[int] = mapped_column(Micros)
