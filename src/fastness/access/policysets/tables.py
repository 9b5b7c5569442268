"""The rules that a tenant adds to those shipped, set by set."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKeyConstraint, Integer, LargeBinary, String, Table

from fastness.access.tables import PRINCIPAL
from fastness.foundation.storage import METADATA

POLICY_SET = Table(
    "policy_set",
    METADATA,
    Column("tenant", String(64), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("digest", String(71), nullable=False),
    Column("author", String(80), nullable=False),
    Column("envelope", LargeBinary, nullable=False),  # the texts, signed by their author
    Column("created_at", BigInteger, nullable=False),
    Column("seal", LargeBinary),  # signed by the house when it was activated
    Column("activated_at", BigInteger),
    ForeignKeyConstraint(["tenant", "author"], [PRINCIPAL.c.tenant, PRINCIPAL.c.id]),
)
