"""The licence that a model says it has: the front matter of its card, its licence file, and what a card says in words.

Source: Hugging Face documentation, "Model Cards" (the fields `license` and `license_name`); SPDX licence list for names. Cost:
the first 64 KiB of files that are called so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from fastness.core.findings import Rule, Severity
from fastness.core.sources import RandomAccess
from fastness.models.scan.budget import Budget
from fastness.models.scan.facts import Fact, FactKind, Look, Told, found, span
from fastness.models.scan.rules import MAPS

UNNAMED = Rule(
    "licence-unnamed", "A model card that names no licence", Severity.INFO,
    "Without a licence nobody may use the model.", "Ask its makers, or add the field `license` to the card.", MAPS,
)  # fmt: skip

RULES: tuple[Rule, ...] = (UNNAMED,)

_NAME = re.compile(r"(?:README\.md|(?:LICEN[CS]E|COPYING)(?:[._-][\w-]+)?(?:\.(?:txt|md|rst))?)", re.IGNORECASE)
_READ = 1 << 16
_FRONT = re.compile(r"\A\ufeff?---\r?\n(?P<front>.{0,60000}?)\r?\n---(?:\r?\n|\Z)", re.DOTALL)
_FIELD = re.compile(
    r"^(?P<key>[\w-]{1,80}):[ \t]*(?P<value>[^\n]{0,200}?)[ \t]*\r?$|^[ \t]{0,8}-[ \t]+(?P<item>[^\n]{1,100}?)[ \t]*\r?$",
    re.MULTILINE,
)
_TEXTS = (
    ("apache-2.0", re.compile(r"Apache License,?\s+Version 2\.0", re.IGNORECASE)),
    ("mit", re.compile(r"Permission is hereby granted, free of charge, to any person obtaining a copy", re.IGNORECASE)),
    ("agpl-3.0", re.compile(r"GNU AFFERO GENERAL PUBLIC LICENSE\s+Version 3", re.IGNORECASE)),
    ("lgpl", re.compile(r"GNU LESSER GENERAL PUBLIC LICENSE\s+Version [23]", re.IGNORECASE)),
    ("gpl-3.0", re.compile(r"GNU GENERAL PUBLIC LICENSE\s+Version 3", re.IGNORECASE)),
    ("gpl-2.0", re.compile(r"GNU GENERAL PUBLIC LICENSE\s+Version 2", re.IGNORECASE)),
    (
        "bsd-3-clause",
        re.compile(r"Redistribution and use in source and binary forms.{0,1500}Neither the name", re.DOTALL),
    ),
    ("bsd-2-clause", re.compile(r"Redistribution and use in source and binary forms", re.IGNORECASE)),
    ("mpl-2.0", re.compile(r"Mozilla Public License,?\s+(?:Version|v\.?)\s*2\.0", re.IGNORECASE)),
    ("cc-by-nc", re.compile(r"Creative Commons Attribution[- ]NonCommercial", re.IGNORECASE)),
    ("cc-by-sa-4.0", re.compile(r"Creative Commons Attribution[- ]ShareAlike 4\.0", re.IGNORECASE)),
    ("cc-by-4.0", re.compile(r"Creative Commons Attribution 4\.0", re.IGNORECASE)),
    ("openrail", re.compile(r"\bOpen ?RAIL\b|Use-based restrictions", re.IGNORECASE)),
    ("llama", re.compile(r"LLAMA [\d.]+ COMMUNITY LICENSE", re.IGNORECASE)),
    ("gemma", re.compile(r"Gemma Terms of Use", re.IGNORECASE)),
)


@dataclass(frozen=True)
class LicenceReader:
    """Reads cards and licence files."""

    name: ClassVar[str] = "licence"
    suffixes: ClassVar[tuple[str, ...]] = ()

    def claims(self, look: Look) -> bool:
        """By the name, where the file is text."""
        return _NAME.fullmatch(re.split(r"[/!\\]", look.name)[-1]) is not None and b"\0" not in look.head

    def read(self, source: RandomAccess, budget: Budget) -> Iterator[Told]:
        """A LICENCE fact for each statement; its detail says where it stands: front, or text."""
        del budget
        text = source.read_at(0, _READ).decode("utf-8", "replace")
        yield span(source.name, 0, source.size)
        if not re.split(r"[/!\\]", source.name)[-1].lower().startswith("readme"):
            named = next((name for name, pattern in _TEXTS if pattern.search(text)), "other")
            yield Fact(FactKind.LICENCE, source.name, 0, named, {"stands": "text"})
            return
        front = _FRONT.match(text)
        stated = _stated(front["front"]) if front else []
        for one in stated:
            yield Fact(FactKind.LICENCE, source.name, 0, one[:100], {"stands": "front"})
        if front and not stated:
            yield found(UNNAMED, source.name, 0, "the front matter of the card has no field `license`")


def _stated(front: str) -> list[str]:
    """The licences of the front matter: a text, or a list of texts."""
    named: list[str] = []
    within = False
    for match in _FIELD.finditer(front):
        if match["key"] is not None:
            within = match["key"] == "license" and not match["value"]
            named += [match["value"].strip("\"'").lower()] if match["key"] == "license" and match["value"] else []
        elif within:
            named.append(match["item"].strip("\"'").lower())
    return [one for one in named if one]


READER = LicenceReader
