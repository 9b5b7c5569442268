"""Trees of objects, lists and values as events in bounded memory: from JSON text, and from UBJSON (draft 12).

Lists of numbers come as one event each, with how many there are and the smallest and the largest; they are the bulk of what
boosters save. The readers of JSON say whether a text is JSON at all; here what is none only ends the events.

Source: RFC 8259; ubjson.org, draft 12, with the sized and typed containers that XGBoost writes.
"""

from __future__ import annotations

import json
import re
import struct
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from fastness.core.sources import RandomAccess
from fastness.models.scan.budget import Budget
from fastness.models.scan.cursor import Cursor, Truncated

MAX_DEPTH = 256
KEPT_TEXT = 1 << 16
_MAX_KEY = 1 << 16
MOST_NUMBERS = 1 << 21


class Kind(StrEnum):
    """What an event is."""

    OBJECT = "object"
    LIST = "list"
    END = "end"
    TEXT = "text"
    NUMBER = "number"
    NUMBERS = "numbers"


@dataclass(frozen=True, slots=True)
class Event:
    """One event.

    Attributes:
        key: in the object around it; empty within a list.
        count, low, high: of numbers; low and high are 0 where they are no whole ones.
        numbers: the whole numbers themselves; empty where they are more than `MOST_NUMBERS`.
    """

    kind: Kind
    key: str
    at: int
    text: str = ""
    count: int = 0
    low: int = 0
    high: int = 0
    numbers: Sequence[int] = ()


class Broken(Exception):
    """The bytes at `at` are none of the encoding."""

    def __init__(self, at: int, problem: str) -> None:
        super().__init__(problem)
        self.at = at


# ---------------------------------------------------------------- JSON
_WINDOW = 1 << 20
_NUMBERS = re.compile(rb"\[([-+0-9.eE,\s]*)\]")
_STRING = re.compile(rb'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_SCALAR = re.compile(rb"-?[0-9][-+0-9.eE]*|true|false|null|NaN|-?Infinity")
_SPACE = re.compile(rb"[\s,]*")
_MEMBER = re.compile(
    rb'[\s,]*+"([^"\\]*+)"\s*+:\s*+(?:\[([-+0-9.eE,\s]*+)\]|"([^"\\]*+)")(?=\s*+[,}])',
)
"""A member of an object whose value is a list of numbers or a text, both without escapes: nearly all there are."""
_FRACTION = re.compile(rb"[.eE]")
_COLON = re.compile(rb"\s*:")


class _Text:
    """A window over a text, moved forward."""

    def __init__(self, source: RandomAccess, budget: Budget) -> None:
        self.source, self.budget = source, budget
        self.base, self.at = 0, 0
        self.data = source.read_at(0, _WINDOW)

    @property
    def position(self) -> int:
        """Offset in the source."""
        return self.base + self.at

    def match(self, pattern: re.Pattern[bytes]) -> re.Match[bytes] | None:
        """What stands here, with more read where the window ends within it."""
        while True:
            found = pattern.match(self.data, self.at)
            whole = self.base + len(self.data) >= self.source.size
            if whole or (found is not None and found.end() < len(self.data)) or len(self.data) - self.at > _WINDOW * 15:
                if found is not None:
                    self.at = found.end()
                return found
            left = len(self.data) - self.at
            if found is None and left > _WINDOW // 2 and self.data[self.at : self.at + 1] not in {b'"', b"["}:
                return None
            self.base += self.at
            self.data = self.source.read_at(self.base, 2 * left + _WINDOW)
            self.at = 0

    def peek(self) -> bytes:
        """The next byte that is no space or comma; empty at the end."""
        while True:
            self.match(_SPACE)
            if self.at < len(self.data) or self.base + len(self.data) >= self.source.size:
                return self.data[self.at : self.at + 1]


def json_events(source: RandomAccess, budget: Budget) -> Iterator[Event]:
    """The events of a JSON text.

    Raises:
        Broken: it is none, or nested too deep.
        TooLarge: the budget is spent.
    """
    text = _Text(source, budget)
    stack: list[bytes] = []
    begun = False
    while True:
        budget.spend("fields")
        mark = text.peek()
        if begun and not stack:
            if mark:
                raise Broken(text.position, "something follows the document")
            return
        if not mark:
            raise Broken(text.position, "the text ends early")
        begun = True
        yield _json_step(text, mark, stack)


def _json_step(text: _Text, mark: bytes, stack: list[bytes]) -> Event:
    """The next event, where something stands."""
    if stack and stack[-1] == b"}" and (member := _MEMBER.match(text.data, text.at)) is not None:
        return _member(text, member)
    if mark in {b"}", b"]"}:
        if not stack or stack.pop() != mark:
            raise Broken(text.position, "a bracket that closes nothing")
        text.at += 1
        return Event(Kind.END, "", text.position)
    key = _key(text) if stack and stack[-1] == b"}" else ""
    return _json_value(text, key, stack)


def _member(text: _Text, member: re.Match[bytes]) -> Event:
    key, at = member[1].decode("utf-8", "replace"), text.base + member.end(1) + 1
    text.at = member.end()
    if member[2] is not None:
        return _summed(key, at, member[2])
    return Event(Kind.TEXT, key, at, member[3][:KEPT_TEXT].decode("utf-8", "replace"))


def _key(text: _Text) -> str:
    key = text.match(_STRING)
    if key is None or text.match(_COLON) is None:
        raise Broken(text.position, "a key is missing")
    text.peek()
    return _unescaped(key[1])


def _json_value(text: _Text, key: str, stack: list[bytes]) -> Event:
    at, mark = text.position, text.data[text.at : text.at + 1]
    if mark == b"[" and (numbers := text.match(_NUMBERS)) is not None:
        return _summed(key, at, numbers[1])
    if mark in {b"{", b"["}:
        text.at += 1
        stack.append(b"}" if mark == b"{" else b"]")
        if len(stack) > MAX_DEPTH:
            raise Broken(at, f"nested deeper than {MAX_DEPTH}")
        return Event(Kind.OBJECT if mark == b"{" else Kind.LIST, key, at)
    if mark == b'"' and (string := text.match(_STRING)) is not None:
        return Event(Kind.TEXT, key, at, _unescaped(string[1][:KEPT_TEXT]))
    if (scalar := text.match(_SCALAR)) is not None:
        return Event(Kind.NUMBER, key, at, scalar[0].decode())
    raise Broken(at, "no value")


def _summed(key: str, at: int, data: bytes) -> Event:
    parts = data.split(b",") if data.strip() else []
    low = high = 0
    numbers: list[int] = []
    if parts and not _FRACTION.search(data):
        try:
            numbers = [int(part) for part in parts]
        except ValueError as error:
            raise Broken(at, "no numbers") from error
        low, high = min(numbers), max(numbers)
    return Event(Kind.NUMBERS, key, at, "", len(parts), low, high, numbers if len(numbers) <= MOST_NUMBERS else ())


def _unescaped(data: bytes) -> str:
    """The text that stands between quotes; where it was cut within an escape, as it stands."""
    try:
        text = json.loads(b'"' + data + b'"', strict=False)
    except ValueError:
        text = data.decode("utf-8", "replace")
    return str(text).encode("utf-8", "replace").decode()


# ---------------------------------------------------------------- UBJSON
_WHOLE = {b"i": "b", b"U": "B", b"I": "h", b"u": "H", b"l": "i", b"m": "I", b"L": "q", b"M": "Q"}
_WIDTHS = {b"i": 1, b"U": 1, b"I": 2, b"u": 2, b"l": 4, b"m": 4, b"L": 8, b"M": 8, b"d": 4, b"D": 8, b"C": 1, b"h": 2}
_EMPTY = {b"Z", b"T", b"F", b"N"}
_CHUNK = 1 << 16
_SWAPPED = struct.pack("=H", 1) == b"\1\0"


def ubjson_events(source: RandomAccess, budget: Budget) -> Iterator[Event]:
    """The events of a UBJSON document.

    Raises:
        Broken: it is none, or nested too deep.
        TooLarge: the budget is spent.
    """
    cursor = Cursor(source)
    stack: list[_Open] = []
    try:
        while True:
            budget.spend("fields")
            if not stack and cursor.position:
                break
            yield from _ubjson_step(cursor, stack)
    except Truncated as cut:
        raise Broken(cut.at, "the document ends early") from cut
    if cursor.position < source.size:
        raise Broken(cursor.position, f"{source.size - cursor.position} bytes follow the document")


@dataclass(slots=True)
class _Open:
    """An object or list that has not ended.

    Attributes:
        left: how many elements follow; -1 where an end mark tells.
        typed: the mark of all elements; empty where each has its own.
    """

    is_object: bool
    left: int
    typed: bytes


def _ubjson_step(cursor: Cursor, stack: list[_Open]) -> Iterator[Event]:
    """The next value or end."""
    around = stack[-1] if stack else None
    if around is not None and (not around.left or (around.left < 0 and _ends(cursor, around))):
        stack.pop()
        yield Event(Kind.END, "", cursor.position)
        return
    key = ""
    if around is not None:
        around.left -= around.left > 0
        key = _ubjson_text(cursor, _MAX_KEY) if around.is_object else ""
    mark = around.typed if around is not None and around.typed else cursor.take(1)
    if mark in {b"{", b"["}:
        yield from _container(cursor, stack, key, mark)
    else:
        yield _plain_value(cursor, key, mark)


def _plain_value(cursor: Cursor, key: str, mark: bytes) -> Event:
    at = cursor.position
    if mark in {b"S", b"H"}:
        return Event(Kind.TEXT, key, at, _ubjson_text(cursor, 1 << 62))
    if mark in _EMPTY:
        return Event(Kind.NUMBER, key, at, mark.decode())
    if mark in _WIDTHS:
        data = cursor.take(_WIDTHS[mark])
        number = struct.unpack(">" + _WHOLE[mark], data)[0] if mark in _WHOLE else 0
        return Event(Kind.NUMBER, key, at, str(number))
    raise Broken(at, f"byte {mark.hex()} begins no value")


def _ends(cursor: Cursor, around: _Open) -> bool:
    while cursor.peek(1) == b"N":
        cursor.skip(1)
    if cursor.peek(1) != (b"}" if around.is_object else b"]"):
        return False
    cursor.skip(1)
    return True


def _container(cursor: Cursor, stack: list[_Open], key: str, mark: bytes) -> Iterator[Event]:
    at, typed, count = cursor.position - 1, b"", -1
    if cursor.peek(1) == b"$":
        typed = cursor.take(2)[1:]
        if cursor.peek(1) != b"#":
            raise Broken(at, "a typed container without a count")
    if cursor.peek(1) == b"#":
        cursor.skip(1)
        count = _length(cursor)
    if typed in _EMPTY or (typed == b"" and count >= 0 and count > cursor.end - cursor.position):
        raise Broken(at, "more elements than there are bytes")
    if mark == b"[" and typed in _WIDTHS:
        yield _numbers(cursor, key, at, typed, count)
        return
    if len(stack) >= MAX_DEPTH:
        raise Broken(at, f"nested deeper than {MAX_DEPTH}")
    stack.append(_Open(mark == b"{", count, typed))
    yield Event(Kind.OBJECT if mark == b"{" else Kind.LIST, key, at)


def _numbers(cursor: Cursor, key: str, at: int, typed: bytes, count: int) -> Event:
    width = _WIDTHS[typed]
    if count * width > cursor.end - cursor.position:
        raise Broken(at, f"a list of {count} numbers is longer than the document")
    if typed not in _WHOLE:
        cursor.skip(count * width)
        return Event(Kind.NUMBERS, key, at, "", count)
    low = high = 0
    left, first = count, True
    numbers = array(_WHOLE[typed])
    while left > 0:
        part = min(left, _CHUNK)
        values = array(_WHOLE[typed], cursor.take(part * width))
        if _SWAPPED:
            values.byteswap()
        low = min(values) if first else min(low, *values)
        high = max(values) if first else max(high, *values)
        left, first = left - part, False
        if count <= MOST_NUMBERS:
            numbers.extend(values)
    return Event(Kind.NUMBERS, key, at, "", count, low, high, numbers)


def _length(cursor: Cursor) -> int:
    at, mark = cursor.position, cursor.take(1)
    if mark not in _WHOLE:
        raise Broken(at, "a length that is no whole number")
    length = int(struct.unpack(">" + _WHOLE[mark], cursor.take(_WIDTHS[mark]))[0])
    if length < 0:
        raise Broken(at, "a negative length")
    return length


def _ubjson_text(cursor: Cursor, limit: int) -> str:
    at, length = cursor.position, _length(cursor)
    if length > min(limit, cursor.end - cursor.position):
        raise Broken(at, f"a text of {length} bytes is longer than the document")
    text = cursor.take(min(length, KEPT_TEXT)).decode("utf-8", "replace")
    cursor.skip(max(0, length - KEPT_TEXT))
    return text
