"""Cores that were trained elsewhere."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Boolean, ForeignKey, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from ledger.tables.base import Base, Id, Micros


class CoreImport(Base):
    """An imported core network. Who attests that its training data were public is a role, never a person.

    shape: of one network input. outputs: its classes. digest: SHA-256 of the imported file. mean, deviation: per
    channel or column, in the units of the stored records; None where the core cohort decides.
    """

    __tablename__ = "core_imports"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    architecture: Mapped[str] = mapped_column(String(64))
    leaky: Mapped[bool] = mapped_column(Boolean)
    shape: Mapped[list[Any]]
    outputs: Mapped[int] = mapped_column(Integer)
    mean: Mapped[list[Any] | None]
    deviation: Mapped[list[Any] | None]
    parameters: Mapped[int] = mapped_column(BigInteger)
    digest: Mapped[str] = mapped_column(String(64))
    attested_by: Mapped[str] = mapped_column(String(64))
    object_name: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[int] = mapped_column(Micros)
