"""JSON of any size: small documents as a tree, large ones by a scan that keeps only what certain keys hold.

Both accept what Python's own parser does (NaN, a mark at the beginning), and refuse what it refuses, because that is what
loads models. Memory of the scan: one window. Source: RFC 8259.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass, field

from fastness.core.sources import RandomAccess
from fastness.models.scan.budget import Budget
from fastness.models.scan.configs import Pairs, Tree

SMALL = 1 << 20
DEEPEST = 256
_WINDOW = 1 << 20
_MOST_KEPT = 400_000

_TEXT = rb'"(?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*+"'
_NUMBER = rb"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?"
_SCALAR = rb"(?:" + _TEXT + rb"|" + _NUMBER + rb"|true|false|null|NaN|-?Infinity)"
_SPACE = rb"[ \t\r\n]*+"
_TOKEN = re.compile(_SPACE + rb"(?:([{}\[\]:,])|(" + _SCALAR + rb"))")
_MEMBER = _TEXT + _SPACE + rb":" + _SPACE + _SCALAR + _SPACE
_FLAT = (
    rb"(?:" + _SCALAR
    + rb"|\[" + _SPACE + rb"(?:" + _SCALAR + _SPACE + rb"(?:," + _SPACE + _SCALAR + _SPACE + rb")*+)?\]"
    + rb"|\{" + _SPACE + rb"(?:" + _MEMBER + rb"(?:," + _SPACE + _MEMBER + rb")*+)?\})"
)  # fmt: skip
_ITEMS = re.compile(rb"(?:" + _SPACE + _FLAT + _SPACE + rb",)++")
_MEMBERS = re.compile(rb"(?:" + _SPACE + _TEXT + _SPACE + rb":" + _SPACE + _FLAT + _SPACE + rb",)++")
_BLANK = re.compile(_SPACE)
_DISGUISED = rb"\\u00(?:[2-6][0-9a-fA-F]|7[0-9a-eA-E])"
"""A letter that is written as its number, as no library writes it: the key may be one of the wanted."""
_LONGEST_TOKEN = 1 << 16


class NotJson(ValueError):
    """It is not JSON, or nested too deep; the message says why."""


@dataclass(slots=True)
class Document:
    """What was read.

    Attributes:
        tree: all of it, or for a large one an object of what the wanted keys hold.
        repeated: keys that stand twice in one object.
    """

    tree: Tree
    repeated: list[str] = field(default_factory=list)


def parse(text: str | bytes) -> Document:
    """A small document.

    Raises:
        NotJson: it is none.
    """
    repeated: list[str] = []

    def pairs(items: list[tuple[str, Tree]]) -> Pairs:
        if len({key for key, _ in items}) != len(items):
            counted: dict[str, int] = {}
            for key, _ in items:
                counted[key] = counted.get(key, 0) + 1
            repeated.extend(key for key, count in counted.items() if count > 1)
        return Pairs(items)

    try:
        return Document(json.loads(text, object_pairs_hook=pairs, parse_int=_whole), repeated)
    except RecursionError as error:
        raise NotJson("nested too deep") from error
    except ValueError as error:
        raise NotJson(f"not JSON at {getattr(error, 'pos', 0)}") from error


_COMMENTS = re.compile(r'("(?:[^"\\\n]|\\.)*+")|//[^\n]*+|/\*.*?(?:\*/|\Z)', re.DOTALL)
_LAST_COMMA = re.compile(r'("(?:[^"\\\n]|\\.)*+")|,(?=\s*+[}\]])')


def parse_relaxed(text: str) -> Document:
    """A small document with comments and commas before closing brackets, as settings of editors have them.

    Raises:
        NotJson: it is none.
    """
    plain = _COMMENTS.sub(lambda match: match[1] or " ", text)
    return parse(_LAST_COMMA.sub(lambda match: match[1] or " ", plain))


def parse_lines(text: str) -> Document:
    """Documents one on each line, as tables of examples are often saved under the name of JSON; a list of them.

    Raises:
        NotJson: a line is none.
    """
    documents = [parse(line) for line in text.split("\n") if line.strip()]
    return Document([one.tree for one in documents], [key for one in documents for key in one.repeated])


def _whole(digits: str) -> int:
    """Python refuses numbers of more digits by itself; what they are does not matter here."""
    return int(digits[:1000])


def scan(source: RandomAccess, wanted: Collection[str], budget: Budget, *, lines: bool = False) -> Document:
    """A document of any size, or with `lines` one on each line, of which only what the wanted keys hold is kept.

    Raises:
        NotJson: it is none.
        TooLarge: what a wanted key holds, or one text, is longer than the budget allows.
    """
    scanner = _Scanner(source, wanted, budget, lines=lines)
    while scanner.document():
        pass
    return Document(Pairs(scanner.kept))


class _Scanner:
    """The state of one scan: a window of bytes, the open brackets, and what is due."""

    def __init__(self, source: RandomAccess, wanted: Collection[str], budget: Budget, *, lines: bool) -> None:
        self.source, self.budget, self.lines = source, budget, lines
        self.keys = frozenset(wanted)
        spelled = [b'"' + re.escape(key.encode()) + b'"' for key in sorted(wanted)]
        self.mark = re.compile(b"|".join([*spelled, _DISGUISED]))
        self.marked = -1
        self.base, self.buffer, self.at = 0, b"", 0
        self.open: list[int] = []
        self.kept: list[tuple[str, Tree]] = []
        self.capture: tuple[str, int, int] | None = None
        self.fill()
        if self.buffer.startswith(b"\xef\xbb\xbf"):
            self.at = 3

    def fill(self) -> bool:
        """Read on; whether there was more."""
        start = self.base + len(self.buffer)
        more = self.source.read_at(start, _WINDOW)
        if not more:
            return False
        self.buffer = self.buffer[self.at :] + more
        self.base += self.at
        self.at, self.marked = 0, -1
        self.budget.require("header_bytes", len(self.buffer) - _WINDOW)
        return True

    def document(self) -> bool:
        """Take in one document; whether another one begins on a line behind it."""
        due = "value"
        while due != "end":
            if len(self.buffer) - self.at < _LONGEST_TOKEN:
                self.fill()
            due = self._step(due)
        return self._follows()

    def _follows(self) -> bool:
        blank = b""
        while True:
            match = _BLANK.match(self.buffer, self.at)
            blank += match[0] if match else b""
            self.at += len(match[0]) if match else 0
            if self.at < len(self.buffer):
                break
            if not self.fill():
                return False
        if not self.lines or b"\n" not in blank:
            raise NotJson("something follows the document")
        return True

    def _step(self, due: str) -> str:
        """Take in a run of plain items, or one token, and say what is due next."""
        if self.capture is None and self._run(due):
            return "value" if self.open[-1] == _ARRAY else "key"
        token = self._token()
        if token == _ENDS.get(due) or (due == "comma" and token in {b"}", b"]"}):
            return self._close(token)
        if due in {"key", "members"}:
            return self._key(token)
        if due == "colon":
            return self._mark(token, b":", "value")
        if due == "comma":
            return self._mark(token, b",", "value" if self.open[-1] == _ARRAY else "key")
        return self._value(token)

    def _mark(self, token: bytes, wanted: bytes, then: str) -> str:
        if token != wanted:
            raise NotJson(f"no {wanted.decode()} at {self.base + self.at}")
        return then

    def _value(self, token: bytes) -> str:
        if token in {b"{", b"["}:
            self.open.append(token[0])
            if len(self.open) > DEEPEST:
                raise NotJson("nested too deep")
            return "members" if token == b"{" else "items"
        if token in {b"}", b"]", b":", b","}:
            raise NotJson(f"no value at {self.base + self.at}")
        return self._ended()

    def _key(self, token: bytes) -> str:
        if token[:1] != b'"':
            raise NotJson(f"no key at {self.base + self.at}")
        key = json.loads(token) if b"\\" in token else token[1:-1].decode("utf-8", "replace")
        if key in self.keys and self.capture is None:
            self.capture = (key, self.base + self.at, len(self.open))
        return "colon"

    def _close(self, token: bytes) -> str:
        if not self.open or self.open.pop() != (_OBJECT if token == b"}" else _ARRAY):
            raise NotJson(f"brackets do not fit at {self.base + self.at}")
        return self._ended()

    def _ended(self) -> str:
        """A value is over; one that a wanted key holds is read again, and kept."""
        if self.capture is not None and len(self.open) == self.capture[2]:
            key, start, _ = self.capture
            self.capture = None
            length = self.base + self.at - start
            self.budget.require("header_bytes", length)
            text = self.source.read_at(start, length).partition(b":")[2]
            if text.count(b",") > _MOST_KEPT:
                raise NotJson(f"more than {_MOST_KEPT} values under the key {key}")
            self.kept.append((key, parse(text).tree))
        return "comma" if self.open else "end"

    def _run(self, due: str) -> bool:
        """Step over many plain items at once, up to what spells a wanted key, or may."""
        if not self.open or due in {"colon", "comma"} or (due == "value" and self.open[-1] == _OBJECT):
            return False
        if self.marked < self.at:
            found = self.mark.search(self.buffer, self.at)
            self.marked = found.start() if found else len(self.buffer)
        match = (_ITEMS if self.open[-1] == _ARRAY else _MEMBERS).match(self.buffer, self.at, self.marked)
        if match is None:
            return False
        self.at = match.end()
        return True

    def _token(self) -> bytes:
        match = _TOKEN.match(self.buffer, self.at)
        while (match is None or match.end() >= len(self.buffer) - 1) and self.fill():
            match = _TOKEN.match(self.buffer, self.at)
        if match is None:
            raise NotJson(f"not JSON at {self.base + self.at}")
        self.at = match.end()
        return match[1] or match[2]


_OBJECT, _ARRAY = b"{["
_ENDS = {"members": b"}", "items": b"]"}
