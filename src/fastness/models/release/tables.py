"""The table of allowances."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, LargeBinary, String, Table

from fastness.foundation.storage import METADATA

ALLOWANCE = Table(
    "model_allowance",
    METADATA,
    Column("tenant", String(64), primary_key=True),
    Column("id", String(36), primary_key=True),
    Column("environment", String(64), nullable=False, index=True),
    Column("envelope", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)
