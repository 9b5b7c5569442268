"""IDX files, in which MNIST and its kin hold images and labels: a header of lengths, and numbers.

The magic is two zeros, a type and a count, which other files may begin with; a file is one of these where the lengths come
to its size exactly, or where it is called one.

Source: Y. LeCun, C. Cortes, "The MNIST database of handwritten digits", section "The IDX file format". Cost: one pass over
the numbers for programs that stand in them.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from fastness.core.findings import Rule
from fastness.core.sources import RandomAccess
from fastness.models.scan.budget import Budget
from fastness.models.scan.credentials import search_credentials
from fastness.models.scan.facts import Look, Told, found, span
from fastness.models.scan.payloads import search_payloads
from fastness.models.scan.rules import undecided

SIZE = undecided(
    "idx-size", "An IDX file whose size does not fit its header",
    "Bytes that the header does not name can be read by another program; missing ones make loading fail.",
    "Write the file again, or load it with the library that made it.",
)  # fmt: skip

RULES: tuple[Rule, ...] = (SIZE,)

_NAME = re.compile(r"idx[1-8][-.]ubyte$|\.idx$")
_WIDTHS = {0x08: 1, 0x09: 1, 0x0B: 2, 0x0C: 4, 0x0D: 4, 0x0E: 8}
_MOST_LENGTHS = 8


@dataclass(frozen=True)
class IdxReader:
    """Reads IDX files."""

    name: ClassVar[str] = "idx"
    suffixes: ClassVar[tuple[str, ...]] = (".idx", "-ubyte")

    def claims(self, look: Look) -> bool:
        """By a header whose lengths come to the size, or by a header and the name."""
        start, end = _extent(look.head)
        return 0 < start <= look.size and (end == look.size or _NAME.search(look.name) is not None)

    def read(self, source: RandomAccess, budget: Budget) -> Iterator[Told]:
        """The header and the numbers as spans.

        Raises:
            TooLarge: the budget is spent.
        """
        start, end = _extent(source.read_at(0, min(source.size, 4 + 4 * _MOST_LENGTHS)))
        budget.spend("fields")
        if end != source.size:
            yield found(SIZE, source.name, 0, f"the header names {end} bytes of {source.size}")
        if not start:
            return
        end = min(end, source.size)
        yield span(source.name, 0, start)
        yield span(source.name, start, end - start)
        yield from search_payloads(source, start, end, budget)
        yield from search_credentials(source, start, end)


def _extent(head: bytes) -> tuple[int, int]:
    """Where the numbers begin and end; two zeros where it is no header."""
    if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in _WIDTHS or not 0 < head[3] <= _MOST_LENGTHS:
        return 0, 0
    start = 4 + 4 * head[3]
    if len(head) < start:
        return 0, 0
    lengths = struct.unpack(f">{head[3]}I", head[4:start])
    return start, start + math.prod(lengths) * _WIDTHS[head[2]]


READER = IdxReader
