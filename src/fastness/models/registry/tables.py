"""Tables of the registry. Documents stand in them verbatim: what was signed is never written out again."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKeyConstraint, Integer, LargeBinary, String, Table, UniqueConstraint

from fastness.foundation.storage import METADATA

MODEL = Table(
    "model",
    METADATA,
    Column("tenant", String(64), primary_key=True),
    Column("name", String(64), primary_key=True),
    Column("created_at", BigInteger, nullable=False),
)

VERSION = Table(
    "model_version",
    METADATA,
    Column("tenant", String(64), primary_key=True),
    Column("model", String(64), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("digest", String(71), nullable=False),
    Column("manifest", LargeBinary, nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", String(512), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    UniqueConstraint("tenant", "model", "digest"),
    ForeignKeyConstraint(["tenant", "model"], ["model.tenant", "model.name"]),
)

ATTESTATION = Table(
    "model_attestation",
    METADATA,
    Column("tenant", String(64), primary_key=True),
    Column("model", String(64), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("envelope", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    ForeignKeyConstraint(
        ["tenant", "model", "number"], ["model_version.tenant", "model_version.model", "model_version.number"]
    ),
)

REVISION = Table(
    "model_revision",
    METADATA,
    Column("tenant", String(64), primary_key=True),
    Column("id", String(32), primary_key=True),
    Column("model", String(64), nullable=False),
    Column("number", Integer, nullable=False),
    Column("document", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    ForeignKeyConstraint(
        ["tenant", "model", "number"], ["model_version.tenant", "model_version.model", "model_version.number"]
    ),
)

ALIAS = Table(
    "model_alias",
    METADATA,
    Column("tenant", String(64), primary_key=True),
    Column("model", String(64), primary_key=True),
    Column("name", String(64), primary_key=True),
    Column("sequence", Integer, nullable=False),
    Column("envelope", LargeBinary, nullable=False),
    ForeignKeyConstraint(["tenant", "model"], ["model.tenant", "model.name"]),
)

ALIAS_HISTORY = Table(
    "model_alias_history",
    METADATA,
    Column("tenant", String(64), primary_key=True),
    Column("model", String(64), primary_key=True),
    Column("name", String(64), primary_key=True),
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("envelope", LargeBinary, nullable=False),
    ForeignKeyConstraint(["tenant", "model"], ["model.tenant", "model.name"]),
)
