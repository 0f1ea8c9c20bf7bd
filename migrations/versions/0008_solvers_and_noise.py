"""How a model is solved, and the noise that its weights are published with."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns. Models that exist are solved exactly and published without noise: theirs stay empty."""
    op.add_column("models", sa.Column("noise", sa.String(length=24), nullable=True))
    op.add_column("models", sa.Column("exposure_budget", sa.Float(), nullable=True))


def downgrade() -> None:
    """Drop them; refuse while a model has noise: an older program would publish its weights without."""
    if op.get_bind().execute(sa.text("SELECT 1 FROM models WHERE noise IS NOT NULL LIMIT 1")).first():
        raise RuntimeError("there are models whose weights are published with noise; delete them first")
    for column in ("exposure_budget", "noise"):
        op.drop_column("models", column)
