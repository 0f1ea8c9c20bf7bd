"""Imported cores, and what a cohort says about the form of its records."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table and the columns. Nothing that is stored changes its meaning: the columns start empty."""
    op.create_table(
        "core_imports",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("tenant_id", sa.String(length=32), nullable=False),
        sa.Column("architecture", sa.String(length=64), nullable=False),
        sa.Column("leaky", sa.Boolean(), nullable=False),
        sa.Column("shape", sa.JSON(), nullable=False),
        sa.Column("outputs", sa.Integer(), nullable=False),
        sa.Column("mean", sa.JSON(), nullable=True),
        sa.Column("deviation", sa.JSON(), nullable=True),
        sa.Column("parameters", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("attested_by", sa.String(length=64), nullable=False),
        sa.Column("object_name", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_core_imports_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_core_imports")),
    )
    # In one statement with its reference: SQLite cannot add a constraint later without building the table anew.
    op.add_column(
        "models",
        sa.Column(
            "core_import_id",
            sa.String(length=32),
            sa.ForeignKey("core_imports.id", name=op.f("fk_models_core_import_id")),
            nullable=True,
        ),
        inline_references=True,
    )
    op.add_column("models", sa.Column("core_head", sa.String(length=16), nullable=True))
    op.add_column("models", sa.Column("leaky", sa.Boolean(), nullable=True))
    op.add_column("models", sa.Column("input_size", sa.JSON(), nullable=True))
    op.add_column("cohorts", sa.Column("layout", sa.String(length=16), nullable=True))
    op.add_column("cohorts", sa.Column("missing", sa.String(length=16), nullable=True))
    op.add_column("cohorts", sa.Column("column_names", sa.JSON(), nullable=True))


def downgrade() -> None:
    """Drop them; refuse while a model rests on an imported core or reads its records in a form named here."""
    bind = op.get_bind()
    used = (
        "SELECT 1 FROM core_imports UNION SELECT 1 FROM models WHERE leaky IS NOT NULL "
        "UNION SELECT 1 FROM cohorts WHERE layout IS NOT NULL OR missing IS NOT NULL LIMIT 1"
    )
    if bind.execute(sa.text(used)).first():
        raise RuntimeError("there are imported cores, or records in a form that older programs would misread")
    for column in ("column_names", "missing", "layout"):
        op.drop_column("cohorts", column)
    for column in ("input_size", "leaky", "core_head", "core_import_id"):
        op.drop_column("models", column)
    op.drop_table("core_imports")
