"""Dry runs: what a forget request would do, kept for an hour."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "dry_runs",
        sa.Column("job_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("tenant_id", sa.String(length=32), nullable=False),
        sa.Column("selector", sa.JSON(), nullable=True),
        sa.Column("high_water", sa.BigInteger(), nullable=False),
        sa.Column("regulation", sa.String(length=16), nullable=False),
        sa.Column("asked_at", sa.BigInteger(), nullable=False),
        sa.Column("result", sa.JSON(), nullable=True),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_dry_runs_job_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_dry_runs_tenant_id")),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_dry_runs")),
    )
    op.create_index(op.f("ix_dry_runs_tenant_id"), "dry_runs", ["tenant_id"])


def downgrade() -> None:
    """Drop it: nothing in it is evidence. The jobs of dry runs go too; an older program does not know their kind."""
    op.drop_index(op.f("ix_dry_runs_tenant_id"), table_name="dry_runs")
    op.drop_table("dry_runs")
    op.execute(sa.text("DELETE FROM jobs WHERE kind = 'dry_run'"))
