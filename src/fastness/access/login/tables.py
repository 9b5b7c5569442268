"""Passwords, second factors, sessions and what was tried. Seeds stand here encrypted, all other secrets as keyed digests."""

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
    UniqueConstraint,
)

from fastness.access.sealing.tables import seal_column
from fastness.foundation.storage import METADATA


def _owned() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(["tenant", "principal"], ["principal.tenant", "principal.id"])


PASSWORD = Table(
    "login_password",
    METADATA,
    Column("tenant", String(64), primary_key=True),
    Column("principal", String(80), primary_key=True),
    Column("hash", String(200)),  # Argon2id in PHC form, over a keyed digest; null where it was voided
    Column("generation", Integer, nullable=False),  # known devices are bound to it
    Column("changed_at", BigInteger, nullable=False),
    seal_column(),
    _owned(),
)

INVITATION = Table(
    "login_invitation",
    METADATA,
    Column("digest", LargeBinary(32), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("principal", String(80), nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    seal_column(),
    _owned(),
)

TOTP = Table(
    "login_totp",
    METADATA,
    Column("id", String(36), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("principal", String(80), nullable=False),
    Column("label", String(64), nullable=False),
    Column("key_id", String(64), nullable=False),  # the seed under the tenant's key, bound to tenant and id
    Column("key_version", Integer, nullable=False),
    Column("wrapped", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("confirmed_at", BigInteger),
    Column("last_counter", BigInteger, nullable=False),  # RFC 6238, section 5.2: no code works twice
    seal_column(),
    _owned(),
    Index("ix_login_totp_owner", "tenant", "principal"),
)

RECOVERY = Table(
    "login_recovery",
    METADATA,
    Column("digest", LargeBinary(32), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("principal", String(80), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("used_at", BigInteger),
    seal_column(),
    _owned(),
    Index("ix_login_recovery_owner", "tenant", "principal"),
)

PASSKEY = Table(
    "login_passkey",
    METADATA,
    Column("id", String(36), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("principal", String(80), nullable=False),
    Column("label", String(64), nullable=False),
    Column("credential_id", LargeBinary, nullable=False),
    Column("public_key", LargeBinary, nullable=False),
    Column("sign_count", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("used_at", BigInteger),
    seal_column(),
    _owned(),
    UniqueConstraint("tenant", "credential_id"),
    Index("ix_login_passkey_owner", "tenant", "principal"),
)

CHALLENGE = Table(
    "login_challenge",
    METADATA,
    Column("digest", LargeBinary(32), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("principal", String(80)),  # null where nobody is known yet
    Column("purpose", String(16), nullable=False),
    Column("binding", LargeBinary(32), nullable=False),  # ticket, credential or network that it was made for
    Column("expires_at", BigInteger, nullable=False),
    seal_column(summed=False),
    _owned(),
    Index("ix_login_challenge_found", "tenant", "purpose", "binding"),
)

TICKET = Table(
    "login_ticket",
    METADATA,
    Column("digest", LargeBinary(32), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("principal", String(80), nullable=False),
    Column("agent", LargeBinary(32), nullable=False),
    Column("network", String(64), nullable=False),
    Column("failures", Integer, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    seal_column(summed=False),
    _owned(),
    Index("ix_login_ticket_owner", "tenant", "principal"),
)

SESSION = Table(
    "login_session",
    METADATA,
    Column("id", String(36), primary_key=True),  # names it in lists; no secret
    Column("digest", LargeBinary(32), nullable=False, unique=True),
    Column("tenant", String(64), nullable=False),
    Column("principal", String(80), nullable=False),
    Column("strength", Integer, nullable=False),
    Column("roles", String(512), nullable=False),  # as they were when the id was given; space between
    Column("agent", LargeBinary(32), nullable=False),
    Column("network", String(64), nullable=False),
    Column("bound", Boolean, nullable=False),  # to the network
    Column("created_at", BigInteger, nullable=False),
    Column("authenticated_at", BigInteger, nullable=False),
    Column("stepped_up_at", BigInteger),
    Column("seen_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger),
    seal_column(),
    _owned(),
    Index("ix_login_session_owner", "tenant", "principal"),
)

ELEVATION = Table(
    "login_elevation",
    METADATA,
    Column("digest", LargeBinary(32), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("principal", String(80), nullable=False),
    Column("credential", String(128), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    seal_column(summed=False),
    _owned(),
    Index("ix_login_elevation_owner", "tenant", "principal"),
)

BUCKET = Table(
    "login_bucket",
    METADATA,
    Column("tenant", String(64), primary_key=True),
    Column("digest", LargeBinary(32), primary_key=True),  # of kind, account, network or device: names no one
    Column("kind", String(16), nullable=False),
    Column("account", LargeBinary(32), nullable=False),
    Column("failures", Integer, nullable=False),
    Column("blocked_until", BigInteger, nullable=False),
    Column("forget_at", BigInteger, nullable=False),
    seal_column(),
    Index("ix_login_bucket_age", "tenant", "forget_at"),
)
