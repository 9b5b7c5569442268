"""Python literals of the few kinds that stand in headers of array files, read without Python's own parser."""

from __future__ import annotations

import re

Literal = str | int | bool | None | tuple["Literal", ...] | list["Literal"] | dict[str, "Literal"]

MAX_DEPTH = 32
_TOKEN = re.compile(
    r"\s*(?:(?P<text>[ub]?'[^'\\\n]*'|[ub]?\"[^\"\\\n]*\")|(?P<number>-?[0-9]{1,20})L?|(?P<word>True|False|None)|(?P<mark>[\[\](){},:]))"
)
_WORDS = {"True": True, "False": False, "None": None}


class NotALiteral(ValueError):
    """The text is something else; the message says what and where."""


def parse_literal(text: str) -> Literal:
    """The value that `text` stands for: texts without escapes, whole numbers, tuples, lists and dicts with text keys.

    Raises:
        NotALiteral: anything else, or nested too deep.
    """
    parser = _Parser(text)
    value = parser.value(MAX_DEPTH)
    if text[parser.at :].strip():
        raise NotALiteral(f"something follows at {parser.at}")
    return value


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def value(self, depth: int) -> Literal:
        if not depth:
            raise NotALiteral("nested too deep")
        match = self._next()
        if match["text"] is not None:
            return match["text"].lstrip("ub")[1:-1]
        if match["number"] is not None:
            return int(match["number"])
        if match["word"] is not None:
            return _WORDS[match["word"]]
        if match["mark"] == "{":
            return self._dict(depth)
        if match["mark"] == "[":
            return self._items("]", depth)[0]
        if match["mark"] == "(":
            items, comma = self._items(")", depth)
            return tuple(items) if comma or not items else items[0]
        raise NotALiteral(f"{match['mark']!r} at {match.start('mark')}")

    def _next(self) -> re.Match[str]:
        match = _TOKEN.match(self.text, self.at)
        if match is None:
            raise NotALiteral(f"no literal at {self.at}")
        self.at = match.end()
        return match

    def _mark(self, wanted: str) -> bool:
        """Whether the mark comes next; it is passed over if so."""
        match = _TOKEN.match(self.text, self.at)
        if match is None or match["mark"] != wanted:
            return False
        self.at = match.end()
        return True

    def _items(self, end: str, depth: int) -> tuple[list[Literal], bool]:
        items: list[Literal] = []
        comma, commas = True, 0
        while not self._mark(end):
            if not comma:
                raise NotALiteral(f"a comma is missing at {self.at}")
            items.append(self.value(depth - 1))
            comma = self._mark(",")
            commas += comma
        return items, commas > 0

    def _dict(self, depth: int) -> dict[str, Literal]:
        found: dict[str, Literal] = {}
        comma = True
        while not self._mark("}"):
            if not comma:
                raise NotALiteral(f"a comma is missing at {self.at}")
            key = self.value(depth - 1)
            if not isinstance(key, str) or key in found or not self._mark(":"):
                raise NotALiteral(f"no new key at {self.at}")
            found[key] = self.value(depth - 1)
            comma = self._mark(",")
        return found
