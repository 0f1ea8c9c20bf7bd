"""Generations of models, and what is left of those that were destroyed."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# What is refused below would be lost; any other row is that of a model's only generation.
REBUILT = ("generations",)


def upgrade() -> None:
    """Add the tables. Every model that exists is the first and only generation of a line of its own."""
    op.create_table(
        "generations",
        sa.Column("model_id", sa.String(length=32), nullable=False),
        sa.Column("tenant_id", sa.String(length=32), nullable=False),
        sa.Column("line_id", sa.String(length=32), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("is_current", sa.Boolean(), nullable=False),
        sa.Column("cut_over", sa.String(length=16), nullable=True),
        sa.Column("restores", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["line_id"], ["models.id"], name=op.f("fk_generations_line_id")),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name=op.f("fk_generations_model_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_generations_tenant_id")),
        sa.PrimaryKeyConstraint("model_id", name=op.f("pk_generations")),
        sa.UniqueConstraint("line_id", "number", name=op.f("uq_generations_line_id_number")),
    )
    op.create_index(
        "uq_generations_one_current_per_line",
        "generations",
        ["line_id"],
        unique=True,
        sqlite_where=sa.text("is_current"),
        postgresql_where=sa.text("is_current"),
    )
    op.create_table(
        "destructions",
        sa.Column("model_id", sa.String(length=32), nullable=False),
        sa.Column("tenant_id", sa.String(length=32), nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name=op.f("fk_destructions_model_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_destructions_tenant_id")),
        sa.PrimaryKeyConstraint("model_id", name=op.f("pk_destructions")),
    )
    op.execute(
        "INSERT INTO generations (model_id, tenant_id, line_id, number, is_current, created_at) "
        "SELECT id, tenant_id, id, 1, TRUE, created_at FROM models"
    )


def downgrade() -> None:
    """Drop them; refuse while older programs would answer from two generations, or from a destroyed one."""
    used = "SELECT model_id FROM destructions UNION SELECT model_id FROM generations WHERE number > 1 LIMIT 1"
    retiring = "SELECT 1 FROM models WHERE state IN ('retiring', 'destroyed') LIMIT 1"
    if op.get_bind().execute(sa.text(used)).first() or op.get_bind().execute(sa.text(retiring)).first():
        raise RuntimeError("there are models with successors, or destroyed ones, which older programs do not know")
    op.drop_table("destructions")
    op.drop_table("generations")
