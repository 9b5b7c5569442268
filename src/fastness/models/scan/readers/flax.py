"""Flax' checkpoints in MessagePack: maps of arrays, each an extension that holds its shape, element type and bytes.

Tells arrays of objects, extensions that Flax does not know, credentials, and programs and pickles within the bytes.
Array data is stepped over by the walk. Misses: the numbers. Cost: one step a value, and one pass over the bytes.

Source: flax 0.12, `serialization.py`; msgpack-numpy 0.4.8 for maps that hold pickled arrays.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from fastness.core.errors import TooLarge
from fastness.core.findings import Finding, Rule, Severity
from fastness.core.sources import BytesSource, RandomAccess
from fastness.models.scan.budget import Budget, ScanSettings
from fastness.models.scan.credentials import SHORTEST, credential_in
from fastness.models.scan.cursor import Cursor, Part
from fastness.models.scan.facts import Fact, FactKind, Look, Member, Told, found, span
from fastness.models.scan.msgpack import Kind, NotMsgpack, Value, values
from fastness.models.scan.payloads import search_payloads
from fastness.models.scan.rules import MAPS, PICKLE_MAPS, undecided

MALFORMED = undecided(
    "flax-malformed", "A MessagePack file that is not understood",
    "What cannot be parsed cannot be vouched for.", "Fetch the file again, or save the model again with Flax.",
)  # fmt: skip
TRAILING = undecided(
    "flax-trailing-bytes", "Bytes behind the object of a MessagePack file",
    "Flax refuses such a file; other programs read on.", "Save the model again, and remove what was appended.",
)  # fmt: skip
OBJECTS = Rule(
    "flax-objects", "An array of objects in a MessagePack file", Severity.HIGH,
    "Its bytes are addresses in memory, or pickles that loading runs; Flax never writes it.",
    "Do not load it. Save arrays of numbers only.", PICKLE_MAPS,
)  # fmt: skip
ARRAY = Rule(
    "flax-array", "An array whose bytes do not fit its shape", Severity.HIGH,
    "What is too much is hidden; what is missing makes loaders read what is not theirs.",
    "No honest library writes this. Save the model again.", {**MAPS, "cwe": "CWE-1284"},
)  # fmt: skip
EXTENSION = Rule(
    "flax-extension", "An extension of MessagePack that Flax does not know", Severity.MEDIUM,
    "Its meaning depends on the program that loads it, which may run what it holds.",
    "Find out which library wrote it, or save the model with Flax.", MAPS,
)  # fmt: skip

RULES: tuple[Rule, ...] = (MALFORMED, TRAILING, OBJECTS, ARRAY, EXTENSION)

_ARRAY, _COMPLEX, _SCALAR, _TIME = 1, 2, 3, 255
_BITS = {
    b"bool": 8, b"bool_": 8, b"int2": 8, b"uint2": 8, b"int4": 8, b"uint4": 8, b"int8": 8, b"uint8": 8, b"int16": 16,
    b"uint16": 16, b"int32": 32, b"uint32": 32, b"int64": 64, b"uint64": 64, b"float16": 16, b"bfloat16": 16,
    b"float32": 32, b"float64": 64, b"float128": 128, b"complex64": 64, b"complex128": 128, b"float8_e4m3fn": 8,
    b"float8_e5m2": 8, b"float8_e4m3b11fnuz": 8, b"float8_e4m3fnuz": 8, b"float8_e5m2fnuz": 8, b"float8_e3m4": 8,
    b"float8_e4m3": 8, b"float8_e8m0fnu": 8, b"float4_e2m1fn": 8, b"longdouble": 128, b"intc": 32, b"longlong": 64,
}  # fmt: skip
_LONGEST_TEXT = 1 << 16
_MAX_DIMS = 64
_KEPT = 64


@dataclass(frozen=True)
class FlaxReader:
    """Reads .msgpack files."""

    name: ClassVar[str] = "flax"
    suffixes: ClassVar[tuple[str, ...]] = (".msgpack",)

    def claims(self, look: Look) -> bool:
        """By the name, or by a map whose first values fit, an array among them: the format has no magic."""
        return look.named(".msgpack") or _starts(look.head)

    def read(self, source: RandomAccess, budget: Budget) -> Iterator[Told]:
        """Arrays of objects, extensions, credentials, faults, payloads and the spans.

        Raises:
            TooLarge: the budget is spent.
        """
        walk = _Walk(source.name, Cursor(source), budget)
        try:
            walk.object(source.size)
        except NotMsgpack as error:
            yield from walk.told
            yield found(MALFORMED, source.name, error.at, str(error))
            return
        yield from walk.told
        yield from search_payloads(source, 0, source.size, budget)
        end = walk.cursor.position
        if end < source.size:
            yield found(TRAILING, source.name, end, f"{source.size - end} bytes stand behind the object")
            yield Member(Part(source, f"{source.name}!behind", end, source.size - end), end)
        yield span(source.name, 0, end)


@dataclass(slots=True)
class _Walk:
    """The state of one reading."""

    name: str
    cursor: Cursor
    budget: Budget
    told: list[Fact | Finding] = field(default_factory=list)
    seen: set[tuple[str, str]] = field(default_factory=set)

    def object(self, end: int) -> None:
        """Walk the one object of the file."""
        before = b""
        for value in values(self.cursor, end, self.budget):
            text = b""
            if value.kind in {Kind.TEXT, Kind.BYTES}:
                text = self._text(value)
                if before == b"kind" and text == b"O":
                    self._once("objects", "", found(OBJECTS, self.name, value.offset, "a pickled array"))
            elif value.kind is Kind.EXTENSION:
                self._extension(value)
            before = text

    def _text(self, value: Value) -> bytes:
        data = self.cursor.take(min(value.end - value.start, _LONGEST_TEXT))
        if (
            value.kind is Kind.TEXT
            and len(data) >= SHORTEST
            and (kind := credential_in(data.decode("utf-8", "replace")))
        ):
            self._once("credential", kind, Fact(FactKind.CREDENTIAL, self.name, value.start, kind))
        return data[:_KEPT]

    def _extension(self, value: Value) -> None:
        if value.code in {_ARRAY, _SCALAR}:
            self._array(value)
        elif value.code == _COMPLEX:
            self._inner(value)
        elif value.code != _TIME:
            text = f"extension {value.code}"
            self._once("extension", text, found(EXTENSION, self.name, value.offset, text, code=value.code))

    def _inner(self, value: Value) -> list[tuple[Value, bytes]]:
        """The values within an extension; of long ones only the beginning."""
        kept = []
        for one in values(self.cursor, value.end, self.budget):
            short = one.kind in {Kind.TEXT, Kind.BYTES} and one.depth == 1
            kept.append((one, self.cursor.take(min(one.end - one.start, _KEPT)) if short else b""))
            if len(kept) > _MAX_DIMS + 4:
                raise NotMsgpack(value.offset, "an extension of too many values")
        if self.cursor.position != value.end:
            raise NotMsgpack(self.cursor.position, "bytes behind the values of an extension")
        return kept

    def _array(self, value: Value) -> None:
        inner = self._inner(value)
        outer = [one for one in inner if one[0].depth == 1]
        fits = inner[0][0].kind is Kind.LIST and len(outer) == 3 and outer[0][0].kind is Kind.LIST
        dims = [one.number for one, _ in inner if one.depth == 2]
        if not fits or -1 in dims or outer[2][0].kind not in {Kind.BYTES, Kind.TEXT}:
            raise NotMsgpack(value.offset, "an array that is not shape, type and bytes")
        dtype, data = outer[1][1], outer[2][0]
        bits = _BITS.get(dtype)
        if bits is None:
            shown = ascii(dtype.decode("latin-1"))
            self._once("objects", shown, found(OBJECTS, self.name, value.offset, f"an array of type {shown}"))
        elif math.prod(dims) * bits != 8 * (data.end - data.start):
            text = f"{data.end - data.start} bytes of data, and the shape asks for others"
            self._once("array", "", found(ARRAY, self.name, value.offset, text))

    def _once(self, kind: str, name: str, told: Fact | Finding) -> None:
        if (kind, name) not in self.seen:
            self.budget.spend("facts")
            self.seen.add((kind, name))
            self.told.append(told)


def _starts(head: bytes) -> bool:
    """Whether `head` begins with a map from names, in which an extension stands."""
    if not head or not (0x81 <= head[0] <= 0x8F or head[0] in {0xDE, 0xDF}):
        return False
    cursor = Cursor(BytesSource("", head + bytes(64)))
    try:
        for count, value in enumerate(values(cursor, 1 << 40, Budget(ScanSettings(fields=1000)))):
            if count == 1 and value.kind is not Kind.TEXT:
                return False
            if value.kind is Kind.EXTENSION:
                return value.code in {_ARRAY, _COMPLEX, _SCALAR}
            if value.end >= len(head) or not _is_plain(value, head):
                return False
    except (NotMsgpack, TooLarge):
        return False
    return False


def _is_plain(value: Value, head: bytes) -> bool:
    """Whether a value is no text, or one in UTF-8 that can be printed."""
    try:
        return value.kind is not Kind.TEXT or head[value.start : value.end].decode("utf-8").isprintable()
    except UnicodeDecodeError:
        return False


READER = FlaxReader
