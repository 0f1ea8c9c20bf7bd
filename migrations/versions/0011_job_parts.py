"""Large jobs in parts that any number of workers do side by side."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table."""
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "job_parts",
        sa.Column("job_id", number, autoincrement=False, nullable=False),
        sa.Column("parent_id", number, nullable=False),
        sa.Column("first_shard", sa.String(length=32), nullable=False),
        sa.Column("last_shard", sa.String(length=32), nullable=False),
        sa.Column("shards", sa.Integer(), nullable=False),
        sa.Column("done", sa.Integer(), nullable=False),
        sa.Column("upto", sa.BigInteger(), nullable=True),
        sa.Column("object_name", sa.String(length=64), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_job_parts_job_id")),
        sa.ForeignKeyConstraint(["parent_id"], ["jobs.id"], name=op.f("fk_job_parts_parent_id")),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_job_parts")),
    )
    op.create_index(op.f("ix_job_parts_parent_id"), "job_parts", ["parent_id"])


def downgrade() -> None:
    """Drop it. While there are parts the downgrade is refused: an older program does not know their kind of job."""
    op.drop_index(op.f("ix_job_parts_parent_id"), table_name="job_parts")
    op.drop_table("job_parts")
