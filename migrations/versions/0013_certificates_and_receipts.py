"""Commitments to what requests name, the sealed salts that open them, and the digests of models' public parts."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add table and columns. Requests that exist have no receipt; digests are made when they are first needed."""
    op.create_table(
        "receipts",
        sa.Column("request_id", sa.String(length=32), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["request_id"], ["forget_requests.id"], name=op.f("fk_receipts_request_id")),
        sa.PrimaryKeyConstraint("request_id", name=op.f("pk_receipts")),
    )
    op.add_column("forget_requests", sa.Column("commitment", sa.String(length=64), nullable=True))
    op.add_column("models", sa.Column("public_digests", sa.JSON(), nullable=True))


def downgrade() -> None:
    """Drop them. Refused, as always, while one of them holds something."""
    op.drop_column("models", "public_digests")
    op.drop_column("forget_requests", "commitment")
    op.drop_table("receipts")
