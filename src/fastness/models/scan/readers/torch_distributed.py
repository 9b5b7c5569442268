"""Files of torch's distributed checkpoints: archives of torch, one behind the other, each of one tensor or object.

Each is scanned as a file of its own. Which of them the pickle `.metadata` names does not matter: all are read.

Source: torch 2.13, `torch/distributed/checkpoint/filesystem.py`: `_write_item`. Cost: one pass over the bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from fastness.core.findings import Rule
from fastness.core.sources import RandomAccess
from fastness.models.scan.budget import Budget
from fastness.models.scan.cursor import Part
from fastness.models.scan.facts import Look, Member, Told, found, span
from fastness.models.scan.rules import undecided

BROKEN = undecided(
    "torch-distributed-broken", "A file of a distributed checkpoint that is no row of archives",
    "What stands between the archives, or behind them, was not written by torch.",
    "Fetch the file again, or save the checkpoint again with torch.distributed.checkpoint.",
)  # fmt: skip

RULES: tuple[Rule, ...] = (BROKEN,)

SUFFIX = ".distcp"
_LOCAL, _CENTRAL, _END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
_RECORD = struct.Struct("<4s4H2LH")
_FULL = 0xFFFFFFFF
_WINDOW = 1 << 20


@dataclass(frozen=True)
class TorchDistributedReader:
    """Reads .distcp files."""

    name: ClassVar[str] = "torch-distributed"
    suffixes: ClassVar[tuple[str, ...]] = (SUFFIX,)

    def claims(self, look: Look) -> bool:
        """By the name and the first archive; the reader of archives leaves such files to this one."""
        return look.named(SUFFIX) and look.head.startswith(_LOCAL)

    def read(self, source: RandomAccess, budget: Budget) -> Iterator[Told]:
        """The archives, and what follows the last one as one more.

        Raises:
            TooLarge: there are too many.
        """
        for number, (start, stop) in enumerate(_parts(source)):
            budget.spend("fields")
            if not _ends_here(source, start, stop):
                yield found(BROKEN, source.name, start, f"{stop - start} bytes that are no archive of torch")
            part = Part(source, f"{source.name}!{number}.pt", start, stop - start)
            yield Member(part, start)
        yield span(source.name, 0, source.size)


def _parts(source: RandomAccess) -> Iterator[tuple[int, int]]:
    """Where the archives stand, side by side from the first byte to the last."""
    start = 0
    for stop in _stops(source):
        if stop > start and _ends_here(source, start, stop):
            yield start, stop
            start = stop
    if start < source.size:
        yield start, source.size


def _stops(source: RandomAccess) -> Iterator[int]:
    """Behind every record that may end an archive."""
    for offset in range(0, source.size, _WINDOW):
        window = source.read_at(offset, _WINDOW + len(_END) - 1)
        at = window.find(_END)
        while at >= 0:
            yield offset + at + _RECORD.size
            at = window.find(_END, at + 1)


def _ends_here(source: RandomAccess, start: int, stop: int) -> bool:
    """Whether the archive that begins at `start` ends at `stop`, and another one follows or nothing."""
    if stop - start < _RECORD.size or stop > source.size:
        return False
    record = source.read_at(stop - _RECORD.size, _RECORD.size)
    if record[: len(_END)] != _END or (stop < source.size and source.read_at(stop, 4) != _LOCAL):
        return False
    *_, count, _, first, comment = _RECORD.unpack(record)
    listed = first == _FULL or source.read_at(start + first, 4) == _CENTRAL
    return count > 0 and comment == 0 and listed


READER = TorchDistributedReader
