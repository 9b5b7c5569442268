"""External providers, the identities that were linked to principals, and logins that are under way.

`seal` is a MAC of all columns that give rights, under a key that only the key ring holds: see `access.sealing`.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKeyConstraint,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from fastness.access.sealing.tables import seal_column
from fastness.foundation.storage import METADATA

FEDERATION_PROVIDER = Table(
    "federation_provider",
    METADATA,
    Column("tenant", String(64), primary_key=True),
    Column("name", String(64), primary_key=True),
    Column("document", Text, nullable=False),  # JSON
    Column("secret_key", String(64)),  # null: no secret
    Column("secret_version", Integer),
    Column("secret_wrapped", LargeBinary),
    Column("changed_at", BigInteger, nullable=False),
    Column("disabled_at", BigInteger),
    seal_column(since=0),
)

FEDERATION_IDENTITY = Table(
    "federation_identity",
    METADATA,
    Column("tenant", String(64), primary_key=True),
    Column("issuer", String(512), primary_key=True),
    Column("subject", String(255), primary_key=True),
    Column("principal", String(80), nullable=False),
    Column("linked_at", BigInteger, nullable=False),
    seal_column(since=0),
    UniqueConstraint("tenant", "issuer", "principal"),  # a second subject would be another person
    ForeignKeyConstraint(["tenant", "principal"], ["principal.tenant", "principal.id"]),
)

FEDERATION_LOGIN = Table(
    "federation_login",
    METADATA,
    Column("state_digest", LargeBinary(32), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("provider", String(64), nullable=False),
    Column("browser_digest", LargeBinary(32), nullable=False),
    Column("return_to", Text, nullable=False),
    Column("fresh", Boolean, nullable=False),  # the person must log in anew
    Column("principal", String(80)),  # who links an identity to themselves by it; empty or null for a login
    Column("session", String(64)),
    Column("expires_at", BigInteger, nullable=False, index=True),
    Column("used_at", BigInteger),
    seal_column(since=0, summed=False),  # good for minutes alone
)

FEDERATION_SESSION = Table(
    "federation_session",
    METADATA,
    Column("tenant", String(64), primary_key=True),
    Column("handle", String(80), primary_key=True),  # `session:ID`, or `ticket:DIGEST` until the second factor is given
    Column("provider", String(64), nullable=False),
    Column("issuer", String(512), nullable=False),
    Column("subject", String(255), nullable=False),
    Column("sid", String(255), nullable=False),  # empty: the provider does not say
    Column("expires_at", BigInteger, nullable=False, index=True),
    Column("token_key", String(64)),  # null: no id token is kept
    Column("token_version", Integer),
    Column("token_wrapped", LargeBinary),
    seal_column(since=0),
)
