"""Keys that sign tokens, and what was revoked before its time."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKeyConstraint, Integer, LargeBinary, String, Table

from fastness.access.sealing.tables import seal_column
from fastness.foundation.storage import METADATA

TOKEN_KEY = Table(
    "token_key",
    METADATA,
    Column("kid", String(43), primary_key=True),
    Column("tenant", String(64), nullable=False),  # the house's own
    Column("alg", String(8), nullable=False),
    Column("state", String(8), nullable=False),
    Column("wrap_key", String(64), nullable=False),
    Column("wrap_version", Integer, nullable=False),
    Column("wrapped", LargeBinary, nullable=False),  # the private key; the public one is made from it
    Column("created_at", BigInteger, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
    seal_column(),
)

TOKEN_DENIED = Table(
    "token_denied",
    METADATA,
    Column("tenant", String(64), primary_key=True),
    Column("id", String(100), primary_key=True),  # of a token, a family, or client/ID
    Column("expires_at", BigInteger, nullable=False, index=True),  # from then on its tokens are refused by themselves
    seal_column(),
)

TOKEN_FLOOR = Table(
    "token_floor",
    METADATA,
    Column("tenant", String(64), primary_key=True),
    Column("principal", String(80), primary_key=True),
    Column("not_before", BigInteger, nullable=False),  # tokens issued before are refused
    seal_column(),
    ForeignKeyConstraint(["tenant", "principal"], ["principal.tenant", "principal.id"]),
)
