"""SCIM filters: parsed into a small tree and asked of resources in memory. No text of a filter ever reaches SQL.

Bounds stop filter bombs: 1,000 characters, 50 comparisons, 8 levels. Evaluation is linear in terms and values; there is no
regular expression in it that could run away.

Source: RFC 7644, section 3.4.2.2, figure 1. Deviation: only attributes that the house keeps are known; others are refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from fastness.access.scim.attributes import Attribute, Json, Kind, Object
from fastness.core.errors import Invalid

LONGEST: Final = 1000
MOST_TERMS: Final = 50
DEEPEST: Final = 8
_TOKEN = re.compile(
    r'\s*(?:(?P<string>"(?:[^"\\\x00-\x1f]|\\["\\/bfnrtu])*")|(?P<mark>[()\[\]])'
    r"|(?P<word>[A-Za-z$][A-Za-z0-9_$:.-]*)|(?P<sub>\.[A-Za-z$][A-Za-z0-9_$-]*)|(?P<number>-?\d{1,15}(?:\.\d{1,9})?))",
    re.ASCII,
)
_WORDS: Final[dict[str, bool | None]] = {"true": True, "false": False, "null": None}
Literal = str | bool | float | None
"""What an attribute is compared with."""

_TEXT: Final[dict[str, Callable[[str, str], bool]]] = {
    "eq": str.__eq__, "ne": str.__ne__, "co": str.__contains__, "sw": str.startswith, "ew": str.endswith,
    "gt": str.__gt__, "ge": str.__ge__, "lt": str.__lt__, "le": str.__le__,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Compare:
    """`attribute op value`, or with `pr` whether there is any value."""

    extension: str
    attribute: Attribute
    sub: Attribute | None
    op: str
    value: Literal


@dataclass(frozen=True, slots=True)
class Within:
    """`attribute[filter]`: one of the values fits the whole filter."""

    extension: str
    attribute: Attribute
    inner: Filter


@dataclass(frozen=True, slots=True)
class Both:
    """`and`, or with `either` `or`."""

    parts: tuple[Filter, ...]
    either: bool


@dataclass(frozen=True, slots=True)
class Not:
    """`not (…)`."""

    part: Filter


Filter = Compare | Within | Both | Not


def parse_filter(text: str, kind: Kind) -> Filter:
    """The filter in `text`.

    Raises:
        Invalid: `scim-invalidFilter`.
    """
    try:
        return _Parser(text, kind).whole()
    except Invalid as error:
        raise Invalid("scim-invalidFilter", error.message, error.hint) from error


@dataclass(frozen=True, slots=True)
class Path:
    """The path of a patch: `attribute`, `attribute.sub`, `attribute[filter]` or `attribute[filter].sub`."""

    extension: str
    attribute: Attribute
    sub: Attribute | None
    where: Filter | None


def parse_path(text: str, kind: Kind) -> Path:
    """The path in `text`.

    Raises:
        Invalid: `scim-invalidPath`, or `scim-invalidFilter` inside the brackets.
    """
    return _Parser(text, kind).path()


class _Tokens:
    """The tokens of a text, one after the other."""

    def __init__(self, text: str) -> None:
        if len(text) > LONGEST:
            raise _wrong(f"is longer than {LONGEST} characters")
        self._tokens: list[tuple[str, str]] = []
        place, end = 0, len(text.rstrip())
        while place < end:
            found = _TOKEN.match(text, place)
            if found is None or found.lastgroup is None:
                raise _wrong(f"cannot be read at character {place + 1}")
            self._tokens.append((found.lastgroup, found[found.lastgroup]))
            place = found.end()
        self._next = 0

    def end(self) -> None:
        if self._next != len(self._tokens):
            raise _wrong("goes on where it should end")

    def peek(self) -> tuple[str, str]:
        return self._tokens[self._next] if self._next < len(self._tokens) else ("", "")

    def take(self) -> tuple[str, str]:
        token = self.peek()
        self._next += 1
        return token

    def comes(self, word: str) -> bool:
        """Whether this word is the next one; it is then taken."""
        kind, text = self.peek()
        found = kind == "word" and text.lower() == word
        self._next += found
        return found

    def expect(self, mark: str) -> None:
        if self.take() != ("mark", mark):
            raise _wrong(f"lacks {mark!r}")

    def value(self) -> Literal:
        kind, text = self.take()
        if kind == "string":
            try:
                return str(json.loads(text))
            except ValueError as error:
                raise _wrong("holds a text that is none") from error
        if kind == "number":
            return float(text)
        if kind != "word" or text not in _WORDS:
            raise _wrong("compares with what is no value")
        return _WORDS[text]


class _Parser:
    def __init__(self, text: str, kind: Kind) -> None:
        self._kind = kind
        self._terms = 0
        self._tokens = _Tokens(text)

    def whole(self) -> Filter:
        found = self._either(0, None)
        self._tokens.end()
        return found

    def path(self) -> Path:
        kind, word = self._tokens.take()
        if kind != "word":
            raise Invalid("scim-invalidPath", "a path begins with an attribute")
        extension, attribute, sub = self._kind.find(word)
        where = None
        if self._tokens.peek() == ("mark", "["):
            where = self._bracket(attribute, sub, 0)
            if self._tokens.peek()[0] == "sub":
                _, _, sub = self._kind.find(attribute.name + self._tokens.take()[1])
        self._tokens.end()
        return Path(extension, attribute, sub, where)

    def _either(self, depth: int, inside: Attribute | None) -> Filter:
        parts = [self._both(depth, inside)]
        while self._tokens.comes("or"):
            parts.append(self._both(depth, inside))
        return parts[0] if len(parts) == 1 else Both(tuple(parts), either=True)

    def _both(self, depth: int, inside: Attribute | None) -> Filter:
        parts = [self._one(depth, inside)]
        while self._tokens.comes("and"):
            parts.append(self._one(depth, inside))
        return parts[0] if len(parts) == 1 else Both(tuple(parts), either=False)

    def _one(self, depth: int, inside: Attribute | None) -> Filter:
        if depth > DEEPEST:
            raise _wrong(f"is nested deeper than {DEEPEST} levels")
        if negated := self._tokens.comes("not"):
            if self._tokens.peek() != ("mark", "("):
                raise _wrong("lacks '(' behind not")
        elif self._tokens.peek() != ("mark", "("):
            return self._term(depth, inside)
        self._tokens.expect("(")
        found = self._either(depth + 1, inside)
        self._tokens.expect(")")
        return Not(found) if negated else found

    def _term(self, depth: int, inside: Attribute | None) -> Filter:
        self._terms += 1
        if self._terms > MOST_TERMS:
            raise _wrong(f"has more than {MOST_TERMS} comparisons")
        kind, word = self._tokens.take()
        if kind != "word":
            raise _wrong("lacks the name of an attribute")
        extension, attribute, sub = self._found(word, inside)
        if self._tokens.peek() == ("mark", "["):
            if inside is not None:
                raise _wrong("has brackets within brackets")
            return Within(extension, attribute, self._bracket(attribute, sub, depth + 1))
        kind, op = self._tokens.take()
        op = op.lower()
        if kind != "word" or (op != "pr" and op not in _TEXT):
            raise _wrong(f"compares by {op[:20]!r}")
        return Compare(extension, attribute, sub, op, None if op == "pr" else self._tokens.value())

    def _found(self, word: str, inside: Attribute | None) -> tuple[str, Attribute, Attribute | None]:
        if inside is None:
            return self._kind.find(word)
        sub = next((one for one in inside.sub if one.name.lower() == word.lower()), None)
        if sub is None:
            raise Invalid("scim-invalidPath", f"{inside.name} has no {word[:80]!r}")
        return "", inside, sub

    def _bracket(self, attribute: Attribute, sub: Attribute | None, depth: int) -> Filter:
        if sub is not None or not attribute.sub or not attribute.multi:
            raise Invalid("scim-invalidPath", f"{attribute.name} has no values to choose among")
        self._tokens.expect("[")
        found = self._either(depth + 1, attribute)
        self._tokens.expect("]")
        return found


def matches(found: Filter, resource: Object) -> bool:
    """Whether a resource fits the filter."""
    if isinstance(found, Both):
        check = any if found.either else all
        return check(matches(part, resource) for part in found.parts)
    if isinstance(found, Not):
        return not matches(found.part, resource)
    values = values_of(found.extension, found.attribute, resource)
    if isinstance(found, Within):
        return any(isinstance(value, dict) and _fits(found.inner, value) for value in values)
    return _compared(found, values)


def values_of(extension: str, attribute: Attribute, resource: Object) -> list[Json]:
    """The values that a resource has for an attribute."""
    holder = resource.get(extension, {}) if extension else resource
    value = holder.get(attribute.name) if isinstance(holder, dict) else None
    return [] if value is None else value if isinstance(value, list) else [value]


def fits(found: Filter, value: Object) -> bool:
    """Whether one value of an attribute fits the filter in the brackets behind it."""
    return _fits(found, value)


def _fits(found: Filter, value: Object) -> bool:
    if isinstance(found, Both):
        check = any if found.either else all
        return check(_fits(part, value) for part in found.parts)
    if isinstance(found, Not):
        return not _fits(found.part, value)
    return isinstance(found, Compare) and _compared(found, [value])


def _compared(found: Compare, values: list[Json]) -> bool:
    sub = found.sub
    if sub is None and found.attribute.type == "complex" and found.op != "pr":
        sub = next((one for one in found.attribute.sub if one.name == "value"), None)
    leaf = sub or found.attribute
    if sub is not None:
        values = [value[sub.name] for value in values if isinstance(value, dict) and value.get(sub.name) is not None]
    if found.op == "pr":
        return any(value not in ("", {}, []) for value in values)
    if found.op == "ne":
        return not any(_equal(leaf, value, found.value) for value in values)
    return any(_holds(leaf, found.op, value, found.value) for value in values)


def _holds(leaf: Attribute, op: str, value: Json, wanted: Literal) -> bool:
    if op == "eq":
        return _equal(leaf, value, wanted)
    if not isinstance(value, str) or not isinstance(wanted, str):
        return False
    one, two = (value, wanted) if leaf.exact else (value.casefold(), wanted.casefold())
    return _TEXT[op](one, two)


def _equal(leaf: Attribute, value: Json, wanted: Literal) -> bool:
    if isinstance(value, str) and isinstance(wanted, str) and not leaf.exact:
        return value.casefold() == wanted.casefold()
    return type(value) is type(wanted) and bool(value == wanted)


def _wrong(what: str) -> Invalid:
    return Invalid("scim-invalidFilter", f"the filter {what}", "RFC 7644, section 3.4.2.2.")
