"""The tables of storage itself, and the metadata on which every package declares its own."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, SmallInteger, String, Table

METADATA = MetaData(
    # Constraints have names on every database, so that migrations can speak of them.
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    },
)

# SQLite gives an automatic key to INTEGER columns only.
_KEY = BigInteger().with_variant(Integer, "sqlite")

EVENTS = Table(
    "events",
    METADATA,
    # Rows are numbered in the order of `seq`. SQLite's hidden rowid would do the same until a VACUUM renumbers it.
    Column("seq", _KEY, primary_key=True),
    Column("id", String, nullable=False),
    Column("idx", BigInteger),  # place in the log; null while it waits for the sequencer
    Column("at", BigInteger, nullable=False),
    Column("kind", String, nullable=False),
    Column("tenant", String, nullable=False),
    Column("principal", String, nullable=False),
    Column("resource", String, nullable=False),
    Column("decision", SmallInteger),
    Column("data", LargeBinary, nullable=False),  # canonical JSON, the entry of the log; the columns repeat it
)
"""Outbox and indexed event table in one."""

_numbered = EVENTS.c.idx.is_not(None)
_pending = EVENTS.c.idx.is_(None)
Index("uq_events_idx", EVENTS.c.idx, unique=True, sqlite_where=_numbered, postgresql_where=_numbered)
Index("ix_events_pending", EVENTS.c.seq, sqlite_where=_pending, postgresql_where=_pending)
Index(
    "ix_events_found",
    EVENTS.c.kind,
    EVENTS.c.resource,
    EVENTS.c.idx,
    sqlite_where=_numbered,
    postgresql_where=_numbered,
)

JOURNALS = Table(
    "journals",
    METADATA,
    Column("file", String, primary_key=True),
    Column("next_offset", BigInteger, nullable=False),
)
"""How far each journal file stands in the log; written in the transaction that numbers its records."""

EPOCHS = Table(
    "epochs",
    METADATA,
    Column("topic", String, primary_key=True),
    Column("epoch", BigInteger, nullable=False),
)

JOBS = Table(
    "jobs",
    METADATA,
    Column("id", String, primary_key=True),
    Column("tenant", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("not_before", BigInteger, nullable=False),
    Column("leased_until", BigInteger, nullable=False, default=0),
    Column("attempts", Integer, nullable=False, default=0),
    Column("error", String, nullable=False, default=""),  # of a job given up; such rows stay for the operator
    Index("ix_jobs_due", "kind", "not_before"),
)

REPLIES = Table(
    "replies",
    METADATA,
    Column("tenant", String(64), primary_key=True),
    Column("principal", String(80), primary_key=True),
    Column("key", String(255), primary_key=True),
    Column("fingerprint", LargeBinary(32), nullable=False),
    Column("at", BigInteger, nullable=False, index=True),
    Column("status", SmallInteger),  # null while the request is at work, and where its answer is not kept
    Column("media_type", String(80)),
    Column("body", LargeBinary),
)
"""Answers to requests with an idempotency key."""

SEEN = Table(
    "seen",
    METADATA,
    Column("digest", LargeBinary(32), primary_key=True),
    Column("tenant", String(64), nullable=False),
    Column("until", BigInteger, nullable=False),
    Index("ix_seen_until", "until"),
)
"""What was used once and may not be again until then."""
