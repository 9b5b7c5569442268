"""The pickles within torch's files: as any pickle, but that their persistent ids name the storages of tensors.

Only a layout, or the reader of torch's older files, says that a file is one. Where the storages stand, and whether they
are long enough, is for those to find.

Cost: linear in the instructions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from fastness.core.findings import Rule, Severity
from fastness.core.sources import RandomAccess
from fastness.models.scan.budget import Budget
from fastness.models.scan.facts import Look, Told, found
from fastness.models.scan.machine import Dialect, Trace
from fastness.models.scan.readers.pickles import TORCH, streams
from fastness.models.scan.rules import PICKLE_MAPS

CONFLICT = Rule(
    "torch-storage-conflict", "One storage under two descriptions", Severity.HIGH,
    "The loader keeps the first description of a storage, so that another tool sees other numbers than the program.",
    "No honest library writes this. Save the model again as safetensors.", PICKLE_MAPS,
)  # fmt: skip

RULES: tuple[Rule, ...] = (CONFLICT,)


@dataclass(frozen=True)
class TorchPickleReader:
    """Reads what torch pickles."""

    name: ClassVar[str] = TORCH
    suffixes: ClassVar[tuple[str, ...]] = ()

    def claims(self, look: Look) -> bool:
        """Never by itself."""
        del look
        return False

    def read(self, source: RandomAccess, budget: Budget) -> Iterator[Told]:
        """The globals, calls, changes and storages of every stream.

        Raises:
            TooLarge: the budget is spent.
        """
        for item in streams(source, budget, Dialect.TORCH):
            if not isinstance(item, Trace):
                yield item
                continue
            for key, offset in item.conflicts:
                yield found(CONFLICT, source.name, offset, f"storage {key!a} has two types or lengths")


READER = TorchPickleReader
