"""What somebody asked about a forget request before filing it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from ledger.tables.base import Base, Micros


class DryRun(Base):
    """The question and the answer of a job `dry_run`. The row is deleted when its purpose is over.

    `selector` holds keyed hashes only, and is gone once there is a `result`. The result tells about particular people:
    it lives until `expires_at`, and not beyond the next removal of any record (`ledger/dry_runs.py`).
    """

    __tablename__ = "dry_runs"
    __table_args__ = (Index(None, "tenant_id"),)
    job_id: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), ForeignKey("jobs.id"), primary_key=True, autoincrement=False
    )
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    selector: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    high_water: Mapped[int] = mapped_column(BigInteger)
    regulation: Mapped[str] = mapped_column(String(16))
    asked_at: Mapped[int] = mapped_column(Micros)
    result: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    expires_at: Mapped[int | None] = mapped_column(Micros)
