"""Quotas, budgets and what was used of them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "quota",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("subject", sa.String(length=128), nullable=False),
        sa.Column("unit", sa.String(length=16), nullable=False),
        sa.Column("window", sa.String(length=8), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("shape", sa.String(length=8), nullable=False),
        sa.Column("burst", sa.BigInteger(), nullable=False),
        sa.Column("stops", sa.Boolean(), nullable=False),
        sa.Column("alerts", sa.String(length=64), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "kind", "subject", "unit", "window", name=op.f("pk_quota")),
    )
    op.create_table(
        "quota_use",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("subject", sa.String(length=128), nullable=False),
        sa.Column("unit", sa.String(length=16), nullable=False),
        sa.Column("window", sa.String(length=8), nullable=False),
        sa.Column("start_us", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("used", sa.BigInteger(), nullable=False),
        sa.Column("alerted", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "kind", "subject", "unit", "window", "start_us", name=op.f("pk_quota_use")),
    )
    op.create_index("ix_quota_use_start_us", "quota_use", ["start_us"], unique=False)
    op.create_table(
        "seen",
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_seen")),
    )
    op.create_index("ix_seen_until", "seen", ["until"], unique=False)
