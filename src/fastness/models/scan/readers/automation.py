"""Files that tools act on: settings of editors, packages, git, shells and builds, notebooks. `automation` judges them.

Claimed by path, where the file is text; other readers, which know the syntax, read most of them as well. Cost: linear; at
most the header bound.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from fastness.core.sources import RandomAccess
from fastness.models.scan.automation import RULES as JUDGED
from fastness.models.scan.automation import judge_of
from fastness.models.scan.budget import Budget
from fastness.models.scan.commands import FETCHES
from fastness.models.scan.facts import Look, Told, span
from fastness.models.scan.texts import NotText, tell_text, whole

RULES = tuple(rule for rule in JUDGED if rule is not FETCHES)  # which stands beside the reader of scripts


@dataclass(frozen=True)
class AutomationReader:
    """Reads what tools act on."""

    name: ClassVar[str] = "automation"
    suffixes: ClassVar[tuple[str, ...]] = ()

    def claims(self, look: Look) -> bool:
        """By the path, where the file begins as text does."""
        return judge_of(look.name) is not None and b"\0" not in look.head and look.head[:1] != b"\x80"

    def read(self, source: RandomAccess, budget: Budget) -> Iterator[Told]:
        """What the tool would do.

        Raises:
            TooLarge: it is longer than any such file.
        """
        judge = judge_of(source.name)
        budget.require("header_bytes", source.size)
        try:
            texts, text = tell_text(source), whole(source)
        except NotText:
            return
        for item in (*texts, *judge(source.name, text)) if judge is not None else ():
            budget.spend("facts")
            yield item
        yield span(source.name, 0, source.size)


READER = AutomationReader
