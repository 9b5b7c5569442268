"""Networks of Caffe in text: a layer of Python imports a module and makes a class of it, by their names.

Misses: the weights (`.caffemodel`), which no reader knows. Source: BVLC Caffe, `caffe.proto`: `PythonParameter`;
`include/caffe/layers/python_layer.hpp`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from fastness.core.findings import Rule
from fastness.core.sources import RandomAccess
from fastness.models.scan.budget import Budget
from fastness.models.scan.facts import Fact, FactKind, Look, Told, found, span
from fastness.models.scan.rules import undecided
from fastness.models.scan.texts import NotText, tell_text, whole

MALFORMED = undecided(
    "prototxt-malformed", "A network in text that is not understood",
    "What cannot be parsed cannot be vouched for.", "Fetch the file again, or write it again with Caffe.",
)  # fmt: skip

RULES: tuple[Rule, ...] = (MALFORMED,)

_COMMENT = re.compile(r"(\"(?:[^\"\\\n]|\\.)*+\"|'(?:[^'\\\n]|\\.)*+')|#[^\n]*+")
_PLAIN = re.compile(r"(?:[\s{}\[\]:;,<>\w.+-]++|\"(?:[^\"\\\n]|\\.)*+\"|'(?:[^'\\\n]|\\.)*+')*+")
_PARAM = re.compile(r"\bpython_param\b\s*:?\s*[{<]([^{}<>]*+)")
_MODULE = re.compile(r"\bmodule\s*:\s*[\"']([^\"'\n]*)")
_LAYER = re.compile(r"\blayer\s*:\s*[\"']([^\"'\n]*)")
_TYPE = re.compile(r"\btype\s*:\s*[\"']Python[\"']")


@dataclass(frozen=True)
class PrototxtReader:
    """Reads .prototxt files."""

    name: ClassVar[str] = "prototxt"
    suffixes: ClassVar[tuple[str, ...]] = (".prototxt",)

    def claims(self, look: Look) -> bool:
        """By the name."""
        return look.named(".prototxt")

    def read(self, source: RandomAccess, budget: Budget) -> Iterator[Told]:
        """The layers of Python.

        Raises:
            TooLarge: it is longer than any network.
        """
        budget.require("header_bytes", source.size)
        try:
            yield from tell_text(source)
            text = _COMMENT.sub(lambda match: match[1] or "", whole(source))
        except NotText:
            yield found(MALFORMED, source.name, 0, "it is no text")
            return
        if _PLAIN.fullmatch(text) is None:
            yield found(MALFORMED, source.name, 0, "it is not made of names, numbers and texts")
        inner = _PARAM.findall(text)
        for one in inner:
            budget.spend("facts")
            names = [(match[1] if (match := part.search(one)) else "") for part in (_MODULE, _LAYER)]
            yield Fact(FactKind.CLASS, source.name, 0, ".".join(names), {"vocabulary": "caffe"})
        if len(inner) < len(_TYPE.findall(text)):
            yield Fact(FactKind.CLASS, source.name, 0, "a layer of Python", {"vocabulary": "caffe"})
        yield span(source.name, 0, source.size)


READER = PrototxtReader
