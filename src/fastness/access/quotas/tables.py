"""What may be used, and what was."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, String, Table

from fastness.access.sealing.tables import seal_column
from fastness.foundation.storage import METADATA

QUOTA = Table(
    "quota",
    METADATA,
    Column("tenant", String(64), primary_key=True),
    Column("kind", String(16), primary_key=True),
    Column("subject", String(128), primary_key=True),  # `*` is each of its kind that has none of its own
    Column("unit", String(16), primary_key=True),
    Column("window", String(8), primary_key=True),
    Column("amount", BigInteger, nullable=False),
    Column("shape", String(8), nullable=False),
    Column("burst", BigInteger, nullable=False),
    Column("stops", Boolean, nullable=False),
    Column("alerts", String(64), nullable=False),  # percents, space between
    Column("changed_at", BigInteger, nullable=False),
    seal_column(),
)

QUOTA_USE = Table(
    "quota_use",
    METADATA,
    Column("tenant", String(64), primary_key=True),
    Column("kind", String(16), primary_key=True),
    Column("subject", String(128), primary_key=True),
    Column("unit", String(16), primary_key=True),
    Column("window", String(8), primary_key=True),
    Column("start_us", BigInteger, primary_key=True, autoincrement=False),
    Column("used", BigInteger, nullable=False),
    Column("alerted", Integer, nullable=False),  # the highest percent that was told in this window
    Index("ix_quota_use_start_us", "start_us"),
)
