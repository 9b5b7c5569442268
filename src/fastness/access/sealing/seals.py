"""Seals: MACs of the rows that give rights, so that who can write the database and has no key ring gains nothing.

A seal covers the table's name and every column that matters, tenant and key among them, so a row cannot be made, changed,
or moved to somebody else. Where the records were opened with a key ring, a row whose seal does not hold is refused: asked
for by itself it raises `Corrupt("access-forged")`; out of a snapshot it is left out, which only ever takes rights away.

What it misses: a row that stood there once can be put back by who kept a copy of it, and a row can be deleted: what seals add
up to tells that, see `access.sealing.records`. Rows of a house older than seals are trusted once: see `access.integrity`.
Cost: some microseconds a row.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from fastness.core.errors import Corrupt
from fastness.foundation.storage import Reading

_FORMAT = b"fastness row 1\0"
_encode = msgspec.json.Encoder().encode


def seal(reading: Reading, table: str, columns: Sequence[str], values: Mapping[str, Any]) -> bytes | None:
    """The seal of a row; None where the records were opened without a key ring.

    Raises:
        Corrupt: it holds what no row of ours holds.
    """
    if reading.seal is None:
        return None
    try:
        return reading.seal.digest(_FORMAT + _encode([str(table), *(values[name] for name in columns)]))
    except (TypeError, ValueError, msgspec.MsgspecError) as error:
        raise forged(table) from error


def holds(reading: Reading, table: str, columns: Sequence[str], values: Mapping[str, Any]) -> bool:
    """Whether the row is as the house wrote it; always where the records were opened without a key ring."""
    if reading.seal is None:
        return True
    try:
        right = seal(reading, table, columns, values)
    except Corrupt:
        return False
    given = values["seal"]
    return right is not None and isinstance(given, bytes) and hmac.compare_digest(right, given)


def forged(table: str) -> Corrupt:
    """What is raised about a row whose seal does not hold."""
    hint = "Somebody changed the database: compare it with the ledger, and restore a backup."
    return Corrupt("access-forged", f"a row of {table} was not written by this house", hint)
