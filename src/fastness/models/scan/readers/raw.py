"""Bytes that are numbers and nothing else: the storages of tensors. Only a layout, or another file, says that they are.

No loader interprets them, but a program of a few bytes elsewhere can cut out of them what was hidden there: they are
searched for programs, and for pickles that would act. Cost: 1 GB a second.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from fastness.core.findings import Rule
from fastness.core.sources import RandomAccess
from fastness.models.scan.budget import Budget
from fastness.models.scan.facts import Look, Told, span
from fastness.models.scan.payloads import search_payloads

RULES: tuple[Rule, ...] = ()


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


READER = RawReader
