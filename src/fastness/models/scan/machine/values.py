"""The abstract values of the pickle machine: as much of each object as judging and stepping over arrays needs.

Whole numbers, fractions, short texts, True, False and None stand for themselves. What is longer or richer is one of the
classes below; they hold few of their parts, so that memory stays in proportion to the instructions read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

KEPT_ITEMS = 256
SHORT_TEXT = 256
SHORT_BYTES = 200
MOST_REPEATS = 10**15
AMPLIFIED = 10**9
"""Repeats that are told."""
DEEPEST = 10_000
"""Containers in containers that are told; Python's own pickler gives up at about a thousand."""
CALLED_ATTRIBUTES = frozenset({"__setstate__", "append", "extend", "add", "update"})
"""Attributes that instructions look up on an object and call, where its state may have put them."""
SLOT_ATTRIBUTES = frozenset({"__class__", "__dict__"})
"""Attributes that a state of slots sets for real."""
NAMING_KEYS = frozenset({"_target_", "__target__", "_instantiator", "class_path", "_class_path"})
"""Keys of settings whose text names what Hydra, Lightning and their like import and call."""
ARMING = CALLED_ATTRIBUTES | SLOT_ATTRIBUTES
WATCHED = ARMING | NAMING_KEYS
_UNARMED: frozenset[str] = frozenset()


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


@dataclass(slots=True, eq=False)
class Text:
    """A text or bytes too long to keep: its length, its beginning, and the place where it is written.

    Attributes:
        size: bytes that it takes there.
        form: how a text is written there, where it is not UTF-8: `latin-1`, `raw-unicode-escape`, or `quoted`.
    """

    length: int
    head: str | bytes
    at: int = -1
    size: int = 0
    form: str = ""


class Global:
    """An imported object.

    Attributes:
        path: module and qualified name.
        settled: the standing of making one by `__new__`, once there is nothing more to tell about that.
    """

    __slots__ = ("module", "name", "path", "settled", "standing")

    def __init__(self, module: str, name: str, standing: Standing) -> None:
        self.module, self.name, self.standing = module, name, standing
        self.path = f"{module}.{name}"
        self.settled: Standing | None = None


class Loader(Global):
    """A function that reads a model from bytes which stand in the stream, and are scanned as a file of their own.

    Attributes:
        pushed: how often it came onto the stack.
        called: how often with such bytes; where that is less often, it is held by something.
    """

    __slots__ = ("called", "pushed")

    def __init__(self, module: str, name: str, standing: Standing) -> None:
        super().__init__(module, name, standing)
        self.pushed = 1
        self.called = 0


class Notes:
    """What is known of a container or object that is not small and plain, as most of the millions are.

    Attributes:
        depth: of containers within it, itself included, as far as they were within when it took them.
        repeats: how many visits a walk that forgets what it saw would make more than once.
        pending: those of them that its own members cause by pointing back to it, which is ordinary.
        shared: it was taken from the memo, so that it may stand in more than one place.
        armed: keys of a dict that matter where it becomes the state of an object, or what such a state has put before the
            attributes of its class.
        sealed: an element type keeps it, and would not notice a change.
        columns: how many columns of data the trees within it read.
        categories: whether one of these trees goes by categories.
        tally: of a dict while the machine counts, how many of its values are whole numbers, the least and the greatest.
        followed: compiled code goes by what it holds now.
    """

    __slots__ = (
        "armed",
        "categories",
        "columns",
        "depth",
        "followed",
        "pending",
        "repeats",
        "sealed",
        "shared",
        "tally",
    )

    def __init__(self) -> None:
        self.depth = 1
        self.repeats = 0
        self.pending = 0
        self.shared = False
        self.armed: frozenset[str] = _UNARMED
        self.sealed = False
        self.columns = 0
        self.categories = False
        self.tally = (0, 0, -1)
        self.followed = False


PLAIN = Notes()
"""Of everything that is small and plain; never changed."""


class Items:
    """A tuple, list, set or dict; of a dict, the kept items are key and value in turn.

    Attributes:
        held: the first few items; `kept` shows them, short tuples of plain values as containers too.
        notes: `noted` gives those that may be changed.
    """

    __slots__ = ("count", "held", "notes")
    kind = ""

    def __init__(self) -> None:
        self.held: Sequence[object] = ()
        self.count = 0
        self.notes = PLAIN

    def extend(self, items: list[object]) -> None:
        """Take in more, keeping the first few; the list is given away."""
        count, more = self.count, len(items)
        if not count:
            self.held = items if more <= KEPT_ITEMS else items[:KEPT_ITEMS]
        elif count < KEPT_ITEMS:
            self.held = [*self.held, *items[: KEPT_ITEMS - count]]
        self.count = count + more
        if not PLAIN_TYPES.issuperset(map(type, items)):
            repeat(self, items)

    @property
    def kept(self) -> Sequence[object]:
        """The first few items."""
        return [opened(item) for item in self.held] if tuple in map(type, self.held) else self.held

    def get(self, key: str) -> object:
        """The value of a kept key of a dict, or None."""
        for at in range(len(self.held) - 2, -1, -2):
            if self.held[at] == key:
                return opened(self.held[at + 1])
        return None


class TupleOf(Items):
    """A tuple."""

    __slots__ = ()
    kind = "tuple"


class ListOf(Items):
    """A list."""

    __slots__ = ()
    kind = "list"


class MapOf(Items):
    """A dict."""

    __slots__ = ()
    kind = "dict"

    def arm(self, items: list[object]) -> None:
        """Note which of the keys among `items`, keys and values in turn, matter in the state of an object."""
        if armed := armed_by(items):
            noted(self).armed |= armed


class Set_(Items):  # noqa: N801 - SetOf would read as a set of something
    """A set."""

    __slots__ = ()
    kind = "set"


class FrozenOf(Items):
    """A frozenset."""

    __slots__ = ()
    kind = "frozenset"


_CONTAINERS: dict[str, type[Items]] = {one.kind: one for one in (TupleOf, ListOf, MapOf, Set_, FrozenOf)}


def noted(value: Items | Made) -> Notes:
    """The notes of `value`, which are its own from now on."""
    if value.notes is PLAIN:
        value.notes = Notes()
    return value.notes


def opened(value: object) -> object:
    """`value`, and for a tuple of plain values the container that it stands for.

    Such tuples are most of what many streams hold, and are kept as they are; a tuple of tuples is a container.
    """
    if type(value) is not tuple:
        return value
    whole = TupleOf()
    whole.held, whole.count = value, len(value)
    return whole


def container(kind: str, items: list[object] | None = None) -> Items:
    """A new container of that kind; the list of its items is given away."""
    value = _CONTAINERS[kind]()
    if items:
        value.extend(items)
    return value


class Made:
    """The result of a call.

    Attributes:
        maker: path of what was called.
        args: what it was called with, where that matters later; otherwise None.
        state: what BUILD gave it, where that matters later.
        notes: `noted` gives those that may be changed.
    """

    __slots__ = ("args", "maker", "notes", "standing", "state")

    def __init__(self, maker: str, standing: Standing, args: object = None) -> None:
        self.maker, self.standing, self.args = maker, standing, args
        self.state: object = None
        self.notes = PLAIN

    @property
    def walked(self) -> bool:
        """Whether printing or comparing it visits its parts."""
        return self.maker in WALKED


class Opaque:
    """A value that the file does not determine, such as one from outside or after a broken instruction."""

    __slots__ = ()


class Number:
    """One of many numbers in a row, of which nothing but their count matters."""

    __slots__ = ()


MARK = Mark()
OPAQUE = Opaque()
NUMBER = Number()
ATOMS = (str, int, float, bool, type(None))
ATOM_TYPES = frozenset({str, int, float, bool, type(None), bytes, Text, Global, Loader, Number})
PLAIN_TYPES = ATOM_TYPES | {tuple}
WALKED = frozenset({
    "collections.OrderedDict", "collections.defaultdict", "collections.Counter", "collections.deque", "numpy.ndarray",
    "builtins.list", "builtins.tuple", "builtins.dict", "builtins.set", "builtins.frozenset",
})  # fmt: skip


def repeat(target: Items | Made, items: list[object]) -> None:
    """Add to the repeats of `target` those of its new parts.

    What points back to `target` itself is taken off again: a walk notices that it stands within it.
    """
    total, depth, columns, categories = 0, 1, 0, False
    for item in items:
        if not isinstance(item, Items | Made) or (notes := item.notes) is PLAIN:
            continue
        if notes.columns:
            columns, categories = max(columns, notes.columns), categories or notes.categories
        if isinstance(item, Items) or item.walked:
            total += notes.repeats + notes.shared
            depth = max(depth, notes.depth)
    notes = noted(target)
    notes.columns, notes.categories = max(notes.columns, columns), notes.categories or categories
    if not notes.pending:  # otherwise its depth may be its own, come back through its parts
        notes.depth = max(notes.depth, depth + 1)
    notes.repeats = min(MOST_REPEATS, notes.repeats + max(0, total - notes.pending))
    notes.pending = 0


def share(value: Items | Made) -> None:
    """Take note that a value stands in one more place."""
    notes = noted(value)
    notes.shared = True
    notes.pending = min(MOST_REPEATS, notes.pending + 1 + notes.repeats)


def put_into(target: Made, items: list[object]) -> None:
    """Take note of what is put into an object that is no plain container."""
    if target.walked:
        repeat(target, items)
    if armed := armed_by(items):
        noted(target).armed |= armed


def armed_by(items: list[object]) -> frozenset[str]:
    """Those keys, of keys and values in turn, that matter in the state of an object, and have no plain value."""
    return frozenset(
        key
        for key, value in zip(items[::2], items[1::2], strict=False)
        if isinstance(key, str)
        and key in ARMING
        and (key in SLOT_ATTRIBUTES or isinstance(value, Global | Made | Opaque))
    )


def arming(state: object) -> frozenset[str]:
    """The attributes that a state puts before those of the class.

    A state of slots sets them all for real, and so do classes that set each key of a plain state by name, such as pandas.
    """
    if isinstance(state, Items) and state.kind == "tuple" and state.count == 2:
        plain, slots = state.kept
        return arming(plain) | (slots.notes.armed if isinstance(slots, Items | Made) else _UNARMED)
    return state.notes.armed if isinstance(state, Items | Made) else _UNARMED


_LONG_TOKEN = re.compile(r"[A-Za-z0-9+/_=-]{24,}")
_LOGIN = re.compile(r"(?<=://)[^/\s@]+@")
_NAMED = re.compile(r"(?i)\b(pass(?:word|wd)?|secret|token|api[_-]?key|authorization)(\s*[=:]\s*|\s+)(?:bearer\s+)?\S+")


BRACKETS = {"tuple": ("(", ")"), "list": ("[", "]")}


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
    value = opened(value)
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
    args = opened(args)
    if args is None or depth <= 0:
        return "..."
    text = _render(args, depth - 1)
    return text[1:-1] if isinstance(args, Items) and args.kind == "tuple" else text


def _items(value: Items, depth: int) -> str:
    left, right = BRACKETS.get(value.kind, ("{", "}"))
    if depth <= 0:
        return f"{left}...{right}"
    shown = [_render(item, depth - 1) for item in value.kept[:6]]
    if value.kind == "dict":
        shown = [f"{key}: {item}" for key, item in zip(shown[::2], shown[1::2], strict=False)]
    more = [] if value.count <= 6 else ["..."]
    return left + ", ".join(shown + more) + right
