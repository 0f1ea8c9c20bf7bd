"""Production: removals that a model cannot make yet, so that other requests need not wait for them."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table of deferrals."""
    op.create_table(
        "deferrals",
        sa.Column("model_id", sa.String(length=32), nullable=False),
        sa.Column("request_id", sa.String(length=32), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name=op.f("fk_deferrals_model_id")),
        sa.ForeignKeyConstraint(["request_id"], ["forget_requests.id"], name=op.f("fk_deferrals_request_id")),
        sa.PrimaryKeyConstraint("model_id", "request_id", name=op.f("pk_deferrals")),
    )


def downgrade() -> None:
    """Drop it. Refused while a removal is deferred: an older program would think that it was made."""
    op.drop_table("deferrals")
