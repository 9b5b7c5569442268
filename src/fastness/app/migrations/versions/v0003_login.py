"""Passwords, second factors, recovery codes, sessions, elevations, lockouts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the tables."""
    _passwords()
    _codes()
    _passkeys()
    _sessions()
    _tickets()


def _passwords() -> None:
    """What people know, and how they come to it."""
    op.create_table(
        "login_password",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("principal", sa.String(length=80), nullable=False),
        sa.Column("hash", sa.String(length=200), nullable=True),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant", "principal"],
            ["principal.tenant", "principal.id"],
            name=op.f("fk_login_password_tenant_principal"),
        ),
        sa.PrimaryKeyConstraint("tenant", "principal", name=op.f("pk_login_password")),
    )
    op.create_table(
        "login_invitation",
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("principal", sa.String(length=80), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant", "principal"],
            ["principal.tenant", "principal.id"],
            name=op.f("fk_login_invitation_tenant_principal"),
        ),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_login_invitation")),
    )
    op.create_table(
        "login_bucket",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("account", sa.LargeBinary(length=32), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("blocked_until", sa.BigInteger(), nullable=False),
        sa.Column("forget_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "digest", name=op.f("pk_login_bucket")),
    )
    op.create_index("ix_login_bucket_age", "login_bucket", ["tenant", "forget_at"], unique=False)


def _codes() -> None:
    """Authenticator apps and recovery codes."""
    op.create_table(
        "login_totp",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("principal", sa.String(length=80), nullable=False),
        sa.Column("label", sa.String(length=64), nullable=False),
        sa.Column("key_id", sa.String(length=64), nullable=False),
        sa.Column("key_version", sa.Integer(), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("confirmed_at", sa.BigInteger(), nullable=True),
        sa.Column("last_counter", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant", "principal"], ["principal.tenant", "principal.id"], name=op.f("fk_login_totp_tenant_principal")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_login_totp")),
    )
    op.create_index("ix_login_totp_owner", "login_totp", ["tenant", "principal"], unique=False)
    op.create_table(
        "login_recovery",
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("principal", sa.String(length=80), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant", "principal"],
            ["principal.tenant", "principal.id"],
            name=op.f("fk_login_recovery_tenant_principal"),
        ),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_login_recovery")),
    )
    op.create_index("ix_login_recovery_owner", "login_recovery", ["tenant", "principal"], unique=False)


def _passkeys() -> None:
    """Passkeys, and the challenges that they answer."""
    op.create_table(
        "login_passkey",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("principal", sa.String(length=80), nullable=False),
        sa.Column("label", sa.String(length=64), nullable=False),
        sa.Column("credential_id", sa.LargeBinary(), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("sign_count", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant", "principal"],
            ["principal.tenant", "principal.id"],
            name=op.f("fk_login_passkey_tenant_principal"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_login_passkey")),
        sa.UniqueConstraint("tenant", "credential_id", name=op.f("uq_login_passkey_tenant")),
    )
    op.create_index("ix_login_passkey_owner", "login_passkey", ["tenant", "principal"], unique=False)
    op.create_table(
        "login_challenge",
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("principal", sa.String(length=80), nullable=True),
        sa.Column("purpose", sa.String(length=16), nullable=False),
        sa.Column("binding", sa.LargeBinary(length=32), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant", "principal"],
            ["principal.tenant", "principal.id"],
            name=op.f("fk_login_challenge_tenant_principal"),
        ),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_login_challenge")),
    )
    op.create_index("ix_login_challenge_found", "login_challenge", ["tenant", "purpose", "binding"], unique=False)


def _sessions() -> None:
    """Who is logged in, or about to be."""
    op.create_table(
        "login_session",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("principal", sa.String(length=80), nullable=False),
        sa.Column("strength", sa.Integer(), nullable=False),
        sa.Column("roles", sa.String(length=512), nullable=False),
        sa.Column("agent", sa.LargeBinary(length=32), nullable=False),
        sa.Column("network", sa.String(length=64), nullable=False),
        sa.Column("bound", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("authenticated_at", sa.BigInteger(), nullable=False),
        sa.Column("stepped_up_at", sa.BigInteger(), nullable=True),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant", "principal"],
            ["principal.tenant", "principal.id"],
            name=op.f("fk_login_session_tenant_principal"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_login_session")),
        sa.UniqueConstraint("digest", name=op.f("uq_login_session_digest")),
    )
    op.create_index("ix_login_session_owner", "login_session", ["tenant", "principal"], unique=False)


def _tickets() -> None:
    """Logins between their steps, and factors given with keys."""
    op.create_table(
        "login_ticket",
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("principal", sa.String(length=80), nullable=False),
        sa.Column("agent", sa.LargeBinary(length=32), nullable=False),
        sa.Column("network", sa.String(length=64), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant", "principal"], ["principal.tenant", "principal.id"], name=op.f("fk_login_ticket_tenant_principal")
        ),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_login_ticket")),
    )
    op.create_index("ix_login_ticket_owner", "login_ticket", ["tenant", "principal"], unique=False)
    op.create_table(
        "login_elevation",
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("principal", sa.String(length=80), nullable=False),
        sa.Column("credential", sa.String(length=128), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant", "principal"],
            ["principal.tenant", "principal.id"],
            name=op.f("fk_login_elevation_tenant_principal"),
        ),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_login_elevation")),
    )
    op.create_index("ix_login_elevation_owner", "login_elevation", ["tenant", "principal"], unique=False)
