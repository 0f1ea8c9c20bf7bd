"""What opens the commitments of certificates, for a while."""

from __future__ import annotations

from sqlalchemy import BigInteger, ForeignKey, LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from ledger.tables.base import Base, Id


class Receipt(Base):
    """The salts of one request's commitment, sealed. The row is deleted when they die (`ledger/receipts.py`)."""

    __tablename__ = "receipts"
    request_id: Mapped[str] = mapped_column(Id, ForeignKey("forget_requests.id"), primary_key=True)
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
    expires_at: Mapped[int | None] = mapped_column(BigInteger)  # None until the request is completed
