"""Who there is, what they may do, by which keys, and what they approved. No secret stands here, only digests of them."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    String,
    Table,
    UniqueConstraint,
)

from fastness.foundation.storage import METADATA

PRINCIPAL = Table(
    "principal",
    METADATA,
    Column("tenant", String(64), primary_key=True),
    Column("id", String(80), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("active", Boolean, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("enrolled_at", BigInteger),  # null until the code was redeemed
)

PRINCIPAL_ROLE = Table(
    "principal_role",
    METADATA,
    Column("tenant", String(64), primary_key=True),
    Column("principal", String(80), primary_key=True),
    Column("role", String(32), primary_key=True),
    ForeignKeyConstraint(["tenant", "principal"], ["principal.tenant", "principal.id"]),
)

ENROLMENT = Table(
    "enrolment",
    METADATA,
    Column("code_digest", String(64), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("principal", String(80), nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("used_at", BigInteger),  # redeemed, or made void
    ForeignKeyConstraint(["tenant", "principal"], ["principal.tenant", "principal.id"]),
)

API_KEY = Table(
    "api_key",
    METADATA,
    Column("key_id", String(8), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("principal", String(80), nullable=False),
    Column("name", String(64), nullable=False),
    Column("digest", LargeBinary(32), nullable=False, unique=True),
    Column("per_s", Float, nullable=False),
    Column("burst", Float, nullable=False),
    Column("actions", String(1024)),  # space between; null leaves all that the roles permit
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
    ForeignKeyConstraint(["tenant", "principal"], ["principal.tenant", "principal.id"]),
)

PUBLIC_KEY = Table(
    "public_key",
    METADATA,
    Column("tenant", String(64), primary_key=True),
    Column("keyid", String(64), primary_key=True),  # never given out again, also after revocation
    Column("principal", String(80), nullable=False),
    Column("pem", LargeBinary, nullable=False),
    Column("enrolled_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
    ForeignKeyConstraint(["tenant", "principal"], ["principal.tenant", "principal.id"]),
)

APPROVAL = Table(
    "approval",
    METADATA,
    Column("id", String(36), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("subject", String(71), nullable=False),
    Column("purpose", String(200), nullable=False),
    Column("principal", String(80), nullable=False),
    Column("envelope", LargeBinary, nullable=False),  # what counts; the other columns find it
    Column("envelope_digest", String(64), nullable=False),
    Column("recorded_at", BigInteger, nullable=False),
    UniqueConstraint("tenant", "envelope_digest"),
    ForeignKeyConstraint(["tenant", "principal"], ["principal.tenant", "principal.id"]),
    Index("ix_approval_found", "tenant", "subject", "purpose"),
)
