"""CoreML models that were compiled on a Mac (.mlmodelc): the program as text (model.mil), and data that only Apple reads.

Tells every operation of the program and the files it names; the data (coremldata.bin) can at best be reviewed. Misses: what
is in that data. Cost: the text is read once, in pieces.

Source: what coremlcompiler of Xcode 15 and 16 writes; coremltools 9.0 for the names of operations.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from fastness.core.findings import Rule, Severity
from fastness.core.sources import RandomAccess
from fastness.models.scan.budget import Budget
from fastness.models.scan.facts import Fact, FactKind, Look, Told, found, span
from fastness.models.scan.payloads import search_payloads
from fastness.models.scan.rules import MAPS

OPAQUE = Rule(
    "coreml-compiled", "Data that only Apple's own frameworks can read", Severity.MEDIUM,
    "It was made on another machine, in a format that is not published: what it holds cannot be seen here.",
    "Ask for the model it was compiled from (.mlpackage or .mlmodel), scan that, and compile it yourself.", MAPS,
)  # fmt: skip

RULES: tuple[Rule, ...] = (OPAQUE,)

DATA = "coremldata.bin"
_PROGRAM = re.compile(rb"program\([0-9.]+\)\s*\[buildInfo\b")
_OPERATION = re.compile(rb"=\s*([A-Za-z_][A-Za-z0-9_]{0,80})\(")
_BLOB = re.compile(rb'\("(@model_path/[^"]{1,1000}|[^"]{1,1000}\.bin)"\)')
_WEIGHTS = "@model_path/"
_STEP, _OVERLAP = 1 << 20, 2048
_SYNTAX = frozenset({"BLOBFILE", "tensor", "tuple", "string", "bool", "dict", "list", "func", "path", "offset", "val"})


@dataclass(frozen=True)
class CoremlCompiledReader:
    """Reads the files of .mlmodelc folders."""

    name: ClassVar[str] = "coreml-compiled"
    suffixes: ClassVar[tuple[str, ...]] = (".mil",)

    def claims(self, look: Look) -> bool:
        """By how the text begins, or by the one name that the data always has."""
        return _PROGRAM.match(look.head) is not None or look.name.rpartition("/")[2] == DATA

    def read(self, source: RandomAccess, budget: Budget) -> Iterator[Told]:
        """Operations, references, programs, and the span.

        Raises:
            TooLarge: the budget is spent.
        """
        if _PROGRAM.match(source.read_at(0, 256)) is None:
            yield found(OPAQUE, source.name, 0, f"{source.size} bytes")
        else:
            yield from _program(source, budget)
        yield from search_payloads(source, 0, source.size, budget)
        yield span(source.name, 0, source.size)


def _program(source: RandomAccess, budget: Budget) -> Iterator[Told]:
    seen: set[str] = set()
    for at in range(0, source.size, _STEP):
        piece = source.read_at(at, _STEP + _OVERLAP)
        for match in _OPERATION.finditer(piece):
            name = match[1].decode("ascii")
            if name not in seen and name not in _SYNTAX:
                seen.add(name)
                budget.spend("facts")
                detail: dict[str, str | int] = {"domain": "coreml", "local": 0}
                yield Fact(FactKind.OPERATOR, source.name, at + match.start(), name, detail)
        for match in _BLOB.finditer(piece):
            location = match[1].decode("utf-8", "replace").removeprefix(_WEIGHTS)
            if location not in seen:
                seen.add(location)
                budget.spend("facts")
                yield Fact(FactKind.REFERENCE, source.name, at + match.start(), location)


READER = CoremlCompiledReader
