"""Who there is, what they may do, by which keys, and what they approved. No secret stands here, only digests of them.

`seal` is a MAC of the other columns, under a key that only the key ring holds: see `access.sealing`.
"""

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

from fastness.access.sealing.tables import seal_column
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
    seal_column(since=1),
)

PRINCIPAL_ROLE = Table(
    "principal_role",
    METADATA,
    Column("tenant", String(64), primary_key=True),
    Column("principal", String(80), primary_key=True),
    Column("role", String(32), primary_key=True),
    seal_column(since=1),
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
    seal_column(),
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
    Column("models", String(4224)),  # as actions
    Column("networks", String(2048)),  # CIDR, space between; null leaves all addresses
    Column("successor", String(8)),  # the key that took its place
    seal_column(since=1),
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
    seal_column(since=1),
    ForeignKeyConstraint(["tenant", "principal"], ["principal.tenant", "principal.id"]),
)

POSSESSION_KEY = Table(
    "possession_key",
    METADATA,
    Column("handle", String(160), primary_key=True),  # certificate/ID or signing-key/TENANT/ID, never given out again
    Column("tenant", String(64), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("id", String(43), nullable=False),
    Column("principal", String(80), nullable=False),
    Column("name", String(64), nullable=False),
    Column("public", LargeBinary, nullable=False),  # a certificate in DER, or a public key in PEM
    Column("per_s", Float, nullable=False),
    Column("burst", Float, nullable=False),
    Column("actions", String(1024)),  # as of an API key, these three
    Column("models", String(4224)),
    Column("networks", String(2048)),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
    seal_column(since=0),
    ForeignKeyConstraint(["tenant", "principal"], ["principal.tenant", "principal.id"]),
)

GROUP = Table(
    "access_group",
    METADATA,
    Column("tenant", String(64), primary_key=True),
    Column("id", String(36), primary_key=True),
    Column("name", String(128), nullable=False),
    Column("source", String(8), nullable=False),  # house, or scim: who may change its members
    Column("roles", String(255), nullable=False),  # space between
    Column("created_at", BigInteger, nullable=False),
    seal_column(since=1),
    UniqueConstraint("tenant", "name"),
)

GROUP_MEMBER = Table(
    "access_group_member",
    METADATA,
    Column("tenant", String(64), primary_key=True),
    Column("group_id", String(36), primary_key=True),
    Column("principal", String(80), primary_key=True),
    Column("added_at", BigInteger, nullable=False),
    seal_column(since=1),
    ForeignKeyConstraint(["tenant", "group_id"], ["access_group.tenant", "access_group.id"]),
    ForeignKeyConstraint(["tenant", "principal"], ["principal.tenant", "principal.id"]),
    Index("ix_access_group_member_principal", "tenant", "principal"),
)

MODEL_GRANT = Table(
    "model_grant",
    METADATA,
    Column("tenant", String(64), primary_key=True),
    Column("principal", String(80), primary_key=True),
    Column("role", String(32), primary_key=True),
    Column("model", String(64), primary_key=True),
    Column("granted_by", String(80), nullable=False),
    Column("granted_at", BigInteger, nullable=False),
    seal_column(since=1),
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
