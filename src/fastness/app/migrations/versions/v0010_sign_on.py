"""Which sessions began by an external provider, and logins by which somebody links an identity to themselves."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Make the table, and that of logins under way anew: those of before end, for their seals say less."""
    op.drop_index(op.f("ix_federation_login_expires_at"), "federation_login")
    op.drop_table("federation_login")
    op.create_table(
        "federation_login",
        sa.Column("state_digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("provider", sa.String(length=64), nullable=False),
        sa.Column("browser_digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("return_to", sa.Text(), nullable=False),
        sa.Column("fresh", sa.Boolean(), nullable=False),
        sa.Column("principal", sa.String(length=80), nullable=True),
        sa.Column("session", sa.String(length=64), nullable=True),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=True),
        sa.Column("seal", sa.LargeBinary(length=32), nullable=True),
        sa.PrimaryKeyConstraint("state_digest", name=op.f("pk_federation_login")),
    )
    op.create_index(op.f("ix_federation_login_expires_at"), "federation_login", ["expires_at"], unique=False)
    op.create_table(
        "federation_session",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("handle", sa.String(length=80), nullable=False),
        sa.Column("provider", sa.String(length=64), nullable=False),
        sa.Column("issuer", sa.String(length=512), nullable=False),
        sa.Column("subject", sa.String(length=255), nullable=False),
        sa.Column("sid", sa.String(length=255), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("token_key", sa.String(length=64), nullable=True),
        sa.Column("token_version", sa.Integer(), nullable=True),
        sa.Column("token_wrapped", sa.LargeBinary(), nullable=True),
        sa.Column("seal", sa.LargeBinary(length=32), nullable=True),
        sa.PrimaryKeyConstraint("tenant", "handle", name=op.f("pk_federation_session")),
    )
    op.create_index(op.f("ix_federation_session_expires_at"), "federation_session", ["expires_at"], unique=False)
