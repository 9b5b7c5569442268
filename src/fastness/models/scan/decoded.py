"""Protobuf messages of formats whose schemas are shipped, as rows: each message when it ends, with its texts and numbers.

Packed numbers and bytes are stepped over. Fields that the schema does not know are kept by message and number. Cost: one
step a field.

Source: Protocol Buffers, "Encoding"; `protobuf_schemas.json` says where the schemas come from.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from fastness.core.sources import RandomAccess
from fastness.models.scan.budget import Budget
from fastness.models.scan.cursor import Cursor
from fastness.models.scan.protobuf import FIXED32, FIXED64, LENGTH, VARINT, Field, NotProtobuf, fields

SCHEMAS = Path(__file__).with_name("protobuf_schemas.json")
MAX_NESTING = 100
KEPT_TEXT = 1 << 16
_FEW = 16
"""So many single numbers may be unknown: they hold less than a line of text."""
_MANY = 1 << 12
"""So many texts of one field, or numbers, are kept of one message."""
_WIRES = {
    "i": (VARINT, LENGTH),
    "f": (FIXED32, LENGTH),
    "d": (FIXED64, LENGTH),
    "s": (LENGTH,),
    "t": (LENGTH,),
    "m": (LENGTH,),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One message.

    Attributes:
        inside: the field that holds it; empty for the root.
        texts, numbers: by field name.
        parts: names of the fields that hold other messages.
    """

    message: str
    inside: str
    at: int
    texts: Mapping[str, list[str]]
    numbers: Mapping[str, list[int]]
    parts: frozenset[str]

    def text(self, name: str) -> str:
        """The last text of a field, which is the one that readers take; empty where there is none."""
        return self.texts.get(name, [""])[-1]


@dataclass(frozen=True)
class Schema:
    """The messages of one format, field number to name and kind."""

    root: str
    messages: Mapping[str, Mapping[int, tuple[str, str]]]


@cache
def schema_of(name: str) -> Schema:
    """The schema of a format that is shipped.

    Raises:
        KeyError: there is none.
    """
    tree = json.loads(SCHEMAS.read_bytes())["formats"][name]
    messages = {m: {int(n): (f[0], f[1]) for n, f in of.items()} for m, of in tree["messages"].items()}
    return Schema(tree["root"], messages)


@dataclass(slots=True)
class _Open:
    """A message that has not ended."""

    name: str
    inside: str
    at: int
    walk: Iterator[Field]
    texts: dict[str, list[str]] = field(default_factory=dict)
    numbers: dict[str, list[int]] = field(default_factory=dict)
    parts: set[str] = field(default_factory=set)

    def row(self) -> Row:
        """What it held."""
        return Row(self.name, self.inside, self.at, self.texts, self.numbers, frozenset(self.parts))


@dataclass(slots=True)
class Walk:
    """One walk over a part of a source.

    Attributes:
        unknown: fields that the schema does not know, by message and number: where the first one stands. A field of
            another wire type than the schema's is one of them, as readers of protobuf take it.
        odd_numbers: how many of the unknown ones are single numbers, which stand in no `unknown` while they are few.
    """

    source: RandomAccess
    schema: Schema
    budget: Budget
    start: int = 0
    end: int = -1
    unknown: dict[tuple[str, int], int] = field(default_factory=dict)
    odd_numbers: int = 0

    def rows(self) -> Iterator[Row]:
        """Every message when it ends: inner ones come before the outer.

        Raises:
            NotProtobuf: a field is broken, or messages are nested too deep.
            TooLarge: the budget is spent.
        """
        cursor = Cursor(self.source, self.start)
        end = self.source.size if self.end < 0 else self.end
        stack = [_Open(self.schema.root, "", self.start, fields(cursor, end, self.budget))]
        while stack:
            one = next(stack[-1].walk, None)
            if one is None:
                yield stack.pop().row()
                continue
            name, kind = self.schema.messages[stack[-1].name].get(one.number, ("", ""))
            if one.wire not in _WIRES.get(kind[:1], ()):
                self._odd(stack[-1].name, one)
            elif kind.startswith("m:"):
                stack[-1].parts.add(name)
                stack.append(_Open(kind[2:], name, one.start, fields(cursor, one.end, self.budget)))
                if len(stack) > MAX_NESTING:
                    raise NotProtobuf(one.offset, f"messages nested deeper than {MAX_NESTING}")
            else:
                _keep(cursor, one, name, kind, stack[-1])

    def _odd(self, message: str, one: Field) -> None:
        self.odd_numbers += one.wire != LENGTH
        if one.wire == LENGTH or self.odd_numbers > _FEW:
            self.unknown.setdefault((message, one.number), one.offset)


def _keep(cursor: Cursor, one: Field, name: str, kind: str, outer: _Open) -> None:
    if kind == "t":
        kept = outer.texts.setdefault(name, [])
        if len(kept) < _MANY:
            kept.append(cursor.take(min(one.end - one.start, KEPT_TEXT)).decode("utf-8", "replace"))
    elif kind == "i" and one.wire == VARINT:
        numbers = outer.numbers.setdefault(name, [])
        if len(numbers) < _MANY:
            numbers.append(one.value)
