"""R's serialization, walked item by item without making any object: in all three encodings, versions 2 and 3.

Told: functions that calls name, closures, byte code, promises that have not run, and what else is more than data. Cost: one
step an item; vectors of numbers are stepped over. Calls are told wherever they stand: in a model's formula, in the body of
a function, and in byte code.

Source: R 4.4, `src/main/serialize.c` and "R Internals", section 1.8; CVE-2024-27322 for promises.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from enum import StrEnum

from fastness.core.sources import RandomAccess
from fastness.models.scan.budget import Budget
from fastness.models.scan.cursor import Cursor, Truncated

BEGINS = re.compile(rb"(?:RD[XAB][23]\n)?(?:X\n\0\0\0[\2\3]|A\n[23]\n|B\n[\2\3]\0\0\0)")
MAX_DEPTH = 5000
_KEPT_TEXT = 1 << 16
_LINE = 1 << 24
(SYMBOL, PAIRS, CLOSURE, ENVIRONMENT, PROMISE, CALL, SPECIAL, BUILTIN, CHARS) = range(1, 10)
_TEXTS, _DOTS, _LIST, _EXPRESSION, _CODE, _POINTER, _WEAK, _RAW, _S4 = 16, 17, 19, 20, 21, 22, 23, 24, 25
_WIDTHS = {10: 4, 13: 4, 14: 8, 15: 16}
_ALTERNATIVE, _ATTR_PAIRS, _ATTR_CALL, _UNBOUND = 238, 239, 240, 252
_REPEATED, _DEFINED, _PERSISTENT, _PACKAGE, _NAMESPACE, _REFERENCE = 243, 244, 247, 248, 249, 255
_SIMPLE = {241, 242, 250, 251, _UNBOUND, 253, 254}
_PAIRED = {PAIRS, CALL, CLOSURE, PROMISE, _DOTS}
_CHAINED = {PAIRS, CALL, _DOTS, _ATTR_PAIRS, _ATTR_CALL}


class Sight(StrEnum):
    """What is more than data."""

    CALL = "call"
    CLOSURE = "closure"
    CODE = "byte code"
    PROMISE = "promise"
    LAZY = "promise of an environment"
    TEXT = "text"
    TAG = "tag"
    PERSISTENT = "persistent"
    ALTERNATIVE = "alternative"
    NAMESPACE = "namespace"


class NotR(Exception):
    """The bytes at `at` are no item."""

    def __init__(self, at: int, problem: str) -> None:
        super().__init__(problem)
        self.at = at


@dataclass(slots=True)
class _Value:
    """What is kept of an item: its type, and the name or text it has, or that its call names."""

    kind: int
    name: str = ""
    parts: list[str] = field(default_factory=list)


_NIL = _Value(254)
_Steps = Generator["_Steps", _Value, _Value]
"""Something that is read in steps: it waits for what stands within it, and returns what is kept of it."""


class _Numbers:
    """Reads whole numbers and texts in one of the encodings."""

    def __init__(self, cursor: Cursor, mark: bytes) -> None:
        self.cursor, self.text = cursor, mark == b"A"
        self._form = "<i" if mark == b"B" else ">i"

    def whole(self) -> int:
        """The next whole number."""
        if not self.text:
            return int(struct.unpack(self._form, self.cursor.take(4))[0])
        at, line = self.cursor.position, self.cursor.line(64)
        if line == b"NA":
            return -(1 << 31)
        if not re.fullmatch(rb"-?[0-9]{1,11}", line):
            raise NotR(at, "no whole number")
        return int(line)

    def length(self) -> int:
        """The next length, which may have two parts, and is at most what is left."""
        at, length = self.cursor.position, self.whole()
        if length == -1:
            length = (self.whole() << 32) + self.whole()
        if not 0 <= length <= self.cursor.end - self.cursor.position:
            raise NotR(at, f"a length of {length}")
        return length

    def skip(self, count: int, width: int) -> None:
        """Step over numbers."""
        if not self.text:
            self.cursor.skip(count * width)
            return
        for _ in range(count * (2 if width == 16 else 1)):
            self.cursor.line(512)

    def raw(self, count: int) -> None:
        """Step over bytes, which text writes in lines of their own."""
        if not self.text:
            self.cursor.skip(count)
            return
        for _ in range(count):
            self.cursor.line(8)

    def chars(self, length: int) -> str:
        """A text of so many bytes."""
        if not self.text:
            data = self.cursor.take(min(length, _KEPT_TEXT))
            self.cursor.skip(length - len(data))
            return data.decode("utf-8", "replace")
        line = self.cursor.line(_LINE)
        return re.sub(rb"\\([0-7]{1,3}|.)", _plain, line).decode("utf-8", "replace")[:_KEPT_TEXT]


def _plain(match: re.Match[bytes]) -> bytes:
    mark = match[1]
    if mark.isdigit():
        return bytes([int(mark, 8) & 255])
    return {b"n": b"\n", b"t": b"\t", b"r": b"\r"}.get(mark, mark)


@dataclass(slots=True)
class Walk:
    """One walk.

    Attributes:
        see: is told of what is more than data: which kind, its name or text, and where.
    """

    source: RandomAccess
    budget: Budget
    see: Callable[[Sight, str, int], None]
    end: int = 0
    _cursor: Cursor = field(init=False)
    _in: _Numbers = field(init=False)
    _known: list[_Value] = field(default_factory=list)
    _environments: int = 0

    def __post_init__(self) -> None:
        self._cursor = Cursor(self.source)

    def run(self) -> None:
        """Walk the one item of the stream; `end` is then where it ends.

        Raises:
            NotR: something is none, or nested too deep.
            TooLarge: the budget is spent.
        """
        try:
            head = self._cursor.peek(5)
            if head.startswith(b"RD"):
                self._cursor.skip(5)
            mark = self._cursor.take(2)[:1]
            self._in = _Numbers(self._cursor, mark)
            version = self._in.whole()
            self._in.whole()
            self._in.whole()
            if version not in {2, 3}:
                raise NotR(2, f"version {version}")
            if version == 3:
                self._in.chars(self._in.length())
            _driven(self._item(0))
        except Truncated as cut:
            raise NotR(cut.at, "the stream ends early") from cut
        self.end = self._cursor.position

    def _item(self, depth: int) -> _Steps:
        at = self._cursor.position
        return (yield self._typed(self._in.whole(), at, depth))

    def _typed(self, flags: int, at: int, depth: int) -> _Steps:
        """The item whose flags were read."""
        self.budget.spend("fields")
        if depth > MAX_DEPTH:
            raise NotR(at, f"nested deeper than {MAX_DEPTH}")
        kind = flags & 0xFF
        if kind in _PAIRED or kind in {_ATTR_PAIRS, _ATTR_CALL}:
            return (yield self._pairs(flags, depth))
        if kind in _SIMPLE:
            return _Value(kind)
        if kind == _REFERENCE:
            index = flags >> 8 or self._in.whole()
            if not 0 < index <= len(self._known):
                raise NotR(at, f"a reference to item {index}")
            return self._known[index - 1]
        if kind == CHARS:
            return self._text(at)
        value = yield self._other(kind, at, depth)
        if flags & 0x200 and kind not in {ENVIRONMENT, SYMBOL, _ALTERNATIVE}:
            yield self._item(depth + 1)
        return value

    def _text(self, at: int) -> _Value:
        length = self._in.whole()
        if length == -1:
            return _Value(CHARS)
        if not 0 <= length <= self._cursor.end - self._cursor.position:
            raise NotR(at, f"a text of {length} bytes")
        text = self._in.chars(length)
        self.see(Sight.TEXT, text, at)
        return _Value(CHARS, text)

    def _pairs(self, flags: int, depth: int) -> _Steps:
        """A chain of pairs, which is walked in a loop: a call is its function and then its arguments."""
        first, at = _Value(flags & 0xFF), self._cursor.position
        count = 0
        while True:
            kind = flags & 0xFF
            if flags & 0x200 or kind in {_ATTR_PAIRS, _ATTR_CALL}:
                yield self._item(depth + 1)
            if flags & 0x400:
                tag = yield self._item(depth + 1)
                if tag.kind == SYMBOL:
                    self.see(Sight.TAG, tag.name, at)
            self._note(first, (yield self._item(depth + 1)), count, at)
            count += 1
            at = self._cursor.position
            flags = self._in.whole()
            if kind not in _CHAINED or flags & 0xFF not in {PAIRS, _ATTR_PAIRS}:
                break
            self.budget.spend("fields")
        yield self._typed(flags, at, depth + 1)
        return first

    def _note(self, first: _Value, head: _Value, count: int, at: int) -> None:
        """Take note of what a pair holds."""
        if first.kind in {CALL, _ATTR_CALL}:
            if not count:
                first.name = _called(head)
                self.see(Sight.CALL, first.name, at)
            elif count < 3 and head.name:
                first.parts.append(head.name)
        elif count:
            return
        elif first.kind == PAIRS:
            first.name = head.name
        elif first.kind == CLOSURE:
            self.see(Sight.CLOSURE, "", at)
        elif first.kind == PROMISE and head.kind == _UNBOUND:
            self.see(Sight.LAZY if self._environments else Sight.PROMISE, "", at)

    def _other(self, kind: int, at: int, depth: int) -> _Steps:
        if kind in _WIDTHS:
            self._in.skip(self._in.length(), _WIDTHS[kind])
            return _Value(kind)
        if kind == _RAW:
            self._in.raw(self._in.length())
            return _Value(kind)
        if kind in {_TEXTS, _LIST, _EXPRESSION}:
            return (yield self._elements(kind, depth))
        if kind == SYMBOL:
            return self._keep(_Value(SYMBOL, (yield self._item(depth + 1)).name))
        if kind in {SPECIAL, BUILTIN}:
            name = self._in.chars(self._in.length())
            self.see(Sight.CALL, name, at)
            return _Value(kind, name)
        return (yield self._rare(kind, at, depth))

    def _elements(self, kind: int, depth: int) -> _Steps:
        """The elements of a list; of a vector of texts the first one is kept."""
        first = ""
        for number in range(self._in.length()):
            at, flags = self._cursor.position, self._in.whole()
            if flags & 0xFF == CHARS:  # in place, for there are many
                self.budget.spend("fields")
                value = self._text(at)
            else:
                value = yield self._typed(flags, at, depth + 1)
            first = first if number else value.name
        return _Value(kind, first if kind == _TEXTS else "")

    def _rare(self, kind: int, at: int, depth: int) -> _Steps:
        if kind in {ENVIRONMENT, _POINTER, _WEAK}:
            value = self._keep(_Value(kind))
            if kind == ENVIRONMENT:
                self._in.whole()
            self._environments += kind == ENVIRONMENT
            for _ in range({ENVIRONMENT: 4, _POINTER: 2, _WEAK: 0}[kind]):
                yield self._item(depth + 1)
            self._environments -= kind == ENVIRONMENT
            return value
        if kind in {_NAMESPACE, _PACKAGE, _PERSISTENT}:
            return (yield self._named(kind, at, depth))
        if kind == _ALTERNATIVE:
            info = yield self._item(depth + 1)
            self.see(Sight.ALTERNATIVE, info.name, at)
            yield self._item(depth + 1)
            yield self._item(depth + 1)
            return _Value(kind)
        if kind == _CODE:
            self.see(Sight.CODE, "", at)
            self._in.whole()
            return (yield self._code(depth))
        if kind == _S4:
            return _Value(kind)
        raise NotR(at, f"an item of type {kind}")

    def _named(self, kind: int, at: int, depth: int) -> _Steps:
        self._in.whole()
        first = ""
        for number in range(self._in.length()):
            name = (yield self._item(depth + 1)).name
            first = first if number else name
        self.see(Sight.PERSISTENT if kind == _PERSISTENT else Sight.NAMESPACE, first, at)
        return self._keep(_Value(kind))

    def _keep(self, value: _Value) -> _Value:
        self.budget.spend("stack")
        self._known.append(value)
        return value

    def _code(self, depth: int) -> _Steps:
        """Byte code: its instructions, then its constants."""
        if depth > MAX_DEPTH:
            raise NotR(self._cursor.position, f"nested deeper than {MAX_DEPTH}")
        yield self._item(depth + 1)
        for _ in range(self._in.length()):
            kind = self._in.whole()
            yield self._code(depth + 1) if kind == _CODE else self._constant(kind, depth + 1)
        return _Value(_CODE)

    def _constant(self, kind: int, depth: int) -> _Steps:
        self.budget.spend("fields")
        at = self._cursor.position
        if depth > MAX_DEPTH:
            raise NotR(at, f"nested deeper than {MAX_DEPTH}")
        if kind == _REPEATED:
            self._in.whole()
            return _NIL
        if kind == _DEFINED:
            self._in.whole()
            kind = self._in.whole()
        if kind not in {CALL, PAIRS, _ATTR_CALL, _ATTR_PAIRS}:
            return (yield self._item(depth + 1))
        if kind in {_ATTR_CALL, _ATTR_PAIRS}:
            yield self._item(depth + 1)
        yield self._item(depth + 1)
        head = yield self._constant(self._in.whole(), depth + 1)
        value = _Value(CALL if kind in {CALL, _ATTR_CALL} else PAIRS)
        self._note(value, head, 0, at)
        yield self._constant(self._in.whole(), depth + 1)
        return value


def _driven(first: _Steps) -> None:
    """Run steps that wait for others, as deep as they go: Python's own stack is not deep enough for R's calls."""
    stack = [first]
    value: _Value | None = None
    while stack:
        try:
            # What has just begun is sent nothing.
            waiting = next(stack[-1]) if value is None else stack[-1].send(value)
        except StopIteration as done:
            stack.pop()
            value = done.value
        else:
            stack.append(waiting)
            value = None


def _called(head: _Value) -> str:
    """The name of the function that a call names."""
    if head.kind in {CALL, _ATTR_CALL}:
        return "::".join(head.parts) if head.name in {"::", ":::"} and head.parts else head.name
    return head.name
