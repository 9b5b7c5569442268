"""IDX files, in which MNIST and its kin hold images and labels: a header of lengths, and numbers.

The magic is two zeros, a type and a count, which other files may begin with; a file is one of these only where the
lengths come to its size exactly.

Source: Y. LeCun, C. Cortes, "The MNIST database of handwritten digits", section "The IDX file format". Cost: one pass over
the numbers for programs that stand in them.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from fastness.core.findings import Rule
from fastness.core.sources import RandomAccess
from fastness.models.scan.budget import Budget
from fastness.models.scan.credentials import search_credentials
from fastness.models.scan.facts import Look, Told, span
from fastness.models.scan.payloads import search_payloads

RULES: tuple[Rule, ...] = ()

_WIDTHS = {0x08: 1, 0x09: 1, 0x0B: 2, 0x0C: 4, 0x0D: 4, 0x0E: 8}
_MOST_LENGTHS = 8


@dataclass(frozen=True)
class IdxReader:
    """Reads IDX files."""

    name: ClassVar[str] = "idx"
    suffixes: ClassVar[tuple[str, ...]] = (".idx", "-ubyte")

    def claims(self, look: Look) -> bool:
        """By a header whose lengths come to the size."""
        return _start(look.head, look.size) > 0

    def read(self, source: RandomAccess, budget: Budget) -> Iterator[Told]:
        """The header and the numbers as spans; nothing where the size is another.

        Raises:
            TooLarge: the budget is spent.
        """
        start = _start(source.read_at(0, min(source.size, 4 + 4 * _MOST_LENGTHS)), source.size)
        if not start:
            return
        budget.spend("fields")
        yield span(source.name, 0, start)
        yield span(source.name, start, source.size - start)
        yield from search_payloads(source, start, source.size, budget)
        yield from search_credentials(source, start, source.size)


def _start(head: bytes, size: int) -> int:
    """Where the numbers begin; 0 where it is no IDX file."""
    if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in _WIDTHS or not 0 < head[3] <= _MOST_LENGTHS:
        return 0
    start = 4 + 4 * head[3]
    if len(head) < start:
        return 0
    lengths = struct.unpack(f">{head[3]}I", head[4:start])
    return start if start + math.prod(lengths) * _WIDTHS[head[2]] == size else 0


READER = IdxReader
