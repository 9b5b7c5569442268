"""Records, blobs, counters, snapshots and journals: what the house keeps, embedded by default."""

from fastness.foundation.storage import counters, jobs, replies
from fastness.foundation.storage.blobs import FileBlobs
from fastness.foundation.storage.contracts import (
    Blobs,
    Counters,
    Journal,
    Reading,
    Records,
    Transaction,
)
from fastness.foundation.storage.journal import FileJournal
from fastness.foundation.storage.memory import Live, MemoryCounters
from fastness.foundation.storage.sqlite import SqliteRecords
from fastness.foundation.storage.tables import METADATA

__all__ = [
    "METADATA",
    "Blobs",
    "Counters",
    "FileBlobs",
    "FileJournal",
    "Journal",
    "Live",
    "MemoryCounters",
    "Reading",
    "Records",
    "SqliteRecords",
    "Transaction",
    "counters",
    "jobs",
    "replies",
]
