"""A ridge that is chosen anew for every version, and the bandwidth of a kernel."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Let `mu` be empty and add its candidates and the bandwidth. Models that exist keep their fixed ridge."""
    _remake_mu(nullable=True)
    op.add_column("models", sa.Column("mu_grid", sa.JSON(), nullable=True))
    op.add_column("models", sa.Column("bandwidth", sa.Float(), nullable=True))


def downgrade() -> None:
    """Undo it; refuse while a model chooses its ridge or was given a bandwidth."""
    used = "SELECT 1 FROM models WHERE mu IS NULL OR bandwidth IS NOT NULL LIMIT 1"
    if op.get_bind().execute(sa.text(used)).first():
        raise RuntimeError("there are models whose ridge or bandwidth older programs would not know")
    for column in ("bandwidth", "mu_grid"):
        op.drop_column("models", column)
    _remake_mu(nullable=False)


def _remake_mu(*, nullable: bool) -> None:
    if op.get_bind().dialect.name != "sqlite":
        op.alter_column("models", "mu", nullable=nullable)
        return
    # SQLite cannot change a column, and building the table anew would drop rows that others refer to.
    empty = sa.Column("mu_new", sa.Float(), nullable=nullable, server_default=None if nullable else "0")
    op.add_column("models", empty)
    op.execute("UPDATE models SET mu_new = mu")
    op.drop_column("models", "mu")
    op.execute("ALTER TABLE models RENAME COLUMN mu_new TO mu")
