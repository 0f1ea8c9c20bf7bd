"""Corrections, holds on identifiers, who is suppressed, and which contents the public core holds."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

HELD = "ix_holds_tenant_id_type_format_hmac"
REQUEST_COLUMNS: dict[str, sa.types.TypeEngine[Any]] = {
    "held": sa.BigInteger(),
    "in_core": sa.BigInteger(),
    "follows": sa.String(length=32),
    "followed_by": sa.String(length=32),
}


def upgrade() -> None:
    """Add tables and columns; make `holds` anew, which nothing has ever written to."""
    op.drop_table("holds")
    op.create_table(
        "holds",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("tenant_id", sa.String(length=32), nullable=False),
        sa.Column("type", sa.String(length=64), nullable=False),
        sa.Column("format", sa.String(length=16), nullable=False),
        sa.Column("hmac", sa.LargeBinary(length=32), nullable=False),
        sa.Column("reason", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_holds_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_holds")),
    )
    op.create_index(op.f(HELD), "holds", ["tenant_id", "type", "format", "hmac"])
    op.create_table(
        "held_requests",
        sa.Column("hold_id", sa.String(length=32), nullable=False),
        sa.Column("request_id", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(["hold_id"], ["holds.id"], name=op.f("fk_held_requests_hold_id")),
        sa.ForeignKeyConstraint(["request_id"], ["forget_requests.id"], name=op.f("fk_held_requests_request_id")),
        sa.PrimaryKeyConstraint("hold_id", "request_id", name=op.f("pk_held_requests")),
    )
    op.create_index(op.f("ix_held_requests_request_id"), "held_requests", ["request_id"])
    op.create_table(
        "core_contents",
        sa.Column("tenant_id", sa.String(length=32), nullable=False),
        sa.Column("content_key", sa.LargeBinary(length=32), nullable=False),
        sa.Column("cohort_id", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_core_contents_tenant_id")),
        sa.ForeignKeyConstraint(["cohort_id"], ["cohorts.id"], name=op.f("fk_core_contents_cohort_id")),
        sa.PrimaryKeyConstraint("tenant_id", "content_key", "cohort_id", name=op.f("pk_core_contents")),
    )
    for name, kind in REQUEST_COLUMNS.items():
        op.add_column("forget_requests", sa.Column(name, kind, nullable=True))
    op.add_column("suppressions", sa.Column("person", sa.String(length=32), nullable=True))
    op.add_column("records", sa.Column("content_key", sa.LargeBinary(length=32), nullable=True))
    op.add_column("uploads", sa.Column("corrects", sa.Boolean(), nullable=True))
    op.add_column(
        "uploads",
        sa.Column(
            "request_id",
            sa.String(length=32),
            sa.ForeignKey("forget_requests.id", name=op.f("fk_uploads_request_id")),
            nullable=True,
        ),
        inline_references=True,
    )


def downgrade() -> None:
    """Undo it; refuse while there are holds, corrections, or outcomes that older programs would not know."""
    used = (
        "SELECT 1 FROM holds UNION SELECT 1 FROM uploads WHERE corrects IS NOT NULL "
        "UNION SELECT 1 FROM forget_requests WHERE outcome IN ('on_hold', 'partially_core') LIMIT 1"
    )
    if op.get_bind().execute(sa.text(used)).first():
        raise RuntimeError("there are holds, corrections or outcomes that older programs would not know")
    op.drop_column("uploads", "request_id")
    op.drop_column("uploads", "corrects")
    op.drop_column("records", "content_key")
    op.drop_column("suppressions", "person")
    for name in REQUEST_COLUMNS:
        op.drop_column("forget_requests", name)
    op.drop_table("core_contents")
    op.drop_table("held_requests")
    op.drop_table("holds")
    op.create_table(
        "holds",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("tenant_id", sa.String(length=32), nullable=False),
        sa.Column("subject_id", sa.String(length=32), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("released_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["subject_id"], ["subjects.id"], name=op.f("fk_holds_subject_id")),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_holds_tenant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_holds")),
    )
