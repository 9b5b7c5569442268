"""Who and what was provisioned by SCIM; rights stand in the tables of access, never here."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKeyConstraint, Index, Integer, String, Table, Text

from fastness.access.sealing.tables import seal_column
from fastness.foundation.storage import METADATA

SCIM_USER = Table(
    "scim_user",
    METADATA,
    Column("tenant", String(64), primary_key=True),
    Column("id", String(36), primary_key=True),
    Column("principal", String(80), nullable=False),
    Column("user_key", String(255), nullable=False),  # userName, folded: it is compared without case
    Column("external_id", String(255)),
    Column("document", Text, nullable=False),  # JSON of the attributes that were accepted
    Column("version", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
    Column("deleted_at", BigInteger),
    seal_column(),
    ForeignKeyConstraint(["tenant", "principal"], ["principal.tenant", "principal.id"]),
    Index("ix_scim_user_key", "tenant", "user_key"),
    Index("ix_scim_user_principal", "tenant", "principal"),
)

SCIM_GROUP = Table(
    "scim_group",
    METADATA,
    Column("tenant", String(64), primary_key=True),
    Column("id", String(36), primary_key=True),
    Column("external_id", String(255)),
    Column("version", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
    ForeignKeyConstraint(["tenant", "id"], ["access_group.tenant", "access_group.id"]),
)
