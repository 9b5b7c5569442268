"""PMML: every element by name, every function that is applied, and what its texts hold.

Misses: what the arithmetic computes. Cost: one step for each tag.

Source: Data Mining Group, "PMML 4.4.1"; JPMML-Evaluator for functions that it looks up as Java classes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from fastness.core.sources import RandomAccess
from fastness.models.scan import xml
from fastness.models.scan.budget import Budget
from fastness.models.scan.credentials import SHORTEST, credential_in
from fastness.models.scan.facts import Fact, FactKind, Look, Told, found, span
from fastness.models.scan.onnx_parts import code_in
from fastness.models.scan.xml import Event, Kind

RULES = xml.RULES
"""Those of the language; the reader has none of its own."""

_DMG = re.compile(r"http://www\.dmg\.org/PMML-[0-9]_[0-9]\Z")
_TABLES = "http://jpmml.org/jpmml-model/InlineTable"
_SCRIPT = re.compile(r"javascript|vbscript|groovy|\beval\b|\bscript\b", re.IGNORECASE)


@dataclass(frozen=True)
class PmmlReader:
    """Reads .pmml files."""

    name: ClassVar[str] = "pmml"
    suffixes: ClassVar[tuple[str, ...]] = (".pmml",)

    def claims(self, look: Look) -> bool:
        """By the root element, or by the name of what looks like XML."""
        text = look.head.lstrip(b"\xef\xbb\xbf\xff\xfe\0 \t\r\n")
        named = look.named(".pmml") and text.startswith(b"<")
        return named or xml.begins_with(look.head, "PMML") or xml.may_begin(look.head)

    def read(self, source: RandomAccess, budget: Budget) -> Iterator[Told]:
        """Elements and functions, code, credentials and references, and the span.

        Raises:
            TooLarge: the budget is spent.
        """
        walk = _Walk(source.name, budget)
        try:
            for event in xml.events(source, budget):
                if event.kind is Kind.START and not event.depth and event.name != "PMML":
                    return
                walk.take(event)
        except xml.Refused as refused:
            yield from walk.told()
            yield found(refused.rule, source.name, refused.at, str(refused))
            if not refused.rule.incomplete:
                yield span(source.name, 0, source.size)
            return
        yield from walk.told()
        yield span(source.name, 0, source.size)


@dataclass(slots=True)
class _Walk:
    """The state of one reading."""

    name: str
    budget: Budget
    facts: list[Fact] = field(default_factory=list)
    elements: dict[str, int] = field(default_factory=dict)
    functions: dict[str, int] = field(default_factory=dict)
    own: set[str] = field(default_factory=set)
    inside: list[str] = field(default_factory=list)

    def take(self, event: Event) -> None:
        """Take in one event."""
        if event.kind is Kind.START:
            self._start(event)
            self.inside.append(event.name)
        elif event.kind is Kind.END:
            self.inside.pop()
        else:
            self._text(event.text, event.offset)

    def told(self) -> Iterator[Fact]:
        """What was found."""
        yield from self.facts
        for name, offset in self.elements.items():
            yield Fact(FactKind.OPERATOR, self.name, offset, name, {"domain": "pmml.element", "local": 0})
        for name, offset in self.functions.items():
            yield Fact(FactKind.OPERATOR, self.name, offset, name, {"domain": "pmml", "local": int(name in self.own)})

    def _start(self, event: Event) -> None:
        standard = not event.namespace or _DMG.match(event.namespace)
        if "InlineTable" not in self.inside or not (standard or event.namespace == _TABLES):
            # Rows of a table are made of cells with any name.
            name = event.name if standard else f"{{{event.namespace}}}{event.name}"
            self._count(self.elements, name, event.offset)
        if event.name == "DefineFunction":
            self.own.add(event.attributes.get("name", ""))
        elif event.name in {"Apply", "Aggregate"}:
            self._count(self.functions, event.attributes.get("function", ""), event.offset)
        for key, value in event.attributes.items():
            if key in {"href", "src"}:
                self.budget.spend("facts")
                self.facts.append(Fact(FactKind.REFERENCE, self.name, event.offset, value))
            self._text(value, event.offset)
        if event.name == "Extension" and _SCRIPT.search(" ".join(event.attributes.values())):
            self._code(event.offset)

    def _count(self, seen: dict[str, int], name: str, offset: int) -> None:
        if name not in seen:
            self.budget.spend("facts")
            seen[name] = offset

    def _text(self, text: str, offset: int) -> None:
        if len(text) < 8:
            return
        if code_in(text):
            self._code(offset)
        if len(text) >= SHORTEST and (kind := credential_in(text)):
            self.budget.spend("facts")
            self.facts.append(Fact(FactKind.CREDENTIAL, self.name, offset, kind))

    def _code(self, offset: int) -> None:
        self.budget.spend("facts")
        detail: dict[str, str | int] = {"language": "text", "runs": "use"}
        self.facts.append(Fact(FactKind.CODE, self.name, offset, "a text that holds a program", detail))


READER = PmmlReader
