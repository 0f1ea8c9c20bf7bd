"""What keys have seen, and how they are answered."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add columns and tables. Keys that exist are answered with probabilities, and have seen nothing so far."""
    op.add_column("api_keys", sa.Column("outputs", sa.String(length=16), nullable=True))
    op.add_column("api_keys", sa.Column("digits", sa.Integer(), nullable=True))
    op.add_column("api_keys", sa.Column("client_id", sa.String(length=32), nullable=True))
    op.create_table(
        "sightings",
        sa.Column("key_id", sa.String(length=32), nullable=False),
        sa.Column("model_id", sa.String(length=32), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("tenant_id", sa.String(length=32), nullable=False),
        sa.Column("first_at", sa.BigInteger(), nullable=False),
        sa.Column("last_at", sa.BigInteger(), nullable=False),
        sa.Column("queries", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["key_id"], ["api_keys.id"], name=op.f("fk_sightings_key_id")),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name=op.f("fk_sightings_model_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_sightings_tenant_id")),
        sa.PrimaryKeyConstraint("key_id", "model_id", "number", name=op.f("pk_sightings")),
    )
    op.create_index(op.f("ix_sightings_model_id_number"), "sightings", ["model_id", "number"])
    op.create_table(
        "leakage_budgets",
        sa.Column("client_id", sa.String(length=32), nullable=False),
        sa.Column("line_id", sa.String(length=32), nullable=False),
        sa.Column("tenant_id", sa.String(length=32), nullable=False),
        sa.Column("nats", sa.Float(), nullable=False),
        sa.Column("then", sa.String(length=8), nullable=False),
        sa.ForeignKeyConstraint(["client_id"], ["api_keys.id"], name=op.f("fk_leakage_budgets_client_id")),
        sa.ForeignKeyConstraint(["line_id"], ["models.id"], name=op.f("fk_leakage_budgets_line_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_leakage_budgets_tenant_id")),
        sa.PrimaryKeyConstraint("client_id", "line_id", name=op.f("pk_leakage_budgets")),
    )
    op.create_table(
        "request_holders",
        sa.Column("request_id", sa.String(length=32), nullable=False),
        sa.Column("model_id", sa.String(length=32), nullable=False),
        sa.Column("since_seq", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name=op.f("fk_request_holders_model_id")),
        sa.ForeignKeyConstraint(["request_id"], ["forget_requests.id"], name=op.f("fk_request_holders_request_id")),
        sa.PrimaryKeyConstraint("request_id", "model_id", name=op.f("pk_request_holders")),
    )
    op.create_index(op.f("ix_request_holders_model_id"), "request_holders", ["model_id"])


def downgrade() -> None:
    """Drop them. Refused, as always, while one of them holds something: an older program would answer in full."""
    for table in ("request_holders", "leakage_budgets", "sightings"):
        op.drop_table(table)
    for column in ("client_id", "digits", "outputs"):
        op.drop_column("api_keys", column)
