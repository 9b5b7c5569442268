"""The licence that a model says it has: the front matter of its card, its licence file, and what a card says in words.

Source: Hugging Face documentation, "Model Cards" (the fields `license` and `license_name`); SPDX licence list for names. Cost:
the first 64 KiB of files that are called so.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from fastness.core.findings import Rule, Severity
from fastness.core.sources import RandomAccess
from fastness.models.scan.budget import Budget
from fastness.models.scan.facts import Fact, FactKind, Look, Told, found, span
from fastness.models.scan.licences import NAME, READ, of_card, of_text
from fastness.models.scan.rules import MAPS
from fastness.models.scan.texts import NotText, pieces

UNNAMED = Rule(
    "licence-unnamed", "A model card that names no licence", Severity.INFO,
    "Without a licence nobody may use the model.", "Ask its makers, or add the field `license` to the card.", MAPS,
)  # fmt: skip

RULES: tuple[Rule, ...] = (UNNAMED,)


@dataclass(frozen=True)
class LicenceReader:
    """Reads cards and licence files."""

    name: ClassVar[str] = "licence"
    suffixes: ClassVar[tuple[str, ...]] = ()

    def claims(self, look: Look) -> bool:
        """By the name, where the file is text."""
        return NAME.fullmatch(re.split(r"[/!\\]", look.name)[-1]) is not None and b"\0" not in look.head

    def read(self, source: RandomAccess, budget: Budget) -> Iterator[Told]:
        """A LICENCE fact for each statement; its detail says where it stands: front, or text."""
        del budget
        try:
            deque(pieces(source), 0)
        except NotText:
            return  # whoever knows what it is says so
        text = source.read_at(0, READ).decode("utf-8", "replace")
        yield span(source.name, 0, source.size)
        if not re.split(r"[/!\\]", source.name)[-1].lower().startswith("readme"):
            yield Fact(FactKind.LICENCE, source.name, 0, of_text(text), {"stands": "text"})
            return
        stated = of_card(text)
        for one in stated or ():
            yield Fact(FactKind.LICENCE, source.name, 0, one[:100], {"stands": "front"})
        if stated == []:
            yield found(UNNAMED, source.name, 0, "the front matter of the card has no field `license`")


READER = LicenceReader
