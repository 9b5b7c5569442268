"""The tables of the vault. A wrapped key stands apart from its blob's row: deleting it is what shreds the blob."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Integer, LargeBinary, String, Table, UniqueConstraint

from fastness.foundation.storage import METADATA

BLOBS = Table(
    "vault_blobs",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("tenant", String, nullable=False),
    Column("digest", String(71), nullable=False),
    # Keyed hash of the content, for deduplication; null once the blob may no longer be shared.
    Column("content_id", String(64)),
    Column("size", BigInteger, nullable=False),
    Column("refcount", Integer, nullable=False),
    Column("state", String(16), nullable=False),  # BlobState
    Column("committed_at", BigInteger, nullable=False),
    Column("shredded_at", BigInteger),
    UniqueConstraint("tenant", "content_id"),
)

DATA_KEYS = Table(
    "vault_data_keys",
    METADATA,
    Column("blob", String(64), ForeignKey("vault_blobs.id"), primary_key=True),
    Column("tenant", String, nullable=False),
    Column("kek_id", String, nullable=False, index=True),
    Column("kek_version", Integer, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("wrapped", LargeBinary, nullable=False),
)
