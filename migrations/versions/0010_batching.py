"""How a model collects forget requests before it is scrubbed."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns. Models that exist collect nothing: theirs stay empty."""
    op.add_column("models", sa.Column("batch_minimum", sa.Integer(), nullable=True))
    op.add_column("models", sa.Column("batch_latest_us", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    """Drop them; refuse while a model waits for a number of requests: an older program would not begin in time."""
    if op.get_bind().execute(sa.text("SELECT 1 FROM models WHERE batch_minimum > 1 LIMIT 1")).first():
        raise RuntimeError("there are models that wait for several requests; set their minimum to 1 first")
    for column in ("batch_latest_us", "batch_minimum"):
        op.drop_column("models", column)
