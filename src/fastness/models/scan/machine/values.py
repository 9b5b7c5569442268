"""The abstract values of the pickle machine: as much of each object as judging and stepping over arrays needs.

Whole numbers, fractions, short texts, True, False and None stand for themselves. What is longer or richer is one of the
classes below; they hold few of their parts, so that memory stays in proportion to the instructions read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import IntEnum

KEPT_ITEMS = 64
SHORT_TEXT = 256
MAX_AMPLIFICATION = 10**12


class Standing(IntEnum):
    """What the reviewed data says about a global, from harmless to dangerous."""

    REVIEWED = 0
    MISUSED = 1
    UNKNOWN = 2
    DOTTED = 3
    COMPUTED = 4
    DANGEROUS = 5


class Mark:
    """What the MARK instruction pushes."""

    __slots__ = ()


@dataclass(slots=True)
class Text:
    """A text or bytes too long to keep: its length and its beginning."""

    length: int
    head: str | bytes


@dataclass(slots=True)
class Global:
    """An imported object."""

    module: str
    name: str
    standing: Standing

    @property
    def path(self) -> str:
        """Module and qualified name."""
        return f"{self.module}.{self.name}"


@dataclass(slots=True)
class Items:
    """A tuple, list, set or dict; of a dict, the kept items are key and value in turn.

    Attributes:
        amplification: how many times over the innermost part would be visited by a walk that forgets what it saw.
        sealed: an element type keeps it, and would not notice a change.
    """

    kind: str
    kept: list[object] = field(default_factory=list)
    count: int = 0
    amplification: int = 1
    sealed: bool = False

    def extend(self, items: list[object]) -> None:
        """Take in more, keeping the first few."""
        self.count += len(items)
        if len(self.kept) < KEPT_ITEMS:
            self.kept += items[: KEPT_ITEMS - len(self.kept)]
        self.amplification = max(self.amplification, _amplified(items))

    def get(self, key: str) -> object:
        """The value of a kept key of a dict, or None."""
        for at in range(len(self.kept) - 2, -1, -2):
            if self.kept[at] == key:
                return self.kept[at + 1]
        return None


@dataclass(slots=True)
class Made:
    """The result of a call.

    Attributes:
        maker: path of what was called.
        args: what it was called with, where that matters later; otherwise None.
        state: what BUILD gave it, where that matters later.
        shared: something else may hold it already.
    """

    maker: str
    standing: Standing
    args: object = None
    state: object = None
    amplification: int = 1
    shared: bool = False


class Opaque:
    """A value that the file does not determine, such as one from outside or after a broken instruction."""

    __slots__ = ()


MARK = Mark()
OPAQUE = Opaque()
ATOMS = (str, int, float, bool, type(None))


def _amplified(items: list[object]) -> int:
    """The worst of: how often one part stands among `items`, times its own amplification.

    Only repetition within one container counts, for objects that point back to their owner are ordinary.
    """
    nested = [item for item in items if isinstance(item, Items | Made)]
    if not nested:
        return 1
    times: dict[int, int] = {}
    for item in nested:
        times[id(item)] = times.get(id(item), 0) + 1
    return min(MAX_AMPLIFICATION, max(times[id(item)] * item.amplification for item in nested))


_LONG_TOKEN = re.compile(r"[A-Za-z0-9+/_=-]{24,}")
_LOGIN = re.compile(r"(?<=://)[^/\s@]+@")
_NAMED = re.compile(r"(?i)\b(pass(?:word|wd)?|secret|token|api[_-]?key|authorization)(\s*[=:]\s*|\s+)(?:bearer\s+)?\S+")


_BRACKETS = {"tuple": ("(", ")"), "list": ("[", "]")}


def masked(text: str) -> str:
    """`text` without what may be a secret: logins in addresses, named passwords and tokens, long runs of code letters."""
    text = _LOGIN.sub("***@", text)
    text = _NAMED.sub(lambda m: f"{m[1]}{m[2]}***", text)
    return _LONG_TOKEN.sub(lambda m: f"<{len(m[0])} characters>", text)


def render(value: object, depth: int = 3, width: int = 160) -> str:
    """Arguments for people, on one line, without their outer parentheses, shortened and masked."""
    text = _arguments(value, depth)
    return text if len(text) <= width else f"{text[: width - 3]}..."


def _render(value: object, depth: int) -> str:
    if isinstance(value, ATOMS):
        return repr(masked(value)[:80]) if isinstance(value, str) else _number(value)
    if isinstance(value, bytes | Text):
        length = len(value) if isinstance(value, bytes) else value.length
        return f"<{length} bytes or characters>"
    if isinstance(value, Global):
        return value.path[:80]
    if isinstance(value, Made):
        return f"{value.maker}({_arguments(value.args, depth)})"
    if isinstance(value, Items):
        return _items(value, depth)
    return "?"


def _number(value: object) -> str:
    if isinstance(value, int) and value.bit_length() > 256:
        return f"<number of {value.bit_length()} bits>"
    return repr(value)


def _arguments(args: object, depth: int) -> str:
    if args is None or depth <= 0:
        return "..."
    text = _render(args, depth - 1)
    return text[1:-1] if isinstance(args, Items) and args.kind == "tuple" else text


def _items(value: Items, depth: int) -> str:
    left, right = _BRACKETS.get(value.kind, ("{", "}"))
    if depth <= 0:
        return f"{left}...{right}"
    shown = [_render(item, depth - 1) for item in value.kept[:6]]
    if value.kind == "dict":
        shown = [f"{key}: {item}" for key, item in zip(shown[::2], shown[1::2], strict=False)]
    more = [] if value.count <= 6 else ["..."]
    return left + ", ".join(shown + more) + right
