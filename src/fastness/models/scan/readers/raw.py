"""Bytes that are numbers and nothing else: the storages of tensors. Only a layout, or another file, says that they are.

No loader interprets them, but a program of a few bytes elsewhere can cut out of them what was hidden there: they are
searched for programs, and for pickles that would act. What begins as an archive does is read as one too: whoever says that
it is numbers may be there to hide it. Cost: 2 to 3 GB a second (see `payloads`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from fastness.core.findings import Rule
from fastness.core.sources import RandomAccess
from fastness.models.scan.budget import Budget
from fastness.models.scan.facts import HEAD, Look, Member, Told, span
from fastness.models.scan.payloads import search_payloads

RULES: tuple[Rule, ...] = ()

_ARCHIVE = re.compile(
    rb"PK\x03\x04....[\0\x08\x0c\x0e]\0|\x1f\x8b\x08[\0-\x1f]....[\0\x02\x04][\0-\x0d\xff]|BZh[1-9](?:1AY&SY|\x17rE8P\x90)"
    rb"|\xfd7zXZ\0|7z\xbc\xaf\x27\x1c|\x28\xb5\x2f\xfd|\x04\x22\x4d\x18|\x89HDF\r\n\x1a\n|\x93NUMPY|.{257}ustar",
    re.DOTALL,
)
"""How archives, compressions and files that hold pickles begin: 32 bits at least, which no storage has by chance."""


@dataclass(frozen=True)
class RawReader:
    """Accounts for all bytes."""

    name: ClassVar[str] = "raw"
    suffixes: ClassVar[tuple[str, ...]] = ()

    def claims(self, look: Look) -> bool:
        """Never by itself."""
        del look
        return False

    def read(self, source: RandomAccess, budget: Budget) -> Iterator[Told]:
        """All of it, and what has no business there.

        Raises:
            TooLarge: the budget is spent.
        """
        yield span(source.name, 0, source.size)
        yield from search_payloads(source, 0, source.size, budget)
        if _ARCHIVE.match(source.read_at(0, HEAD)):
            yield Member(source)


READER = RawReader
