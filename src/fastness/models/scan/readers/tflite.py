"""TensorFlow Lite: the whole flatbuffer, each operator by name, and the files that are appended as a zip archive.

Tells built-in, custom and selected TensorFlow operators, weights in other files, credentials, and bytes that no table
leads to. Misses: what the options of custom operators mean. Cost: one step a field; weights are stepped over.

Source: TensorFlow 2.21, `schema.fbs` (version 3c); "Adding metadata to TensorFlow Lite models" for the archive.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from fastness.core.findings import Finding
from fastness.core.sources import RandomAccess
from fastness.models.scan import flatbuffers
from fastness.models.scan.budget import Budget
from fastness.models.scan.credentials import SHORTEST, credential_in
from fastness.models.scan.cursor import Part
from fastness.models.scan.facts import Fact, FactKind, Look, Member, Told, found, span
from fastness.models.scan.flatbuffers import BOUNDS, HIDDEN, UNKNOWN, Broken, Row, Vector, Walk, schema_of
from fastness.models.scan.payloads import search_payloads
from fastness.models.scan.tflite_operators import BUILTIN, CUSTOM
from fastness.models.scan.zip_records import LOCAL, plausible

RULES = flatbuffers.RULES
"""Those of the encoding; the reader has none of its own."""

_MAGIC = b"TFL3"
_FLEX = "Flex"
_PADDING = 64
_METADATA = 1 << 20


@dataclass(frozen=True)
class TfliteReader:
    """Reads .tflite files."""

    name: ClassVar[str] = "tflite"
    suffixes: ClassVar[tuple[str, ...]] = (".tflite",)

    def claims(self, look: Look) -> bool:
        """By the identifier."""
        return look.head[4:8] == _MAGIC

    def read(self, source: RandomAccess, budget: Budget) -> Iterator[Told]:
        """Operators, references, credentials, faults, and the spans.

        Raises:
            TooLarge: the budget is spent.
        """
        walk = Walk(source, schema_of("tflite"), budget)
        model = _Model(source, budget)
        try:
            for row in walk.rows():
                model.take(row)
            yield from model.facts
            yield from model.metadata()
            yield from model.astray()
        except Broken as broken:
            yield from model.facts
            yield found(broken.rule, source.name, broken.at, str(broken))
            yield span(source.name, 0, source.size)
            return
        for (table, number), at in walk.unknown.items():
            yield found(UNKNOWN, source.name, at, f"field {number} of {table}")
        walk.reached.extend(model.beyond)
        for at, length in walk.hidden():
            yield found(HIDDEN, source.name, at, f"{length} bytes that nothing leads to")
        yield from search_payloads(source, 0, walk.stop, budget)
        yield span(source.name, 0, walk.stop)
        yield from _behind(source, walk.stop)


def _behind(source: RandomAccess, stop: int) -> Iterator[Told]:
    """What is appended: the archive of associated files, which the reader of archives claims by its end, or anything."""
    left = source.size - stop
    padding = source.read_at(stop, min(left, _PADDING)).split(LOCAL, 1)[0] if left else b""
    at = stop + len(padding)
    if left and not any(padding) and (at == source.size or _is_archive(source, at)):
        yield span(source.name, stop, left)
    elif left:
        yield found(HIDDEN, source.name, stop, f"{left} bytes follow the model")
        yield span(source.name, stop, left)
        yield Member(Part(source, f"{source.name}!behind", stop, left), stop)


def _is_archive(source: RandomAccess, at: int) -> bool:
    return source.read_at(at, 4) == LOCAL and plausible(Look(source).tail)


@dataclass(slots=True)
class _Model:
    """What gathers over the tables."""

    source: RandomAccess
    budget: Budget
    facts: list[Fact | Finding] = field(default_factory=list)
    beyond: list[tuple[int, int]] = field(default_factory=list)
    """Weights that stand behind the buffer."""
    root: Row | None = None
    buffers: dict[int, Vector] = field(default_factory=dict)
    notes: list[Row] = field(default_factory=list)
    graphs: list[Row] = field(default_factory=list)
    users: dict[int, Row] = field(default_factory=dict)
    """All tables by place: tensors and operators name others by their numbers."""

    def take(self, row: Row) -> None:
        """Take in one table."""
        for value in row.values.values():
            if isinstance(value, str) and len(value) >= SHORTEST and (kind := credential_in(value)):
                self._tell(FactKind.CREDENTIAL, row.at, kind)
        self.users[row.at] = row
        if row.table == "Model":
            self.root = row
        elif row.table == "OperatorCode":
            self._operator(row)
        elif row.table == "Buffer":
            self._buffer(row)
        elif row.table == "Metadata":
            self.notes.append(row)
        elif row.table == "ExternalBufferGroup":
            self._tell(FactKind.REFERENCE, row.at, row.text("Name"))
        elif row.table == "SubGraph":
            self.graphs.append(row)
        elif row.table == "Operator":
            self._stored(row, row.number("LargeCustomOptionsOffset"), row.number("LargeCustomOptionsSize"))

    def metadata(self) -> Iterator[Fact]:
        """Credentials in what is written about the model."""
        places = self.root.vector("Buffers").places if self.root else ()
        for note in self.notes:
            index = note.number("Buffer")
            data = self.buffers.get(places[index]) if index < len(places) else None
            text = self.source.read_at(data.at, min(data.count, _METADATA)) if data else b""
            if kind := credential_in(text.decode("utf-8", "replace")):
                yield Fact(FactKind.CREDENTIAL, self.source.name, note.at, kind)

    def astray(self) -> Iterator[Finding]:
        """Numbers of tensors, buffers and operators that there are not: runtimes that trust them leave their memory."""
        buffers, codes = (self.root.vector(name).count if self.root else 0 for name in ("Buffers", "OperatorCodes"))
        for graph in self.graphs:
            tensors = graph.vector("Tensors")
            named = [
                (graph.at, "tensor", number, tensors.count) for number in self._numbers(graph, "Inputs", "Outputs")
            ]
            rows = [self.users[at] for at in tensors.places if at in self.users]
            named += [(row.at, "buffer", row.number("Buffer"), buffers) for row in rows]
            for row in (self.users[at] for at in graph.vector("Operators").places if at in self.users):
                named.append((row.at, "operator", row.number("OpcodeIndex"), codes))
                numbers = self._numbers(row, "Inputs", "Outputs", "Intermediates")
                named += [(row.at, "tensor", number, tensors.count) for number in numbers]
            for at, what, number, count in named:
                if not -1 <= number < max(count, 1):
                    yield found(BOUNDS, self.source.name, at, f"{what} {number} of {count}")
                    break

    def _numbers(self, row: Row, *fields: str) -> Iterator[int]:
        """The elements of vectors of numbers; -1 stands for none."""
        for one in map(row.vector, fields):
            data = self.source.read_at(one.at, 4 * one.count)
            yield from (int.from_bytes(data[at : at + 4], "little", signed=True) for at in range(0, len(data), 4))

    def _operator(self, row: Row) -> None:
        # Readers take the larger of the two: the first one has no room for newer operators.
        code = max(row.number("DeprecatedBuiltinCode"), row.number("BuiltinCode"))
        name = row.text("CustomCode")
        if code != CUSTOM:
            known = BUILTIN[code] if code < len(BUILTIN) else f"number {code}"
            self._tell(FactKind.OPERATOR, row.at, known, {"domain": "tflite", "local": 0})
        elif name.startswith(_FLEX):
            self._tell(FactKind.OPERATOR, row.at, name.removeprefix(_FLEX), {"domain": "tensorflow", "local": 0})
        else:
            self._tell(FactKind.OPERATOR, row.at, name, {"domain": "tflite.custom", "local": 0})

    def _buffer(self, row: Row) -> None:
        self.buffers[row.at] = row.vector("Data")
        self._stored(row, row.number("Offset"), row.number("Size"))

    def _stored(self, row: Row, offset: int, size: int) -> None:
        """Account for what stands behind the buffer; an offset of 1 is a placeholder that was never filled."""
        if offset <= 1 and size <= 1:
            return
        if offset + size > self.source.size:
            text = f"{size} bytes at {offset} are not all in the file"
            self.facts.append(found(BOUNDS, self.source.name, row.at, text))
        else:
            self.beyond.append((offset, offset + size))

    def _tell(self, kind: FactKind, at: int, name: str, detail: dict[str, str | int] | None = None) -> None:
        self.budget.spend("facts")
        self.facts.append(Fact(kind, self.source.name, at, name, detail or {}))


READER = TfliteReader
