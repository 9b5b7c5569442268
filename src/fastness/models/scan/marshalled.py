"""What a marshalled Python function refers to, read without unmarshalling it: the names it looks up and its texts.

The layout of a code object depends on the version of Python, which the bytes do not say; all known ones are tried, and
the one that uses up the bytes is taken. Where none does, every text in the bytes that looks like a name is taken.

Misses: names computed at run time; therefore code is never vouched for. Cost: linear, a few layouts at most.

Source: CPython 2.7 to 3.14, `Python/marshal.c`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from fastness.models.scan.python_code import is_dangerous

LONGEST = 1 << 20
MAX_DEPTH = 64
MAX_NAMES = 160
_NAME = re.compile(r"[A-Za-z_]\w{0,80}(?:\.[A-Za-z_]\w{0,80}){0,8}")
_RAW_NAME = re.compile(rb"[A-Za-z_][\w.]{1,80}")
_REF = 0x80
# Whole numbers in front of the code, objects, and what stands behind the name: the number of the first line and objects.
_LAYOUTS = (
    (5, ("code", "consts", "names", "locals", "kinds", "file", "name", "qualname"), 2),  # 3.11 and later
    (6, ("code", "consts", "names", "locals", "free", "cells", "file", "name"), 1),  # 3.8 to 3.10
    (5, ("code", "consts", "names", "locals", "free", "cells", "file", "name"), 1),  # 3.0 to 3.7
    (4, ("code", "consts", "names", "locals", "free", "cells", "file", "name"), 1),  # 2.7
)
_TEXTS = {ord("u"): 4, ord("t"): 4, ord("a"): 4, ord("A"): 4, ord("z"): 1, ord("Z"): 1, ord("s"): 4}
_SKIPPED = {
    ord(c): n
    for c, n in (("0", 0), ("N", 0), ("F", 0), ("T", 0), ("S", 0), (".", 0), ("i", 4), ("I", 8), ("g", 8), ("y", 16))
}
_MANY = {ord("("): 4, ord(")"): 1, ord("["): 4, ord("<"): 4, ord(">"): 4}
_CONSTANT_PARTS = frozenset({"names", "locals", "consts", "free", "cells"})

Value = str | tuple["Value", ...]


class _NotMarshalled(Exception):
    """The bytes are not marshalled by the layout that is tried."""


@dataclass(frozen=True, slots=True)
class References:
    """What code refers to.

    Attributes:
        names: looked up by name, in order.
        texts: constants that are texts.
        whole: whether a layout fitted; otherwise `texts` is all that looks like a name.
    """

    names: tuple[str, ...]
    texts: tuple[str, ...]
    whole: bool

    @property
    def words(self) -> tuple[str, ...]:
        """What may be a name, or a part of one."""
        return tuple(dict.fromkeys(one for one in (*self.names, *self.texts) if _NAME.fullmatch(one)))[:MAX_NAMES]

    def dangerous(self) -> tuple[str, ...]:
        """Dangerous functions that names and texts can be put together to: a step for each pair of words."""
        words = self.words
        found = [one for one in words if is_dangerous(f"builtins.{one}") or ("." in one and is_dangerous(one))]
        found += [f"{first}.{second}" for first in words for second in words if is_dangerous(f"{first}.{second}")]
        return tuple(dict.fromkeys(found))


def references(data: bytes) -> References:
    """What marshalled code refers to."""
    for layout in _LAYOUTS:
        walk = _Walk(data[:LONGEST], layout)
        try:
            walk.value(0)
        except _NotMarshalled:
            continue
        if walk.codes and walk.at == len(data):
            return References(tuple(dict.fromkeys(walk.names)), tuple(dict.fromkeys(walk.texts)), True)
    words = (one.decode("ascii").strip(".") for one in _RAW_NAME.findall(data[:LONGEST]))
    return References((), tuple(dict.fromkeys(words))[:MAX_NAMES], False)


@dataclass(slots=True)
class _Walk:
    data: bytes
    layout: tuple[int, tuple[str, ...], int]
    at: int = 0
    codes: int = 0
    refs: list[Value] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def value(self, depth: int) -> Value:
        if depth > MAX_DEPTH:
            raise _NotMarshalled
        first = self._take(1)[0]
        kind, place = first & ~_REF, -1
        if first & _REF:
            place = len(self.refs)
            self.refs.append("")
        found = self._value(kind, depth)
        if place >= 0:
            self.refs[place] = found if isinstance(found, str) else tuple(_flat(found))
        return found

    def _value(self, kind: int, depth: int) -> Value:
        if kind in _SKIPPED:
            self._take(_SKIPPED[kind])
            return ""
        if kind in _TEXTS:
            return self._take(self._number(_TEXTS[kind])).decode("utf-8", "replace")
        if kind in _MANY:
            return tuple(self.value(depth + 1) for _ in range(self._count(self._number(_MANY[kind]))))
        if kind == ord("r"):
            return self._earlier(self._number(4))
        if kind == ord("c"):
            return self._code(depth)
        if kind == ord("l"):
            self._take(2 * abs(int.from_bytes(self._take(4), "little", signed=True)))
            return ""
        if kind in {ord("f"), ord("x")}:
            for _ in range(1 if kind == ord("f") else 2):
                self._take(self._number(1))
            return ""
        if kind == ord(":"):
            return (self.value(depth + 1), self.value(depth + 1), self.value(depth + 1))
        if kind == ord("{"):
            return self._dict(depth)
        raise _NotMarshalled

    def _dict(self, depth: int) -> Value:
        found: list[Value] = []
        while self.data[self.at : self.at + 1] not in {b"0", b""}:
            found += [self.value(depth + 1), self.value(depth + 1)]
        self._take(1)
        return tuple(found)

    def _code(self, depth: int) -> Value:
        numbers, parts, behind = self.layout
        self.codes += 1
        self._take(4 * numbers)
        for part in parts:
            found = self.value(depth + 1)
            if part in _CONSTANT_PARTS and not isinstance(found, tuple):
                raise _NotMarshalled
            if part == "names":
                self.names += _flat(found)[: 4 * MAX_NAMES - len(self.names)]
            elif part == "consts":
                self.texts += _flat(found)[: 4 * MAX_NAMES - len(self.texts)]
        self._take(4)
        for _ in range(behind):
            self.value(depth + 1)
        return ""

    def _earlier(self, index: int) -> Value:
        if index >= len(self.refs):
            raise _NotMarshalled
        return self.refs[index]

    def _take(self, count: int) -> bytes:
        if self.at + count > len(self.data):
            raise _NotMarshalled
        piece = self.data[self.at : self.at + count]
        self.at += count
        return piece

    def _number(self, width: int) -> int:
        return int.from_bytes(self._take(width), "little")

    def _count(self, count: int) -> int:
        if count > len(self.data) - self.at:
            raise _NotMarshalled
        return count


def _flat(value: Value) -> list[str]:
    """The first texts in a value."""
    found: list[str] = []
    waiting = [value]
    while waiting and len(found) < MAX_NAMES:
        one = waiting.pop()
        if isinstance(one, tuple):
            waiting.extend(reversed(one[:MAX_NAMES]))
        elif one:
            found.append(one)
    return found
