"""Python source that lies in a model: what it reaches, and when.

By itself a file says nothing of who runs it, so that it counts as used; an example, a test or a document is one that
nothing names. Layouts, which see who names a module, tell of the rest. Source in other encodings than UTF-8 is
decoded as it declares.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from fastness.core.findings import Rule, Severity
from fastness.core.sources import RandomAccess
from fastness.models.scan.budget import Budget
from fastness.models.scan.facts import Fact, FactKind, Look, Told, found, span
from fastness.models.scan.python_code import reach_of
from fastness.models.scan.rules import MAPS
from fastness.models.scan.texts import NotText, tell_text, whole

DECEPTIVE = Rule(
    "python-deceptive", "Source that reads otherwise than it runs", Severity.MEDIUM,
    "Marks of direction or a declared encoding show people other code than what Python runs (CVE-2021-42574).",
    "Remove the characters, or the declaration, and read the code again.", {**MAPS, "cwe": "CWE-1007"},
)  # fmt: skip
UNREADABLE = Rule(
    "python-unreadable", "Python source that cannot be parsed", Severity.MEDIUM,
    "It may be for another version of Python, or hide from readers; what it does was not seen.",
    "Read the code, or leave it out.", MAPS,
)  # fmt: skip

RULES: tuple[Rule, ...] = (DECEPTIVE, UNREADABLE)

_ASIDE = re.compile(r"(?:^|[/\\!])(?:examples?|tests?|docs?|demos?|notebooks|benchmarks?|\.github)[/\\]", re.IGNORECASE)
_CODING = re.compile(r"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")
_DIRECTIONS = re.compile("[\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True)
class PythonReader:
    """Reads .py files."""

    name: ClassVar[str] = "python"
    suffixes: ClassVar[tuple[str, ...]] = (".py", ".pyi", ".pyw")

    def claims(self, look: Look) -> bool:
        """By the name."""
        return look.named(*self.suffixes)

    def read(self, source: RandomAccess, budget: Budget) -> Iterator[Told]:
        """The code as a fact, with the dangerous functions it reaches.

        Raises:
            TooLarge: it is longer than any source.
        """
        budget.require("header_bytes", source.size)
        try:
            yield from tell_text(source)
            text = whole(source)
        except NotText:
            return
        yield from _code(source.name, text)
        yield span(source.name, 0, source.size)


def _code(name: str, text: str) -> Iterator[Told]:
    declared = next((match[1] for line in text.splitlines()[:2] if (match := _CODING.match(line))), "utf-8")
    if _DIRECTIONS.search(text):
        yield found(DECEPTIVE, name, 0, "it holds marks of direction")
    if _encoding_of(declared) not in {"utf-8", "ascii", "iso8859-1", "cp1252", "iso8859-15"}:
        yield found(DECEPTIVE, name, 0, f"it declares the encoding {declared[:40]!a}")
    reach = reach_of(text)
    if reach.problem:
        yield found(UNREADABLE, name, 0, reach.problem)
    yield Fact(FactKind.CODE, name, 0, "Python source", reach.detail("never" if _ASIDE.search(name) else "use"))


def _encoding_of(declared: str) -> str:
    try:
        return codecs.lookup(declared).name
    except (LookupError, ValueError):
        return declared


READER = PythonReader
