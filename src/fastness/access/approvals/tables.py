"""What was asked of approvers."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKeyConstraint, Index, LargeBinary, String, Table

from fastness.access.sealing.tables import seal_column
from fastness.access.tables import PRINCIPAL
from fastness.foundation.storage import METADATA

APPROVAL_REQUEST = Table(
    "approval_request",
    METADATA,
    Column("tenant", String(64), primary_key=True),
    Column("id", String(36), primary_key=True),
    Column("document", LargeBinary, nullable=False),  # what counts, and what approvers sign; the other columns find it
    Column("purpose", String(64), nullable=False),
    Column("author", String(80), nullable=False),
    Column("deadline", BigInteger, nullable=False),
    Column("state", String(16), nullable=False),
    Column("closed_at", BigInteger),
    Column("used_at", BigInteger),
    seal_column(),
    ForeignKeyConstraint(["tenant", "author"], [PRINCIPAL.c.tenant, PRINCIPAL.c.id]),
    Index("ix_approval_request_open", "tenant", "state", "deadline"),
)
