"""Clients, device and authorization codes, refresh tokens, denied tokens, external providers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "token_denied",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("id", sa.String(length=100), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "id", name=op.f("pk_token_denied")),
    )
    op.create_index(op.f("ix_token_denied_expires_at"), "token_denied", ["expires_at"], unique=False)
    op.create_table(
        "token_key",
        sa.Column("kid", sa.String(length=43), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("alg", sa.String(length=8), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("wrap_key", sa.String(length=64), nullable=False),
        sa.Column("wrap_version", sa.Integer(), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("kid", name=op.f("pk_token_key")),
    )
    op.create_table(
        "token_floor",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("principal", sa.String(length=80), nullable=False),
        sa.Column("not_before", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant", "principal"], ["principal.tenant", "principal.id"], name=op.f("fk_token_floor_tenant_principal")
        ),
        sa.PrimaryKeyConstraint("tenant", "principal", name=op.f("pk_token_floor")),
    )
