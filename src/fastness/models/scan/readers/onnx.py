"""ONNX: every message of the file, walked on the wire; graphs within graphs, functions and training steps included.

Tells the operators, the files that tensors are read from, credentials in its texts, and fields that the format does not
know. Tensor data is stepped over. Misses: whether the graph computes what it should. Cost: one step a field.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from fastness.core.findings import Finding, Rule, Severity
from fastness.core.sources import BytesSource, RandomAccess
from fastness.models.scan.budget import Budget, ScanSettings
from fastness.models.scan.credentials import credential_in
from fastness.models.scan.cursor import Cursor
from fastness.models.scan.facts import Fact, FactKind, Look, Told, found, span
from fastness.models.scan.onnx_schema import SCHEMA
from fastness.models.scan.protobuf import FIXED32, FIXED64, LENGTH, VARINT, Field, NotProtobuf, fields
from fastness.models.scan.rules import MAPS, undecided

MALFORMED = undecided(
    "onnx-malformed", "An ONNX file that is not understood",
    "What cannot be parsed cannot be vouched for.", "Fetch the file again, or export the model again.",
)  # fmt: skip
UNKNOWN_FIELD = Rule(
    "onnx-unknown-field", "A field that the format does not know", Severity.MEDIUM,
    "Bytes that no ONNX reader looks at can carry anything, or belong to a newer version of the format.",
    "Export the model again with a current version of its library.", MAPS,
)  # fmt: skip
TENSOR_SIZE = Rule(
    "onnx-tensor-size", "A tensor whose data does not fit its shape", Severity.HIGH,
    "Runtimes have read beyond such data; what is too much is hidden.",
    "Export the model again with its own library.", {**MAPS, "cwe": "CWE-1284"},
)  # fmt: skip

RULES: tuple[Rule, ...] = (MALFORMED, UNKNOWN_FIELD, TENSOR_SIZE)

MAX_NESTING = 64
KEPT_TEXT = 4096
MAX_DIMS = 64
_WIRES = {"i": (VARINT, LENGTH), "f": (FIXED32, LENGTH), "d": (FIXED64, LENGTH), "s": (LENGTH,)}
_TENSOR_BITS = {
    1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 14: 64, 15: 128, 16: 16,
    17: 8, 18: 8, 19: 8, 20: 8, 21: 4, 22: 4, 23: 4, 24: 8, 25: 2, 26: 2,
}  # fmt: skip
_EXTERNAL = 1


@dataclass(frozen=True)
class OnnxReader:
    """Reads .onnx files."""

    name: ClassVar[str] = "onnx"
    suffixes: ClassVar[tuple[str, ...]] = (".onnx",)

    def claims(self, look: Look) -> bool:
        """By the name, or by known fields of a model up to its graph: the format has no magic."""
        return look.named(".onnx") or _starts_a_model(look.head)

    def read(self, source: RandomAccess, budget: Budget) -> Iterator[Told]:
        """Operators, references, credentials and faults.

        Raises:
            TooLarge: the budget is spent.
        """
        walk = _Walk(source.name, Cursor(source), budget)
        try:
            walk.message("ModelProto", source.size, 0)
        except NotProtobuf as error:
            yield from walk.told
            yield found(MALFORMED, source.name, error.at, str(error))
            return
        yield from walk.told
        if not walk.graphs:
            yield found(MALFORMED, source.name, 0, "a model without a graph")
            return
        for (domain, op), offset in walk.operators.items():
            local = int((domain, op) in walk.functions)
            yield Fact(FactKind.OPERATOR, source.name, offset, op, {"domain": domain, "local": local})
        yield span(source.name, 0, source.size)


@dataclass(slots=True)
class _Message:
    """What is kept of one message until it ends."""

    texts: dict[str, str] = field(default_factory=dict)
    entries: list[dict[str, str]] = field(default_factory=list)
    numbers: dict[int, int] = field(default_factory=dict)
    dims: list[int] = field(default_factory=list)
    raw: int = -1


@dataclass(slots=True)
class _Walk:
    """The state of one reading."""

    name: str
    cursor: Cursor
    budget: Budget
    told: list[Fact | Finding] = field(default_factory=list)
    operators: dict[tuple[str, str], int] = field(default_factory=dict)
    functions: set[tuple[str, str]] = field(default_factory=set)
    unknown: set[tuple[str, int]] = field(default_factory=set)
    graphs: int = 0

    def message(self, kind: str, end: int, depth: int) -> _Message:
        """Walk one message.

        Raises:
            NotProtobuf: a field is broken, or messages are nested too deep.
            TooLarge: the budget is spent.
        """
        start = self.cursor.position
        if depth > MAX_NESTING:
            raise NotProtobuf(start, f"messages nested deeper than {MAX_NESTING}")
        schema, kept = SCHEMA[kind], _Message()
        for one in fields(self.cursor, end, self.budget):
            what = schema.get(one.number, "")
            if what in SCHEMA:
                self._inner(what, one, kept, kind, depth)
            elif what:
                self._scalar(what, one, kept, kind)
            else:
                self._unknown(kind, one)
        self._finish(kind, start, kept)
        return kept

    def _inner(self, what: str, one: Field, kept: _Message, kind: str, depth: int) -> None:
        if one.wire != LENGTH:
            raise NotProtobuf(one.offset, f"field {one.number} of {kind} is no message")
        inner = self.message(what, one.end, depth + 1)
        if kind == "TensorProto" and one.number == 13:
            self.budget.spend("facts")
            kept.entries.append(inner.texts)

    def _scalar(self, what: str, one: Field, kept: _Message, kind: str) -> None:
        letter, _, key = what.partition(":")
        if one.wire not in _WIRES["s" if letter == "t" else letter]:
            raise NotProtobuf(one.offset, f"field {one.number} of {kind} has wire type {one.wire}")
        if letter == "t":
            self._text(key, one, kept)
        elif kind == "TensorProto":
            self._tensor_field(one, kept)

    def _text(self, key: str, one: Field, kept: _Message) -> None:
        text = self.cursor.take(min(one.end - one.start, KEPT_TEXT)).decode("utf-8", "replace")
        kept.texts[key] = text
        if kind := credential_in(text):
            self.told.append(Fact(FactKind.CREDENTIAL, self.name, one.start, kind))

    def _tensor_field(self, one: Field, kept: _Message) -> None:
        if one.number == 1 and len(kept.dims) <= MAX_DIMS:
            packed = one.wire == LENGTH
            kept.dims += _packed(self.cursor.take(min(one.end - one.start, KEPT_TEXT))) if packed else [one.value]
        elif one.number in {2, 14}:
            kept.numbers[one.number] = one.value & 0xFFFFFFFF  # an enum: readers drop what is above 32 bits
        elif one.number == 9:
            kept.raw = one.end - one.start

    def _unknown(self, kind: str, one: Field) -> None:
        if (kind, one.number) not in self.unknown:
            self.budget.spend("facts")
            self.unknown.add((kind, one.number))
            self.told.append(found(UNKNOWN_FIELD, self.name, one.offset, f"field {one.number} of {kind}"))

    def _finish(self, kind: str, start: int, kept: _Message) -> None:
        if kind == "GraphProto":
            self.graphs += 1
        elif kind == "NodeProto":
            key = (_standard(kept.texts.get("domain", "")), kept.texts.get("op", ""))
            if key not in self.operators:
                self.budget.spend("facts")
                self.operators[key] = start
        elif kind == "FunctionProto":
            self.functions.add((_standard(kept.texts.get("domain", "")), kept.texts.get("name", "")))
        elif kind == "TensorProto":
            self._tensor(start, kept)

    def _tensor(self, start: int, kept: _Message) -> None:
        if kept.entries or kept.numbers.get(14) == _EXTERNAL:
            self.budget.spend("facts")
            locations = [entry.get("value", "") for entry in kept.entries if entry.get("key") == "location"]
            self.told += [Fact(FactKind.REFERENCE, self.name, start, one) for one in locations or [""]]
        bits = _TENSOR_BITS.get(kept.numbers.get(2, 0))
        if kept.raw >= 0 and bits is not None:
            wanted = (math.prod(kept.dims[:MAX_DIMS]) * bits + 7) // 8
            if wanted != kept.raw or len(kept.dims) > MAX_DIMS:
                text = f"{kept.raw} bytes of data, and the shape asks for {min(wanted, 1 << 64)}"
                self.budget.spend("facts")
                self.told.append(found(TENSOR_SIZE, self.name, start, text))


def _standard(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain


def _packed(data: bytes) -> list[int]:
    values, value, shift = [], 0, 0
    for byte in data:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            values.append(value)
            value, shift = 0, 0
    return values


def _starts_a_model(head: bytes) -> bool:
    """Whether `head` begins with ir_version and goes on with fields of a model, texts in UTF-8, up to a graph."""
    schema, cursor = SCHEMA["ModelProto"], Cursor(BytesSource("", head))
    seen: list[int] = []
    try:
        for one in fields(cursor, 1 << 40, Budget(ScanSettings(fields=256))):
            what = schema.get(one.number, "")
            if not what or one.wire != (VARINT if what == "i" else LENGTH):
                return False
            seen.append(one.number)
            if one.number == 7 or one.end > len(head):
                break
            if what.startswith("t:") and not _is_text(head[one.start : one.end]):
                return False
    except NotProtobuf:
        return False
    return bool(seen) and (seen[0] == 1 or 7 in seen)


def _is_text(data: bytes) -> bool:
    try:
        return data.decode("utf-8").isprintable() or b"\n" in data
    except UnicodeDecodeError:
        return False


READER = OnnxReader
