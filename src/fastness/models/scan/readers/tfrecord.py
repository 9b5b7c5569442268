"""Records of TensorFlow: the logs of a training run that lie beside models, and tables of examples.

Walked from record to record; what a record says is not looked at, but for programs, pickles and credentials in it. Misses:
damage within a record. Cost: one pass over the bytes.

Source: TensorFlow 2.21, `core/lib/io/record_writer.h`; RFC 3720, appendix B.4 (CRC-32C).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

from fastness.core.findings import Rule
from fastness.core.sources import RandomAccess
from fastness.models.scan.budget import Budget
from fastness.models.scan.credentials import search_credentials
from fastness.models.scan.facts import Look, Told, found, span
from fastness.models.scan.payloads import search_payloads
from fastness.models.scan.rules import undecided

BROKEN = undecided(
    "tfrecord-broken", "Records that end early, or bytes that are none",
    "A loader reads up to the break; what stands behind it was not understood.", "Fetch the file again.",
)  # fmt: skip

RULES: tuple[Rule, ...] = (BROKEN,)

_HEAD, _FOOT = 12, 4


@dataclass(frozen=True)
class TfrecordReader:
    """Reads files of records."""

    name: ClassVar[str] = "tfrecord"
    suffixes: ClassVar[tuple[str, ...]] = (".tfrecord", ".tfrecords")

    def claims(self, look: Look) -> bool:
        """By the checksum of the first length."""
        return _length(look.head[:_HEAD]) is not None

    def read(self, source: RandomAccess, budget: Budget) -> Iterator[Told]:
        """Programs, pickles and credentials in the records.

        Raises:
            TooLarge: there are too many records, or too much to say about them.
        """
        at = 0
        while at < source.size:
            budget.spend("fields")
            length = _length(source.read_at(at, _HEAD))
            if length is None or at + _HEAD + length + _FOOT > source.size:
                yield found(BROKEN, source.name, at, f"no record of the {source.size - at} bytes that are left")
                break
            at += _HEAD + length + _FOOT
        yield span(source.name, 0, at)
        yield from search_payloads(source, 0, at, budget)
        yield from search_credentials(source, 0, at)


def _length(head: bytes) -> int | None:
    """The length that a record's head says; None where its checksum does not fit."""
    if len(head) < _HEAD:
        return None
    length, check = struct.unpack("<QI", head)
    return length if check == _masked(head[:8]) else None


def _masked(data: bytes) -> int:
    crc, table = 0xFFFFFFFF, _table()
    for byte in data:
        crc = table[(crc ^ byte) & 255] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


@cache
def _table() -> tuple[int, ...]:
    rows = []
    for row in range(256):
        for _ in range(8):
            row = row >> 1 ^ (0x82F63B78 if row & 1 else 0)  # noqa: PLW2901 - one row, bit by bit
        rows.append(row)
    return tuple(rows)


READER = TfrecordReader
