"""ONNX: every message of the file, walked on the wire; graphs within graphs, functions and training steps included.

Tells the operators, the files that tensors are read from, credentials in its texts, and fields that the format does not
know. Tensor data is stepped over. Misses: whether the graph computes what it should. Cost: one step a field.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from fastness.core.findings import Finding, Rule, Severity
from fastness.core.sources import BytesSource, RandomAccess
from fastness.models.scan.budget import Budget, ScanSettings
from fastness.models.scan.credentials import credential_in
from fastness.models.scan.cursor import Cursor, Truncated
from fastness.models.scan.facts import Fact, FactKind, Look, Told, found, span
from fastness.models.scan.free_texts import tell_free_text
from fastness.models.scan.onnx_flow import flow_of
from fastness.models.scan.onnx_parts import (
    BITS,
    DOUBLES,
    FLOATS,
    INTS,
    LONGS,
    MAX_DIMS,
    MOST_ELEMENTS,
    SHAPED,
    STRING,
    TEXTS,
    UNSIGNED,
    Functions,
    code_in,
    odd_entries,
    packed_numbers,
    small_numbers,
    typed_problem,
    unlikely_dim,
    wanted_bytes,
)
from fastness.models.scan.onnx_schema import SCHEMA
from fastness.models.scan.payloads import search_payloads
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
OUTSIDE = Rule(
    "onnx-external-entry", "Outside data that is named in no honest way", Severity.HIGH,
    "Some libraries set whatever is named there as attributes of their own objects, or take numbers for addresses in memory"
    " (CVE-2026-34445).",
    "No honest exporter writes this. Save the model again with its own library.", {**MAPS, "cwe": "CWE-915"},
)  # fmt: skip
ENDLESS = Rule(
    "onnx-function-endless", "Functions that become endless, or immense, when they are written out", Severity.HIGH,
    "Runtimes write out functions before they run them, and this takes all of the memory.",
    "No honest exporter writes this. Export the model again.", {**MAPS, "cwe": "CWE-674", "atlas": "AML.T0029"},
)  # fmt: skip
BOMB = Rule(
    "onnx-shape-bomb", "A size that no machine holds", Severity.HIGH,
    "Computing, or only loading, asks for that much memory; sizes that wrap have led to writing outside of it.",
    "No honest model is that large. Export the model again.", {**MAPS, "cwe": "CWE-789", "atlas": "AML.T0029"},
)  # fmt: skip
SHADOW = Rule(
    "onnx-function-shadows", "A function with the name of a standard operator", Severity.MEDIUM,
    "Runtimes differ in which of the two they run: one computes another model than the next.",
    "Export the model again, or rename the function.", {**MAPS, "cwe": "CWE-694"},
)  # fmt: skip

OVERRIDE = Rule(
    "onnx-output-override", "An output that the input itself chooses", Severity.LOW,
    "The input is compared with a value, and where it fits, something else takes the place of what the model computed: so are backdoors"
    " built into graphs without training. Honest models do it to mask or to clip.",
    "Compare the graph with the one that was exported, and ask whoever made it what the comparison is for.", {**MAPS, "atlas": "AML.T0018"},
)  # fmt: skip

RULES: tuple[Rule, ...] = (MALFORMED, UNKNOWN_FIELD, TENSOR_SIZE, OUTSIDE, ENDLESS, BOMB, SHADOW, OVERRIDE)

MAX_NESTING = 64
KEPT_TEXT = 1 << 16
MAX_EXPANDED = 10_000_000
_WIRES = {"i": (VARINT, LENGTH), "f": (FIXED32, LENGTH), "d": (FIXED64, LENGTH), "s": (LENGTH,)}
_SMALL = 128
_HIGH_BYTES = bytes(range(128, 256))
_EXTERNAL, _INT64 = 1, 7
_NAMES_OF_TOOLS = frozenset({2, 3, 4})


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
        yield from _functions(source.name, walk.functions)
        yield from _immense(walk)
        yield from _overrides(source, budget)
        yield from search_payloads(source, 0, source.size, budget)
        for (domain, op), offset in walk.operators.items():
            local = int((domain, op) in walk.functions.calls)
            yield Fact(FactKind.OPERATOR, source.name, offset, op, {"domain": domain, "local": local})
        yield span(source.name, 0, source.size)


def _functions(name: str, functions: Functions) -> Iterator[Finding]:
    """What is wrong with the functions that the model defines itself."""
    endless = functions.endless()
    if endless is not None:
        yield found(ENDLESS, name, 0, f"the function {'::'.join(endless)[:80]!a} calls itself")
    elif functions.expanded() > MAX_EXPANDED:
        yield found(ENDLESS, name, 0, f"written out, a function has more than {MAX_EXPANDED} nodes")
    for domain, own in functions.calls:
        if not domain:
            yield found(SHADOW, name, 0, f"the model defines {own[:80]!a} in the standard domain")


def _immense(walk: _Walk) -> Iterator[Finding]:
    """Outputs of a size that no machine holds."""
    for name, product in walk.shapes.items():
        if name in walk.asked:
            yield found(BOMB, walk.name, walk.asked[name], f"an output of {min(product, 1 << 64)} elements")


def _overrides(source: RandomAccess, budget: Budget) -> Iterator[Finding]:
    """Where the graph puts something else in the place of its own result."""
    flow = flow_of(source, budget)
    for node in flow.overrides() if flow is not None else ():
        yield found(
            OVERRIDE, source.name, node.offset, f"{node.op} by a comparison of the input, behind all that was learned"
        )


@dataclass(slots=True)
class _Message:
    """What is kept of one message until it ends."""

    texts: dict[str, str] = field(default_factory=dict)
    entries: list[dict[str, str]] = field(default_factory=list)
    numbers: dict[int, int] = field(default_factory=dict)
    dims: list[int] = field(default_factory=list)
    counts: dict[int, int] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    raw: int = -1


@dataclass(slots=True)
class _Walk:
    """The state of one reading."""

    name: str
    cursor: Cursor
    budget: Budget
    told: list[Told] = field(default_factory=list)
    operators: dict[tuple[str, str], int] = field(default_factory=dict)
    functions: Functions = field(default_factory=Functions)
    names: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    unknown: set[tuple[str, int]] = field(default_factory=set)
    shapes: dict[str, int] = field(default_factory=dict)
    """How many elements the small tensors of whole numbers stand for, by name, where these are shapes."""
    asked: dict[str, int] = field(default_factory=dict)
    """The names that say how large an output is, and where."""
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
        if kind != "ModelProto":
            kept.calls += inner.calls  # of a node's graphs too
        kept.sizes = inner.sizes or kept.sizes

    def _scalar(self, what: str, one: Field, kept: _Message, kind: str) -> None:
        letter, _, key = what.partition(":")
        if one.wire not in _WIRES["s" if letter == "t" else letter]:
            raise NotProtobuf(one.offset, f"field {one.number} of {kind} has wire type {one.wire}")
        if letter == "t":
            self._text(key, one, kept)
        elif kind == "TensorProto":
            self._tensor_field(one, kept)
        elif kind == "TensorShapeProto.Dimension" and one.number == 1 and unlikely_dim(one.value):
            self.budget.spend("facts")
            self.told.append(found(BOMB, self.name, one.offset, f"a dimension of {one.value}"))

    def _text(self, key: str, one: Field, kept: _Message) -> None:
        text = self.cursor.take(min(one.end - one.start, KEPT_TEXT)).decode("utf-8", "replace")
        kept.texts[key] = text
        if kind := credential_in(text):
            self.told.append(Fact(FactKind.CREDENTIAL, self.name, one.start, kind))
        if key == "value" and not kept.texts.get("key", "").startswith("pkg.torch.onnx.") and code_in(text):
            detail: dict[str, str | int] = {"language": "text", "runs": "use"}
            self.told.append(Fact(FactKind.CODE, self.name, one.start, "a property that holds a program", detail))
        if key == "value" and "key" in kept.texts:
            for item in tell_free_text(self.name, kept.texts["key"], text, one.start):
                self.budget.spend("facts")
                self.told.append(item)

    def _tensor_field(self, one: Field, kept: _Message) -> None:
        if one.number == 1 and len(kept.dims) <= MAX_DIMS:
            packed = one.wire == LENGTH
            kept.dims += (
                packed_numbers(self.cursor.take(min(one.end - one.start, KEPT_TEXT))) if packed else [one.value]
            )
        elif one.number in {2, 14}:
            kept.numbers[one.number] = one.value & 0xFFFFFFFF  # an enum: readers drop what is above 32 bits
        elif one.number == 9:
            kept.raw = one.end - one.start
            self._small(one, kept, raw=True)
        elif one.number in {FLOATS, INTS, TEXTS, LONGS, DOUBLES, UNSIGNED}:
            if one.number == LONGS and one.wire == LENGTH and one.end - one.start <= _SMALL:
                kept.counts[LONGS] = kept.counts.get(LONGS, 0) + self._small(one, kept, raw=False)
                return
            kept.counts[one.number] = kept.counts.get(one.number, 0) + self._elements(one)

    def _small(self, one: Field, kept: _Message, *, raw: bool) -> int:
        """Keep the numbers of a small tensor, which may be a shape; how many there are."""
        if one.end - one.start > _SMALL:
            return 0
        numbers = small_numbers(self.cursor.take(one.end - one.start), raw=raw)
        kept.sizes = numbers
        return len(numbers)

    def _elements(self, one: Field) -> int:
        """How many elements stand in one field of typed data."""
        if one.wire != LENGTH or one.number == TEXTS:
            return 1
        if one.number in {FLOATS, DOUBLES}:
            return (one.end - one.start) // (4 if one.number == FLOATS else 8)
        count, left = 0, one.end - one.start
        while left > 0:
            piece = self.cursor.take(min(left, 1 << 16))
            count += len(piece.translate(None, _HIGH_BYTES))
            left -= len(piece)
        return count

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
            key = self.names.setdefault(key, key)
            kept.calls.append(key)
            self._shaped(start, key[1], kept)
            if key not in self.operators:
                self.budget.spend("facts")
                self.operators[key] = start
        elif kind == "FunctionProto":
            own = (_standard(kept.texts.get("domain", "")), kept.texts.get("name", ""))
            self.functions.calls.setdefault(own, []).extend(kept.calls)
            kept.calls = []
        elif kind == "TensorProto":
            self._tensor(start, kept)

    def _tensor(self, start: int, kept: _Message) -> None:
        kind = kept.numbers.get(2, 0)
        if kept.entries or kept.numbers.get(14) == _EXTERNAL:
            self._outside(start, kept, kind)
        if (kind in BITS or kind == STRING) and len(kept.dims) <= MAX_DIMS:
            text = typed_problem(kept.dims, kind, kept.counts)
            if kept.raw >= 0 and kind != STRING and wanted_bytes(kept.dims, kind) != kept.raw:
                wanted = min(wanted_bytes(kept.dims, kind), 1 << 64)
                text = f"{kept.raw} bytes of data, and the shape asks for {wanted}"
        else:
            text = "more dimensions than any runtime takes" if len(kept.dims) > MAX_DIMS else ""
        if text:
            self.budget.spend("facts")
            self.told.append(found(TENSOR_SIZE, self.name, start, text))
        self._asks(start, kept)

    def _asks(self, start: int, kept: _Message) -> None:
        """Take note of a tensor that is a shape, or that asks for much and brings nothing."""
        if kept.numbers.get(2) != _INT64:
            kept.sizes = []
        self._shape(kept.texts.get("name", ""), kept)
        held = kept.raw >= 0 or kept.counts or kept.entries
        if not held and math.prod(kept.dims[:MAX_DIMS]) > MOST_ELEMENTS:
            self.budget.spend("facts")
            self.told.append(found(BOMB, self.name, start, "a tensor of that size, without any data"))

    def _shaped(self, start: int, op: str, kept: _Message) -> None:
        """Take note of what says how large an output is, and of shapes that are constants."""
        if op == "Constant":
            self._shape(kept.texts.get("output", ""), kept)
        elif op in SHAPED:
            self.budget.spend("facts")
            self.asked.setdefault(kept.texts.get("input", ""), start)

    def _shape(self, name: str, kept: _Message) -> None:
        if name and len(kept.sizes) > 0 and min(kept.sizes) > 0:
            product = math.prod(kept.sizes)
            if product > MOST_ELEMENTS:
                self.budget.spend("facts")
                self.shapes[name] = product

    def _outside(self, start: int, kept: _Message, kind: int) -> None:
        """Tell where the data of a tensor stands."""
        self.budget.spend("facts")
        named: dict[str, str] = {}
        for entry in kept.entries:
            named.setdefault(entry.get("key", ""), entry.get("value", ""))
        self.told += [found(OUTSIDE, self.name, start, one) for one in odd_entries(kept.entries)]
        asked = wanted_bytes(kept.dims, kind) if kind in BITS else -1
        detail: dict[str, str | int] = {"wanted": min(asked, 1 << 64)}
        detail |= {key: named[key] for key in ("offset", "length", "checksum") if key in named}
        locations = [entry.get("value", "") for entry in kept.entries if entry.get("key") == "location"]
        self.told += [Fact(FactKind.REFERENCE, self.name, start, one, detail) for one in locations or [""]]


def _standard(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain


_PROSE = re.compile(rb"[\t\n\r\x20-\x7e\x80-\xff]*")


def _starts_a_model(head: bytes) -> bool:
    """Whether `head` begins with ir_version and goes on with fields of a model, texts in UTF-8, up to a graph."""
    if _PROSE.fullmatch(head):
        return False  # a version is a byte that no text holds
    schema, cursor = SCHEMA["ModelProto"], Cursor(BytesSource("", head))
    seen: list[int] = []
    try:
        for one in fields(cursor, 1 << 40, Budget(ScanSettings(fields=256))):
            if not _fits(one, schema.get(one.number, ""), head):
                return False
            if one.number == 7 and not _starts_a_graph(head[one.start : one.end]):
                continue  # other headers begin like an empty graph; what follows decides
            seen.append(one.number)
            if one.number == 7 or one.end > len(head):
                break
    except (NotProtobuf, Truncated):
        return False
    return bool(seen) and (seen[0] == 1 or 7 in seen)


def _starts_a_graph(head: bytes) -> bool:
    schema = SCHEMA["GraphProto"]
    try:
        first = next(fields(Cursor(BytesSource("", head)), 1 << 40, Budget(ScanSettings(fields=2))), None)
    except (NotProtobuf, Truncated):
        return False
    return first is not None and first.number in schema and first.wire == LENGTH


def _fits(one: Field, what: str, head: bytes) -> bool:
    """Whether a field is one of a model, and a text if it should be; other messages begin alike but for the tools' names."""
    if not what or one.wire != (VARINT if what == "i" else LENGTH):
        return False
    text = head[one.start : one.end]
    if one.number in _NAMES_OF_TOOLS and not text.decode("utf-8", "replace").isprintable():
        return False
    return one.number == 7 or one.end > len(head) or not what.startswith("t:") or _is_text(text)


def _is_text(data: bytes) -> bool:
    try:
        return data.decode("utf-8").isprintable() or b"\n" in data
    except UnicodeDecodeError:
        return False


READER = OnnxReader
