"""Custom policy sets, restrictions, approval requests, what sessions did."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make the tables."""
    _approval_request()
    _policy_set()
    _restriction()
    _session_act()


def _approval_request() -> None:
    op.create_table(
        "approval_request",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("document", sa.LargeBinary(), nullable=False),
        sa.Column("purpose", sa.String(length=64), nullable=False),
        sa.Column("author", sa.String(length=80), nullable=False),
        sa.Column("deadline", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("closed_at", sa.BigInteger(), nullable=True),
        sa.Column("used_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant", "author"],
            ["principal.tenant", "principal.id"],
            name=op.f("fk_approval_request_tenant_principal"),
        ),
        sa.PrimaryKeyConstraint("tenant", "id", name=op.f("pk_approval_request")),
    )
    op.create_index("ix_approval_request_open", "approval_request", ["tenant", "state", "deadline"], unique=False)


def _policy_set() -> None:
    op.create_table(
        "policy_set",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.String(length=71), nullable=False),
        sa.Column("author", sa.String(length=80), nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("seal", sa.LargeBinary(), nullable=True),
        sa.Column("activated_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant", "author"], ["principal.tenant", "principal.id"], name=op.f("fk_policy_set_tenant_principal")
        ),
        sa.PrimaryKeyConstraint("tenant", "number", name=op.f("pk_policy_set")),
    )


def _restriction() -> None:
    op.create_table(
        "restriction",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("measure", sa.String(length=16), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("target", sa.String(length=128), nullable=False),
        sa.Column("per_s", sa.Float(), nullable=True),
        sa.Column("burst", sa.Float(), nullable=True),
        sa.Column("reason", sa.String(length=512), nullable=False),
        sa.Column("author", sa.String(length=80), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("lifted_at", sa.BigInteger(), nullable=True),
        sa.Column("lifted_by", sa.String(length=80), nullable=True),
        sa.PrimaryKeyConstraint("tenant", "id", name=op.f("pk_restriction")),
    )
    op.create_index("ix_restriction_standing", "restriction", ["tenant", "lifted_at", "expires_at"], unique=False)


def _session_act() -> None:
    op.create_table(
        "session_act",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("session", sa.String(length=64), nullable=False),
        sa.Column("action", sa.String(length=32), nullable=False),
        sa.Column("subject", sa.String(length=128), nullable=False),
        sa.Column("principal", sa.String(length=80), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "session", "action", "subject", name=op.f("pk_session_act")),
    )
