"""Scripts of shells that lie in a model, by name. Loading a model runs none of them; who uses the model may.

Those that begin with the name of their interpreter are also told as programs, whatever they are called.
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
from fastness.models.scan.texts import NotText, tell_text, whole

FETCHES = Rule(
    "shell-runs-what-it-fetches", "A script that runs what it fetches or hides", Severity.HIGH,
    "Whoever runs the script runs what somebody else puts at the other end, with their own rights.",
    "Do not run it. Loading the model needs no script.", {**MAPS, "cwe": "CWE-494", "atlas": "AML.T0011.000"},
)  # fmt: skip

RULES: tuple[Rule, ...] = (FETCHES,)

_FETCH = r"(?:curl|wget|fetch|iwr|invoke-webrequest|invoke-restmethod|certutil|bitsadmin|downloadstring)"
_RUNS_FETCHED = re.compile(
    _FETCH + r"\b[^\n;&]{0,400}\|\s*(?:sudo\s+)?(?:env\s+)?(?:\S*/)?(?:ba|z|da|k)?sh\b"
    r"|" + _FETCH + r"\b[^\n]{0,400}\|\s*(?:sudo\s+)?(?:\S*/)?(?:python|perl|ruby|node|iex|php)"
    r"|(?:ba|z)?sh\s+-c\s+[\"']?\$\(\s*" + _FETCH + r"|(?:ba|z)?sh\s+<\(\s*" + _FETCH + r"|eval\s+[\"']?\$\(\s*" + _FETCH +
    r"|base64\s+(?:-d|-D|--decode)[^\n]{0,80}\|\s*(?:\S*/)?(?:ba|z)?sh\b|\biex\b|/dev/(?:tcp|udp)/"
    r"|\bnc\b[^\n]{0,60}\s-e\b|-enc(?:odedcommand)?\s+[A-Za-z0-9+/=]{40,}",
    re.IGNORECASE,
)  # fmt: skip
_MOST = 4 << 20


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
            match = _RUNS_FETCHED.search(whole(source)[:_MOST])
        except NotText:
            return
        if match:
            yield found(FETCHES, source.name, 0, f"it holds {match[0][:80]!a}")
        yield Fact(FactKind.CODE, source.name, 0, "a script", {"language": "shell", "runs": "use"})
        yield span(source.name, 0, source.size)


READER = ShellReader
