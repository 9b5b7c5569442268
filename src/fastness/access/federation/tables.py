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
    seal_column("used_at", since=0, summed=False),
)

FEDERATION_IDENTITY = Table(
    "federation_identity",
    METADATA,
    Column("tenant", String(64), primary_key=True),
    Column("issuer", String(512), primary_key=True),
    Column("subject", String(255), primary_key=True),
    Column("principal", String(80), nullable=False),
    Column("linked_at", BigInteger, nullable=False),
    seal_column("used_at", since=0, summed=False),
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
    Column("return_to", String(512), nullable=False),
    Column("fresh", Boolean, nullable=False),  # the person must log in anew
    Column("expires_at", BigInteger, nullable=False, index=True),
    Column("used_at", BigInteger),
    seal_column("used_at", since=0, summed=False),
)
