"""Signing keys, their rotation and revocation."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

REBUILT = ("signing_keys",)  # with the one key of an installation that never rotated; others refuse, below
IN_USE = sa.text("state IN ('announced', 'active')")


def upgrade() -> None:
    """Add the table. The installation's first key is entered when it signs its next checkpoint."""
    op.create_table(
        "signing_keys",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("public_key", sa.LargeBinary(length=32), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("handover", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("activated_at", sa.BigInteger(), nullable=True),
        sa.Column("retired_at", sa.BigInteger(), nullable=True),
        sa.Column("destroyed_at", sa.BigInteger(), nullable=True),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.Column("not_after", sa.BigInteger(), nullable=True),
        sa.Column("trusted_size", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.String(length=32), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_signing_keys")),
    )
    op.create_index(
        "uq_signing_keys_one_in_use",
        "signing_keys",
        ["state"],
        unique=True,
        sqlite_where=IN_USE,
        postgresql_where=IN_USE,
    )


def downgrade() -> None:
    """Drop it. Refused after a rotation: older programs would go on with a key that was retired or revoked."""
    rotated = sa.text("SELECT 1 FROM signing_keys WHERE state <> 'active' OR activated_at IS NOT NULL LIMIT 1")
    if op.get_bind().execute(rotated).first():
        raise RuntimeError("signing keys were rotated: an older program would sign with a key that is retired")
    op.drop_table("signing_keys")
