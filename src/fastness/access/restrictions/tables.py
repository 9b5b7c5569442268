"""Who and what is blocked, throttled or asked for more, and until when."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Float, Index, String, Table

from fastness.access.sealing.tables import seal_column
from fastness.foundation.storage import METADATA

RESTRICTION = Table(
    "restriction",
    METADATA,
    Column("tenant", String(64), primary_key=True),
    Column("id", String(36), primary_key=True),
    Column("measure", String(16), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("target", String(128), nullable=False),
    Column("per_s", Float),
    Column("burst", Float),
    Column("reason", String(512), nullable=False),
    Column("author", String(80), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("lifted_at", BigInteger),
    Column("lifted_by", String(80)),
    seal_column(),
    Index("ix_restriction_standing", "tenant", "lifted_at", "expires_at"),
)
