"""OAuth2: clients, what they were promised, and the families of their refresh tokens. Codes and tokens only as digests.

`seal` is a MAC of all columns that give rights, under a key that only the key ring holds: see `access.sealing`.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
)

from fastness.access.sealing.tables import seal_column
from fastness.foundation.storage import METADATA

OAUTH_CLIENT = Table(
    "oauth_client",
    METADATA,
    Column("client_id", String(64), primary_key=True),
    Column("tenant", String(64), nullable=False, index=True),
    Column("name", String(64), nullable=False),
    Column("secret_digest", LargeBinary(32)),  # null: no secret
    Column("jwks", Text, nullable=False),  # JSON, public keys by name; empty: none
    Column("redirects", Text, nullable=False),  # one a line
    Column("grants", String(255), nullable=False),  # space between
    Column("scope", Text, nullable=False),
    Column("principal", String(80)),  # as whom it acts in its own name
    Column("introspects", Boolean, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("disabled_at", BigInteger),
    seal_column(since=0),
    ForeignKeyConstraint(["tenant", "principal"], ["principal.tenant", "principal.id"]),
)

OAUTH_FAMILY = Table(
    "oauth_family",
    METADATA,
    Column("tenant", String(64), primary_key=True),
    Column("id", String(36), primary_key=True),
    Column("client_id", String(64), nullable=False),
    Column("principal", String(80), nullable=False),
    Column("scope", Text, nullable=False),
    Column("strength", Integer, nullable=False),
    Column("authenticated_at", BigInteger, nullable=False),
    Column("thumbprint", String(64), nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
    seal_column(since=0),
    ForeignKeyConstraint(["tenant", "principal"], ["principal.tenant", "principal.id"]),
    Index("ix_oauth_family_principal", "tenant", "principal"),
)

OAUTH_REFRESH = Table(
    "oauth_refresh",
    METADATA,
    Column("digest", LargeBinary(32), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("family", String(36), nullable=False),
    Column("expires_at", BigInteger, nullable=False, index=True),
    Column("used_at", BigInteger),
    seal_column(),
    ForeignKeyConstraint(["tenant", "family"], ["oauth_family.tenant", "oauth_family.id"]),
)

OAUTH_CODE = Table(
    "oauth_code",
    METADATA,
    Column("digest", LargeBinary(32), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("client_id", String(64), nullable=False),
    Column("principal", String(80), nullable=False),
    Column("redirect", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("challenge", String(43), nullable=False),
    Column("strength", Integer, nullable=False),
    Column("authenticated_at", BigInteger, nullable=False),
    Column("family", String(36), nullable=False),  # of what it is redeemed for
    Column("expires_at", BigInteger, nullable=False, index=True),
    Column("used_at", BigInteger),
    seal_column(summed=False),
    ForeignKeyConstraint(["tenant", "principal"], ["principal.tenant", "principal.id"]),
)

OAUTH_DEVICE = Table(
    "oauth_device",
    METADATA,
    Column("digest", LargeBinary(32), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("user_digest", LargeBinary(32), nullable=False, unique=True),
    Column("client_id", String(64), nullable=False),
    Column("scope", Text, nullable=False),
    Column("state", String(8), nullable=False),
    Column("interval_s", Integer, nullable=False),
    Column("polled_at", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False, index=True),
    Column("principal", String(80)),
    Column("strength", Integer, nullable=False),
    Column("authenticated_at", BigInteger, nullable=False),
    Column("network", String(64)),  # from where the device asked
    seal_column("polled_at", "interval_s", since=0, summed=False),
    ForeignKeyConstraint(["tenant", "principal"], ["principal.tenant", "principal.id"]),
)
