"""ExecuTorch: programs (.pte) and weights beside them (.ptd): the flatbuffer, the header before it, the segments behind.

Tells the operators, the backends that parts are handed to, and weights that stand elsewhere. What a backend makes of its
part is not seen, so that a backend which is not listed goes to review. Cost: one step a field; segments are stepped over.

Source: ExecuTorch 1.5, `program.fbs`, `flat_tensor.fbs`, "PTE file format" (extended header).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from fastness.core.findings import Finding, Rule, Severity
from fastness.core.sources import RandomAccess
from fastness.models.scan.budget import Budget
from fastness.models.scan.credentials import SHORTEST, credential_in
from fastness.models.scan.facts import Fact, FactKind, Look, Told, found, span
from fastness.models.scan.flatbuffers import BOUNDS, HIDDEN, UNKNOWN, Broken, Row, Walk, schema_of
from fastness.models.scan.payloads import search_payloads
from fastness.models.scan.rules import MAPS

NAMELESS = Rule(
    "executorch-nameless-tensor", "A tensor whose data stands elsewhere, and nobody says where", Severity.HIGH,
    "The runtime looks weights up by name; without one it takes whatever it finds.",
    "Export the model again.", {**MAPS, "cwe": "CWE-1284"},
)  # fmt: skip

RULES: tuple[Rule, ...] = (NAMELESS,)

_FORMATS = {b"ET12": ("executorch", b"eh00"), b"FT01": ("flat_tensor", b"FH01")}
_ELSEWHERE = 1


@dataclass(frozen=True)
class ExecutorchReader:
    """Reads .pte and .ptd files."""

    name: ClassVar[str] = "executorch"
    suffixes: ClassVar[tuple[str, ...]] = (".pte", ".ptd")

    def claims(self, look: Look) -> bool:
        """By the identifier."""
        return look.head[4:8] in _FORMATS

    def read(self, source: RandomAccess, budget: Budget) -> Iterator[Told]:
        """Operators, backends, references, faults, and the spans.

        Raises:
            TooLarge: the budget is spent.
        """
        head = source.read_at(0, 64)
        if head[4:8] not in _FORMATS:
            return
        schema, magic = _FORMATS[head[4:8]]
        header = _header(head, magic)
        size, base = header or (source.size, source.size)
        program = _Program(source, budget, base)
        if not 8 <= size <= base <= source.size:
            yield found(BOUNDS, source.name, 8, f"a program of {size} bytes, and segments from {base} on")
            yield span(source.name, 0, source.size)
            return
        walk = Walk(source, schema_of(schema), budget, 0, size)
        try:
            for row in walk.rows():
                program.take(row)
        except Broken as broken:
            yield from program.told
            yield found(broken.rule, source.name, broken.at, str(broken))
            yield span(source.name, 0, source.size)
            return
        yield from program.told
        for (table, number), at in walk.unknown.items():
            yield found(UNKNOWN, source.name, at, f"field {number} of {table}")
        if header:
            walk.reached.append((8, 8 + struct.unpack_from("<I", head, 12)[0]))
        walk.reached.extend([*program.segments, (source.size, source.size)])
        for at, length in walk.hidden():
            yield found(HIDDEN, source.name, at, f"{length} bytes that nothing leads to")
        yield from search_payloads(source, 0, source.size, budget)
        yield span(source.name, 0, source.size)


def _header(head: bytes, magic: bytes) -> tuple[int, int] | None:
    """Length of the program and where its segments begin, or None without the header."""
    if head[8:12] != magic or len(head) < 32:
        return None
    length = struct.unpack_from("<I", head, 12)[0]
    if magic == b"FH01":
        _, size, base, _ = struct.unpack_from("<QQQQ", head, 16) if length >= 40 else (0, 0, 0, 0)
        return size, base or size
    size, base = struct.unpack_from("<QQ", head, 16) if length >= 24 else (0, 0)
    return size, base or size


@dataclass(slots=True)
class _Program:
    """What gathers over the tables."""

    source: RandomAccess
    budget: Budget
    base: int
    told: list[Fact | Finding] = field(default_factory=list)
    segments: list[tuple[int, int]] = field(default_factory=list)
    seen: set[tuple[str, str]] = field(default_factory=set)

    def take(self, row: Row) -> None:
        """Take in one table."""
        for value in row.values.values():
            if isinstance(value, str) and len(value) >= SHORTEST and (kind := credential_in(value)):
                self._tell(FactKind.CREDENTIAL, row.at, kind)
        if row.table == "Operator":
            self._operator(row.at, "executorch", row.text("name").partition(".")[0])
        elif row.table == "BackendDelegate":
            self._operator(row.at, "executorch.backend", row.text("id"))
        elif row.table == "ExtraTensorInfo" and row.number("location") == _ELSEWHERE:
            name = row.text("fully_qualified_name")
            if not name:
                self.told.append(found(NAMELESS, self.source.name, row.at, "a tensor elsewhere has no name"))
        elif row.table == "DataSegment":
            self._segment(row)

    def _operator(self, at: int, domain: str, name: str) -> None:
        if (domain, name) not in self.seen:
            self.seen.add((domain, name))
            self._tell(FactKind.OPERATOR, at, name, {"domain": domain, "local": 0})

    def _segment(self, row: Row) -> None:
        start, size = self.base + row.number("offset"), row.number("size")
        if start + size > self.source.size:
            text = f"a segment of {size} bytes at {start} is not all in the file"
            self.told.append(found(BOUNDS, self.source.name, row.at, text))
        else:
            self.segments.append((start, start + size))

    def _tell(self, kind: FactKind, at: int, name: str, detail: dict[str, str | int] | None = None) -> None:
        self.budget.spend("facts")
        self.told.append(Fact(kind, self.source.name, at, name, detail or {}))


READER = ExecutorchReader
