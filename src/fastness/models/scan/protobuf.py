"""The protobuf wire format, walked in place: fields one after the other, payloads stepped over unless asked for.

Source: Protocol Buffers, "Encoding". Groups are refused, for no current format has them. Cost: one step a field.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fastness.models.scan.budget import Budget
from fastness.models.scan.cursor import Cursor, Truncated

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
_LENGTHS = {VARINT: 0, FIXED64: 8, FIXED32: 4}


class NotProtobuf(Exception):
    """The bytes at `at` are no field."""

    def __init__(self, at: int, problem: str) -> None:
        super().__init__(problem)
        self.at = at


@dataclass(frozen=True, slots=True)
class Field:
    """One field.

    Attributes:
        offset: of its tag.
        value: of a varint; otherwise 0.
        start, end: of its payload.
    """

    number: int
    wire: int
    offset: int
    value: int
    start: int
    end: int


def fields(cursor: Cursor, end: int, budget: Budget) -> Iterator[Field]:
    """The fields up to `end`. What is left unread of a payload when the next is asked for is stepped over.

    Raises:
        NotProtobuf: something is no field, or reaches beyond `end`.
        TooLarge: the budget is spent.
    """
    while cursor.position < end:
        budget.spend("fields")
        field = _field(cursor, end)
        yield field
        cursor.skip(field.end - cursor.position)


def _field(cursor: Cursor, end: int) -> Field:
    at = cursor.position
    try:
        tag = _varint(cursor, at)
        number, wire = tag >> 3, tag & 7
        value = _varint(cursor, at) if wire in {VARINT, LENGTH} else 0
    except Truncated as cut:
        raise NotProtobuf(at, "the message ends within a field") from cut
    length = value if wire == LENGTH else _LENGTHS.get(wire, -1)
    if not 0 < number < 1 << 29 or length < 0:
        raise NotProtobuf(at, f"field {number} of wire type {wire}")
    start = cursor.position
    if start + length > end:
        raise NotProtobuf(at, f"field {number} reaches beyond its message")
    return Field(number, wire, at, value if wire == VARINT else 0, start, start + length)


def _varint(cursor: Cursor, at: int) -> int:
    byte = cursor.byte()
    if 0 <= byte < 0x80:
        return byte
    value = 0
    for shift in range(0, 70, 7):
        if shift:
            byte = cursor.byte()
        if byte < 0:
            raise Truncated(at)
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (1 << 64) - 1
    raise NotProtobuf(at, "a number of more than ten bytes")
