"""Shards of records that a model cannot take in yet, so that nobody needs to wait for them."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table of deferred shards."""
    op.create_table(
        "deferred_shards",
        sa.Column("model_id", sa.String(length=32), nullable=False),
        sa.Column("record_shard_id", sa.String(length=32), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name=op.f("fk_deferred_shards_model_id")),
        sa.ForeignKeyConstraint(
            ["record_shard_id"],
            ["record_shards.id"],
            name=op.f("fk_deferred_shards_record_shard_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("model_id", "record_shard_id", name=op.f("pk_deferred_shards")),
    )


def downgrade() -> None:
    """Drop it. Refused while a shard is deferred: an older program would think that a version holds its records.

    Refused, too, while a correction is: an older program would take in its new records beside the old ones.
    """
    corrections = sa.text(
        "SELECT 1 FROM deferrals JOIN forget_requests ON forget_requests.id = deferrals.request_id "
        "WHERE forget_requests.selector_kind = 'correction' LIMIT 1"
    )
    if op.get_bind().execute(corrections).first() is not None:
        raise RuntimeError("a correction is deferred, and older programs would take in its new records beside the old")
    op.drop_table("deferred_shards")
