"""Flatbuffers, walked table by table without following any offset that leaves the buffer. Vectors of numbers are not read.

A table that is reached twice is walked once, so that shared parts cannot grow without end. Which bytes were reached is
kept: others that are not zero are hidden from every honest reader. Cost: one step a field and a vector's element.

Source: FlatBuffers, "Internals"; the verifier of flatbuffers 25.12 (`verifier.h`) for what must hold.
"""

from __future__ import annotations

import json
import struct
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from fastness.core.findings import Rule, Severity
from fastness.core.sources import RandomAccess
from fastness.models.scan.budget import Budget
from fastness.models.scan.rules import MAPS

BOUNDS = Rule(
    "flatbuffer-bounds", "An offset or a length that leaves the file", Severity.HIGH,
    "Runtimes that do not verify the buffer read, and some write, where it leads.",
    "No honest converter writes this; a file that was cut short looks the same. Fetch it again.",
    {**MAPS, "cwe": "CWE-125"},
)  # fmt: skip
UNKNOWN = Rule(
    "flatbuffer-unknown-field", "A field that the format does not know", Severity.MEDIUM,
    "What no reader of the format looks at can carry anything, or belong to a newer version of it.",
    "Convert the model again with a published version of its library.", MAPS,
)  # fmt: skip
HIDDEN = Rule(
    "flatbuffer-hidden-bytes", "Bytes that no table leads to", Severity.MEDIUM,
    "No honest reader of the format sees them; another program may.",
    "Convert the model again with its own library.", MAPS,
)  # fmt: skip
RULES = (BOUNDS, UNKNOWN, HIDDEN)
"""Raised by all readers of flatbuffers; one of them carries these in its own."""

SCHEMAS = Path(__file__).with_name("flatbuffer_schemas.json")
_PAGE, _PAGES = 1 << 16, 32
_MAX_TEXT = 1 << 20
_GAP = 15
"""So many bytes may stand between two things unread: the alignment of what follows."""
_LONGEST_VTABLE = 1 << 12


class Broken(Exception):
    """The buffer is broken in a way that ends the walk."""

    def __init__(self, at: int, problem: str, rule: Rule = BOUNDS) -> None:
        super().__init__(problem)
        self.at, self.rule = at, rule


@dataclass(frozen=True, slots=True)
class Vector:
    """A vector: of numbers where it stands, of tables or texts where each of these stands.

    Attributes:
        at: offset of its first element.
        width: bytes of an element.
    """

    at: int
    count: int
    width: int
    places: tuple[int, ...] = ()
    texts: tuple[str, ...] = ()


Value = int | str | Vector


@dataclass(frozen=True, slots=True)
class Row:
    """One table.

    Attributes:
        values: by field; a table's is the offset at which it stands, of a struct too.
    """

    table: str
    at: int
    values: Mapping[str, Value]

    def number(self, name: str, default: int = 0) -> int:
        """The value of a field that is a number."""
        value = self.values.get(name, default)
        return value if isinstance(value, int) else default

    def text(self, name: str) -> str:
        """The value of a field that is a text."""
        value = self.values.get(name, "")
        return value if isinstance(value, str) else ""

    def vector(self, name: str) -> Vector:
        """The value of a field that is a vector; an empty one where it is missing."""
        value = self.values.get(name)
        return value if isinstance(value, Vector) else Vector(0, 0, 0)


@dataclass(frozen=True)
class Schema:
    """The tables of one format."""

    root: str
    tables: Mapping[str, list[tuple[str, int | str]]]
    unions: Mapping[str, list[str]]


@cache
def schema_of(name: str) -> Schema:
    """The schema of a format that is shipped.

    Raises:
        KeyError: there is none.
    """
    tree = json.loads(SCHEMAS.read_bytes())["formats"][name]
    return Schema(tree["root"], tree["tables"], tree["unions"])


class _Buffer:
    """Reads small pieces anywhere between two offsets, with a bounded cache, and keeps what was reached."""

    def __init__(self, source: RandomAccess, base: int, end: int) -> None:
        self.base, self.end = base, end
        self.reached: list[tuple[int, int]] = []
        self._source = source
        self._kept: OrderedDict[int, bytes] = OrderedDict()

    def take(self, at: int, length: int) -> bytes:
        """The bytes from `at`.

        Raises:
            Broken: they are not all of the buffer's.
        """
        if at < self.base or at + length > self.end:
            raise Broken(at, f"{length} bytes at {at} are not all of the buffer's")
        page, start = divmod(at, _PAGE)
        if start + length > _PAGE:
            return self._source.read_at(at, length)
        if page not in self._kept:
            self._kept[page] = self._source.read_at(page * _PAGE, _PAGE)
            if len(self._kept) > _PAGES:
                self._kept.popitem(last=False)
        return self._kept[page][start : start + length]

    def unpack(self, form: str, at: int) -> int:
        """The number at `at`."""
        return int(struct.unpack("<" + form, self.take(at, struct.calcsize("<" + form)))[0])

    def cover(self, start: int, length: int) -> None:
        """Keep that these bytes were reached."""
        if self.reached and self.reached[-1][1] == start:
            self.reached[-1] = self.reached[-1][0], start + length
        else:
            self.reached.append((start, start + length))

    def follow(self, at: int) -> int:
        """Where the offset at `at` leads."""
        target = at + self.unpack("I", at)
        if target <= at or target >= self.end:
            raise Broken(at, f"an offset leads to {target}")
        return target

    def text(self, at: int) -> str:
        """The text at `at`, the beginning of a long one."""
        length = self.unpack("I", at)
        if length >= self.end - at - 4:
            raise Broken(at, f"a text of {length} bytes")
        self.cover(at, 5 + length)
        return self.take(at + 4, min(length, _MAX_TEXT)).decode("utf-8", "replace")

    def filled(self, start: int, stop: int) -> bool:
        """Whether a byte there is not zero."""
        step = 1 << 16
        return any(any(self._source.read_at(at, min(step, stop - at))) for at in range(start, stop, step))


@dataclass(slots=True)
class Walk:
    """One walk.

    Args:
        base, end: where the buffer stands in the source.
    """

    source: RandomAccess
    schema: Schema
    budget: Budget
    base: int = 0
    end: int = 0
    unknown: dict[tuple[str, int], int] = field(default_factory=dict)
    _buffer: _Buffer = field(init=False)
    _seen: set[tuple[int, str]] = field(default_factory=set)
    _waiting: list[tuple[str, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.end = self.end or self.source.size
        self._buffer = _Buffer(self.source, self.base, self.end)

    @property
    def reached(self) -> list[tuple[int, int]]:
        """What was reached: where each piece begins and ends. More may be added."""
        return self._buffer.reached

    def rows(self) -> Iterator[Row]:
        """Every table that the root leads to, the root first.

        Raises:
            Broken: something leaves the buffer.
            TooLarge: the budget is spent.
        """
        self._buffer.cover(self.base, 8)
        self._wait(self.schema.root, self._buffer.follow(self.base))
        while self._waiting:
            yield self._table(*self._waiting.pop())

    def hidden(self) -> Iterator[tuple[int, int]]:
        """Where bytes stand that nothing led to and that are not zero: offset and length; then where it all ends."""
        reached = self.base
        for start, stop in sorted(self.reached):
            if start - reached > _GAP and self._buffer.filled(reached, start):
                yield reached, start - reached
            reached = max(reached, stop)

    @property
    def stop(self) -> int:
        """Where the last thing ends that was reached."""
        return max((stop for _, stop in self.reached), default=self.base)

    def _wait(self, table: str, at: int) -> None:
        if (at, table) not in self._seen:
            self._seen.add((at, table))
            self._waiting.append((table, at))

    def _table(self, name: str, at: int) -> Row:
        vtable = at - self._buffer.unpack("i", at)
        length, inline = self._buffer.unpack("H", vtable), self._buffer.unpack("H", vtable + 2)
        if length < 4 or length % 2 or length > _LONGEST_VTABLE or inline < 4:
            raise Broken(vtable, f"the layout of a {name} is none")
        self._buffer.take(at, inline)
        slots = struct.unpack(f"<{(length - 4) // 2}H", self._buffer.take(vtable + 4, length - 4))
        self._buffer.cover(vtable, length)
        self._buffer.cover(at, inline)
        known, values = self.schema.tables[name], dict[str, Value]()
        for slot, offset in enumerate(slots):
            self.budget.spend("fields")
            if not offset:
                continue
            if slot >= len(known) or known[slot][0] == "deprecated":
                self.unknown.setdefault((name, slot), at)
                continue
            field_name, kind = known[slot]
            self._inside(kind, at, offset, inline)
            values[field_name] = self._value(kind, at + offset, values, known[slot - 1][0])
        return Row(name, at, values)

    def _inside(self, kind: int | str, at: int, offset: int, inline: int) -> None:
        width = kind if isinstance(kind, int) else int(kind[1:]) if kind[0] == "r" else 4
        if offset + width > inline:
            raise Broken(at, "a field stands outside of its table")

    def _value(self, kind: int | str, at: int, values: Mapping[str, Value], before: str) -> Value:
        if isinstance(kind, int):
            return self._buffer.unpack({1: "B", 2: "H", 4: "I", 8: "Q"}[kind], at)
        if kind[0] == "r":
            return at
        target = self._buffer.follow(at)
        letter, _, name = kind.partition(":")
        if letter == "s":
            return self._buffer.text(target)
        if letter == "t":
            self._wait(name, target)
        elif letter == "u":
            self._union(name, values.get(before, 0), target)
        else:
            return self._vector(letter[1:], name, target)
        return target

    def _union(self, name: str, which: Value, target: int) -> None:
        members = self.schema.unions[name]
        if not isinstance(which, int) or not 0 < which < len(members):
            self.unknown.setdefault((name, which if isinstance(which, int) else 0), target)
        elif members[which] in self.schema.tables:
            self._wait(members[which], target)

    def _vector(self, element: str, name: str, at: int) -> Vector:
        count = self._buffer.unpack("I", at)
        pointers = element in {"t", "s"}
        width = 4 if pointers else int(element.lstrip("r"))
        if count * width > self.end - at - 4:
            raise Broken(at, f"a vector of {count} elements")
        self._buffer.cover(at, 4 + count * width)
        if not pointers:
            return Vector(at + 4, count, width)
        self.budget.spend("fields", count)
        places = tuple(self._buffer.follow(at + 4 + 4 * n) for n in range(count))
        if element == "s":
            return Vector(at + 4, count, 4, places, tuple(self._buffer.text(place) for place in places))
        for place in reversed(places):
            self._wait(name, place)
        return Vector(at + 4, count, 4, places)
