"""Bytes that are numbers and nothing else: the storages of tensors. Only a layout, or another file, says that they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from fastness.core.findings import Rule
from fastness.core.sources import RandomAccess
from fastness.models.scan.budget import Budget
from fastness.models.scan.facts import Look, Told, span

RULES: tuple[Rule, ...] = ()


@dataclass(frozen=True)
class RawReader:
    """Accounts for all bytes; no loader interprets them."""

    name: ClassVar[str] = "raw"
    suffixes: ClassVar[tuple[str, ...]] = ()

    def claims(self, look: Look) -> bool:
        """Never by itself."""
        del look
        return False

    def read(self, source: RandomAccess, budget: Budget) -> Iterator[Told]:
        """All of it."""
        del budget
        yield span(source.name, 0, source.size)


READER = RawReader
