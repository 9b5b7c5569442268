"""MessagePack walked in place: values one after the other, payloads stepped over unless asked for.

Source: msgpack specification of 2013 and later. Cost: one step a value.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from fastness.models.scan.budget import Budget
from fastness.models.scan.cursor import Cursor, Truncated

MAX_DEPTH = 256


class Kind(StrEnum):
    """What a value is."""

    PLAIN = "plain"
    TEXT = "text"
    BYTES = "bytes"
    LIST = "list"
    MAP = "map"
    EXTENSION = "extension"


class NotMsgpack(Exception):
    """The bytes at `at` are no value."""

    def __init__(self, at: int, problem: str) -> None:
        super().__init__(problem)
        self.at = at


@dataclass(frozen=True, slots=True)
class Value:
    """One value.

    Attributes:
        offset: of its first byte.
        start, end: of its payload; empty for lists, maps and numbers.
        count: of a list's items or a map's pairs.
        code: of an extension.
        depth: how many lists and maps stand around it.
        number: of a small whole number, otherwise -1.
    """

    kind: Kind
    offset: int
    start: int
    end: int
    count: int = 0
    code: int = 0
    depth: int = 0
    number: int = -1


_SIZED = {
    0xC4: (Kind.BYTES, 1), 0xC5: (Kind.BYTES, 2), 0xC6: (Kind.BYTES, 4), 0xD9: (Kind.TEXT, 1), 0xDA: (Kind.TEXT, 2),
    0xDB: (Kind.TEXT, 4), 0xC7: (Kind.EXTENSION, 1), 0xC8: (Kind.EXTENSION, 2), 0xC9: (Kind.EXTENSION, 4),
}  # fmt: skip
_COUNTED = {0xDC: (Kind.LIST, 2), 0xDD: (Kind.LIST, 4), 0xDE: (Kind.MAP, 2), 0xDF: (Kind.MAP, 4)}
_FIXED = {0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}
_UNSIGNED = range(0xCC, 0xD0)


def values(cursor: Cursor, end: int, budget: Budget) -> Iterator[Value]:
    """The values of one object, each before those in it. What is left unread of a payload is stepped over.

    Raises:
        NotMsgpack: something is no value, reaches beyond `end`, or values are nested too deep.
        TooLarge: the budget is spent.
    """
    waiting = [1]
    while waiting:
        if not waiting[-1]:
            waiting.pop()
            continue
        waiting[-1] -= 1
        budget.spend("fields")
        at = cursor.position
        try:
            value = _value(cursor, len(waiting) - 1)
            if value.end > end:
                raise NotMsgpack(at, "a value reaches beyond its object")
            yield value
            cursor.skip(value.end - cursor.position)
        except Truncated as cut:
            raise NotMsgpack(at, "the object ends within a value") from cut
        if value.kind in {Kind.LIST, Kind.MAP} and value.count:
            if value.count * (2 if value.kind is Kind.MAP else 1) > end - cursor.position:
                raise NotMsgpack(at, f"{value.count} items in {end - cursor.position} bytes")
            waiting.append(value.count * (2 if value.kind is Kind.MAP else 1))
            if len(waiting) > MAX_DEPTH:
                raise NotMsgpack(at, f"values nested deeper than {MAX_DEPTH}")


def _value(cursor: Cursor, depth: int) -> Value:
    at = cursor.position
    first = cursor.take(1)[0]
    if first < 0x80 or first >= 0xE0 or first in {0xC0, 0xC2, 0xC3}:
        return Value(Kind.PLAIN, at, at + 1, at + 1, depth=depth, number=first if first < 0x80 else -1)
    if first < 0xA0:
        return Value(Kind.MAP if first < 0x90 else Kind.LIST, at, at + 1, at + 1, first & 15, depth=depth)
    if first < 0xC0:
        return Value(Kind.TEXT, at, at + 1, at + 1 + (first & 31), depth=depth)
    if first in _COUNTED:
        kind, width = _COUNTED[first]
        count = int.from_bytes(cursor.take(width), "big")
        return Value(kind, at, cursor.position, cursor.position, count, depth=depth)
    if first in _FIXED:
        raw = cursor.take(_FIXED[first])
        number = int.from_bytes(raw, "big") if first in _UNSIGNED else -1
        return Value(Kind.PLAIN, at, cursor.position, cursor.position, depth=depth, number=number)
    return _sized(cursor, at, first, depth)


def _sized(cursor: Cursor, at: int, first: int, depth: int) -> Value:
    if first in _SIZED:
        kind, width = _SIZED[first]
        length = int.from_bytes(cursor.take(width), "big")
    elif 0xD4 <= first <= 0xD8:
        kind, length = Kind.EXTENSION, 1 << first - 0xD4
    else:
        raise NotMsgpack(at, "a byte that begins no value")
    code = cursor.take(1)[0] if kind is Kind.EXTENSION else 0
    return Value(kind, at, cursor.position, cursor.position + length, 0, code, depth)
