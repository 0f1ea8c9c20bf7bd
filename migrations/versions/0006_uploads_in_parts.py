"""Uploads that arrive in parts."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

COLUMNS: dict[str, sa.types.TypeEngine[Any]] = {
    "format": sa.String(length=16),
    "subject_type": sa.String(length=64),
    "announced_bytes": sa.BigInteger(),
    "received_bytes": sa.BigInteger(),
    "error": sa.Text(),
}


def upgrade() -> None:
    """Add the table and the columns. Uploads that exist came in one piece: theirs stay empty."""
    for name, kind in COLUMNS.items():
        op.add_column("uploads", sa.Column(name, kind, nullable=True))
    op.create_table(
        "upload_parts",
        sa.Column("upload_id", sa.String(length=32), nullable=False),
        sa.Column("start", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("object_name", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["upload_id"], ["uploads.id"], name=op.f("fk_upload_parts_upload_id")),
        sa.PrimaryKeyConstraint("upload_id", "start", name=op.f("pk_upload_parts")),
    )


def downgrade() -> None:
    """Drop them; refuse while parts are stored: nobody would know of their objects any more."""
    if op.get_bind().execute(sa.text("SELECT 1 FROM uploads WHERE state = 'open' LIMIT 1")).first():
        raise RuntimeError("there are uploads that are still arriving; finish or delete them first")
    op.drop_table("upload_parts")
    for name in COLUMNS:
        op.drop_column("uploads", name)
