"""The keys that sign certificates and checkpoints: public halves, and from when to when each one signs."""

from __future__ import annotations

from sqlalchemy import BigInteger, Index, LargeBinary, String, text
from sqlalchemy.orm import Mapped, mapped_column

from ledger.tables.base import Base, Micros


class SigningKey(Base):
    """`announced -> active -> retired`, and `revoked` from the first or the last. One is active; one may be announced.

    The installation's first key is entered with its first checkpoint. Private halves lie in files alone.
    """

    __tablename__ = "signing_keys"
    __table_args__ = (
        Index(
            "uq_signing_keys_one_in_use",
            "state",
            unique=True,
            sqlite_where=text("state IN ('announced', 'active')"),
            postgresql_where=text("state IN ('announced', 'active')"),
        ),
    )
    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    public_key: Mapped[bytes] = mapped_column(LargeBinary(32))
    state: Mapped[str] = mapped_column(String(16))  # announced | active | retired | revoked
    handover: Mapped[bytes | None] = mapped_column(LargeBinary)  # envelope by the key before it and by itself
    created_at: Mapped[int] = mapped_column(Micros)  # its row
    activated_at: Mapped[int | None] = mapped_column(Micros)  # None: not yet, or from the beginning
    retired_at: Mapped[int | None] = mapped_column(Micros)
    destroyed_at: Mapped[int | None] = mapped_column(Micros)  # its private half
    revoked_at: Mapped[int | None] = mapped_column(Micros)
    not_after: Mapped[int | None] = mapped_column(Micros)  # until when what it signed counts
    trusted_size: Mapped[int | None] = mapped_column(BigInteger)  # of the log then
    reason: Mapped[str | None] = mapped_column(String(32))
