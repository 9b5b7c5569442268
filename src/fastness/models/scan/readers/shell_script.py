"""Scripts of shells that lie in a model, by name. Loading a model runs none of them; who uses the model may.

Those that begin with the name of their interpreter are also told as programs, whatever they are called.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from fastness.core.findings import Rule
from fastness.core.sources import RandomAccess
from fastness.models.scan.budget import Budget
from fastness.models.scan.commands import FETCHES, told_of
from fastness.models.scan.facts import Fact, FactKind, Look, Told, span
from fastness.models.scan.texts import NotText, tell_text, whole

RULES: tuple[Rule, ...] = (FETCHES,)


@dataclass(frozen=True)
class ShellReader:
    """Reads scripts of shells."""

    name: ClassVar[str] = "shell"
    suffixes: ClassVar[tuple[str, ...]] = (
        ".sh",
        ".bash",
        ".zsh",
        ".ksh",
        ".fish",
        ".ps1",
        ".psm1",
        ".bat",
        ".cmd",
        ".vbs",
    )

    def claims(self, look: Look) -> bool:
        """By the name."""
        return look.named(*self.suffixes)

    def read(self, source: RandomAccess, budget: Budget) -> Iterator[Told]:
        """The script as a fact, and whether it runs what it fetches.

        Raises:
            TooLarge: it is longer than any script.
        """
        budget.require("header_bytes", source.size)
        try:
            yield from tell_text(source)
            yield from told_of(source.name, whole(source))
        except NotText:
            return
        yield Fact(FactKind.CODE, source.name, 0, "a script", {"language": "shell", "runs": "use"})
        yield span(source.name, 0, source.size)


READER = ShellReader
