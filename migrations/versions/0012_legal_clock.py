"""The legal clock: time zones of tenants, and extensions of deadlines."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns. Tenants that exist go on counting in UTC; nothing was extended."""
    op.add_column("tenants", sa.Column("time_zone", sa.String(length=64), nullable=True))
    op.add_column("forget_requests", sa.Column("extended_at", sa.BigInteger(), nullable=True))
    op.add_column("forget_requests", sa.Column("first_due_at", sa.BigInteger(), nullable=True))
    op.add_column("forget_requests", sa.Column("extension_reason", sa.LargeBinary(), nullable=True))


def downgrade() -> None:
    """Drop them. Refused, as always, while one of them holds something."""
    for column in ("extension_reason", "first_due_at", "extended_at"):
        op.drop_column("forget_requests", column)
    op.drop_column("tenants", "time_zone")
