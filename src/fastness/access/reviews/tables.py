"""Access reviews: what was to be decided, by whom, and what was."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKeyConstraint, Index, Integer, String, Table

from fastness.access.sealing.tables import seal_column
from fastness.foundation.storage import METADATA

REVIEW = Table(
    "access_review",
    METADATA,
    Column("tenant", String(64), primary_key=True),
    Column("id", String(36), primary_key=True),
    Column("name", String(128), nullable=False),
    Column("created_by", String(80), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("deadline", BigInteger, nullable=False),
    Column("closed_at", BigInteger),
    seal_column(),
)

REVIEWER = Table(
    "access_review_reviewer",
    METADATA,
    Column("tenant", String(64), primary_key=True),
    Column("review", String(36), primary_key=True),
    Column("principal", String(80), primary_key=True),
    seal_column(),
    ForeignKeyConstraint(["tenant", "review"], ["access_review.tenant", "access_review.id"]),
    ForeignKeyConstraint(["tenant", "principal"], ["principal.tenant", "principal.id"]),
)

REVIEW_ITEM = Table(
    "access_review_item",
    METADATA,
    Column("tenant", String(64), primary_key=True),
    Column("review", String(36), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("kind", String(8), nullable=False),
    Column("principal", String(80), nullable=False),  # whose it is; empty for a client of nobody
    Column("subject", String(128), nullable=False),
    Column("shown", String(255), nullable=False),
    Column("last_used_at", BigInteger),
    Column("decision", String(8)),  # null while it is open
    Column("reason", String(500), nullable=False),
    Column("decided_by", String(80), nullable=False),
    Column("decided_at", BigInteger),
    Column("ends_at", BigInteger),  # of what was decided to expire
    Column("applied_at", BigInteger),
    seal_column(),
    ForeignKeyConstraint(["tenant", "review"], ["access_review.tenant", "access_review.id"]),
    Index("ix_access_review_item_open", "tenant", "review", "applied_at"),
)
