"""What a session has done that bars it from something else."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, String, Table

from fastness.access.sealing.tables import seal_column
from fastness.foundation.storage import METADATA

SESSION_ACT = Table(
    "session_act",
    METADATA,
    Column("tenant", String(64), primary_key=True),
    Column("session", String(64), primary_key=True),
    Column("action", String(32), primary_key=True),
    Column("subject", String(128), primary_key=True),
    Column("principal", String(80), nullable=False),
    Column("at", BigInteger, nullable=False),
    seal_column(),
)
