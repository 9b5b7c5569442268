"""Tenants, and when who last used what."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, String, Table

from fastness.access.sealing.tables import seal_column
from fastness.foundation.storage import METADATA

TENANT = Table(
    "tenant",
    METADATA,
    Column("tenant", String(64), primary_key=True),
    Column("name", String(128), nullable=False),
    Column("created_by", String(80), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("deactivated_at", BigInteger),
    seal_column(),
)
"""The tenants that were made; the first one, `default`, is the house itself and has no row."""

LAST_USE = Table(
    "access_last_use",
    METADATA,
    Column("tenant", String(64), primary_key=True),
    Column("principal", String(80), primary_key=True),
    Column("what", String(96), primary_key=True),  # key:ID, action:NAME or action:NAME@MODEL
    Column("at", BigInteger, nullable=False),
    Index("ix_access_last_use_at", "tenant", "at"),
)

USE_TAKEN = Table(
    "access_use_taken",
    METADATA,
    Column("tenant", String(64), primary_key=True),
    Column("place", BigInteger, nullable=False),  # how far the log was read
)
