"""Clients, device and authorization codes, refresh tokens, denied tokens, external providers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "federation_login",
        sa.Column("state_digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("provider", sa.String(length=64), nullable=False),
        sa.Column("browser_digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("return_to", sa.String(length=512), nullable=False),
        sa.Column("fresh", sa.Boolean(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=True),
        sa.Column("seal", sa.LargeBinary(length=32), nullable=True),
        sa.PrimaryKeyConstraint("state_digest", name=op.f("pk_federation_login")),
    )
    op.create_index(op.f("ix_federation_login_expires_at"), "federation_login", ["expires_at"], unique=False)
    op.create_table(
        "federation_provider",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("secret_key", sa.String(length=64), nullable=True),
        sa.Column("secret_version", sa.Integer(), nullable=True),
        sa.Column("secret_wrapped", sa.LargeBinary(), nullable=True),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.Column("disabled_at", sa.BigInteger(), nullable=True),
        sa.Column("seal", sa.LargeBinary(length=32), nullable=True),
        sa.PrimaryKeyConstraint("tenant", "name", name=op.f("pk_federation_provider")),
    )
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
        "federation_identity",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("issuer", sa.String(length=512), nullable=False),
        sa.Column("subject", sa.String(length=255), nullable=False),
        sa.Column("principal", sa.String(length=80), nullable=False),
        sa.Column("linked_at", sa.BigInteger(), nullable=False),
        sa.Column("seal", sa.LargeBinary(length=32), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant", "principal"],
            ["principal.tenant", "principal.id"],
            name=op.f("fk_federation_identity_tenant_principal"),
        ),
        sa.PrimaryKeyConstraint("tenant", "issuer", "subject", name=op.f("pk_federation_identity")),
        sa.UniqueConstraint("tenant", "issuer", "principal", name=op.f("uq_federation_identity_tenant")),
    )
    op.create_table(
        "oauth_client",
        sa.Column("client_id", sa.String(length=64), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("secret_digest", sa.LargeBinary(length=32), nullable=True),
        sa.Column("jwks", sa.Text(), nullable=False),
        sa.Column("redirects", sa.Text(), nullable=False),
        sa.Column("grants", sa.String(length=255), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("principal", sa.String(length=80), nullable=True),
        sa.Column("introspects", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("disabled_at", sa.BigInteger(), nullable=True),
        sa.Column("seal", sa.LargeBinary(length=32), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant", "principal"], ["principal.tenant", "principal.id"], name=op.f("fk_oauth_client_tenant_principal")
        ),
        sa.PrimaryKeyConstraint("client_id", name=op.f("pk_oauth_client")),
    )
    op.create_index(op.f("ix_oauth_client_tenant"), "oauth_client", ["tenant"], unique=False)
    op.create_table(
        "oauth_code",
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("client_id", sa.String(length=64), nullable=False),
        sa.Column("principal", sa.String(length=80), nullable=False),
        sa.Column("redirect", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("challenge", sa.String(length=43), nullable=False),
        sa.Column("strength", sa.Integer(), nullable=False),
        sa.Column("authenticated_at", sa.BigInteger(), nullable=False),
        sa.Column("family", sa.String(length=36), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=True),
        sa.Column("seal", sa.LargeBinary(length=32), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant", "principal"], ["principal.tenant", "principal.id"], name=op.f("fk_oauth_code_tenant_principal")
        ),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_oauth_code")),
    )
    op.create_index(op.f("ix_oauth_code_expires_at"), "oauth_code", ["expires_at"], unique=False)
    op.create_table(
        "oauth_device",
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("user_digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("client_id", sa.String(length=64), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("interval_s", sa.Integer(), nullable=False),
        sa.Column("polled_at", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("principal", sa.String(length=80), nullable=True),
        sa.Column("strength", sa.Integer(), nullable=False),
        sa.Column("authenticated_at", sa.BigInteger(), nullable=False),
        sa.Column("seal", sa.LargeBinary(length=32), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant", "principal"], ["principal.tenant", "principal.id"], name=op.f("fk_oauth_device_tenant_principal")
        ),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_oauth_device")),
        sa.UniqueConstraint("user_digest", name=op.f("uq_oauth_device_user_digest")),
    )
    op.create_index(op.f("ix_oauth_device_expires_at"), "oauth_device", ["expires_at"], unique=False)
    op.create_table(
        "oauth_family",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("client_id", sa.String(length=64), nullable=False),
        sa.Column("principal", sa.String(length=80), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("strength", sa.Integer(), nullable=False),
        sa.Column("authenticated_at", sa.BigInteger(), nullable=False),
        sa.Column("thumbprint", sa.String(length=64), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.Column("seal", sa.LargeBinary(length=32), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant", "principal"], ["principal.tenant", "principal.id"], name=op.f("fk_oauth_family_tenant_principal")
        ),
        sa.PrimaryKeyConstraint("tenant", "id", name=op.f("pk_oauth_family")),
    )
    op.create_index("ix_oauth_family_principal", "oauth_family", ["tenant", "principal"], unique=False)
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
    op.create_table(
        "oauth_refresh",
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("family", sa.String(length=36), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=True),
        sa.Column("seal", sa.LargeBinary(length=32), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant", "family"],
            ["oauth_family.tenant", "oauth_family.id"],
            name=op.f("fk_oauth_refresh_tenant_oauth_family"),
        ),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_oauth_refresh")),
    )
    op.create_index(op.f("ix_oauth_refresh_expires_at"), "oauth_refresh", ["expires_at"], unique=False)
