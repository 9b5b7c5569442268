"""R: what saveRDS and save write (.rds, .RData), packed or not: the compression around it is opened by its own reader.

Tells functions and byte code, promises that run when they are looked at, every function that a call names (a model's
formula runs when it predicts), and names that R runs when it starts. Cost: one step an item.

Source: R 4.4, `src/main/serialize.c`; CVE-2024-27322 (promises); `?Startup` for the names that R runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from fastness.core.findings import Finding, Rule, Severity
from fastness.core.sources import RandomAccess
from fastness.models.scan.budget import Budget
from fastness.models.scan.credentials import SHORTEST, credential_in
from fastness.models.scan.facts import Fact, FactKind, Look, Told, found, span
from fastness.models.scan.payloads import search_payloads
from fastness.models.scan.r_stream import BEGINS, NotR, Sight, Walk
from fastness.models.scan.rules import MAPS, undecided

MALFORMED = undecided(
    "r-malformed", "An R object that is not understood",
    "What cannot be parsed cannot be vouched for.", "Fetch the file again, or save the object again.",
)  # fmt: skip
PROMISE = Rule(
    "r-promise", "A promise that has not run yet", Severity.CRITICAL,
    "Whoever looks at the object runs the expression in it: loading is enough (CVE-2024-27322).",
    "Do not load it. Ask for the numbers in another format.", {**MAPS, "cwe": "CWE-502", "atlas": "AML.T0011.000"},
)  # fmt: skip
STARTUP = Rule(
    "r-startup", "A name that R runs by itself", Severity.HIGH,
    "R calls functions of this name when it starts, ends, or loads a package.", "Remove it from the file.",
    {**MAPS, "cwe": "CWE-506"},
)  # fmt: skip
HOOK = Rule(
    "r-outside-object", "An object that stands elsewhere", Severity.MEDIUM,
    "A function or a class of the loader's decides what is taken for it, such as a file that is mapped into memory.",
    "Find out where it comes from, or save the object whole.", MAPS,
)  # fmt: skip

RULES: tuple[Rule, ...] = (MALFORMED, PROMISE, STARTUP, HOOK)

_STARTUP = frozenset({".First", ".First.sys", ".Last", ".Last.sys", ".onLoad", ".onAttach", ".onUnload"})
_PLAIN = frozenset(
    {
        "compact_intseq", "compact_realseq", "deferred_string", "wrap_integer", "wrap_real", "wrap_string", "wrap_logical",
        "wrap_complex", "wrap_raw", "wrap_list",
    }
)  # fmt: skip
_NAMESPACE = re.compile(r"[A-Za-z][A-Za-z0-9.]*\Z")


@dataclass(frozen=True)
class RdsReader:
    """Reads .rds and .RData files."""

    name: ClassVar[str] = "rds"
    suffixes: ClassVar[tuple[str, ...]] = (".rds", ".rdata", ".rda")

    def claims(self, look: Look) -> bool:
        """By the mark of the encoding and the version behind it."""
        return BEGINS.match(look.head) is not None

    def read(self, source: RandomAccess, budget: Budget) -> Iterator[Told]:
        """Code, calls, credentials and faults.

        Raises:
            TooLarge: the budget is spent.
        """
        seen = _Seen(source.name, budget)
        walk = Walk(source, budget, seen.take)
        try:
            walk.run()
        except NotR as error:
            yield from seen.told()
            yield found(MALFORMED, source.name, error.at, str(error))
            return
        yield from seen.told()
        yield from search_payloads(source, 0, walk.end, budget)
        yield span(source.name, 0, walk.end)


@dataclass(slots=True)
class _Seen:
    """What gathers over the items."""

    name: str
    budget: Budget
    other: list[Fact | Finding] = field(default_factory=list)
    calls: dict[str, int] = field(default_factory=dict)
    code: dict[str, int] = field(default_factory=dict)
    """Where the first of each kind of code stands."""

    def take(self, sight: Sight, name: str, at: int) -> None:
        """Take in one sight."""
        if sight is Sight.TEXT:
            if len(name) >= SHORTEST and (kind := credential_in(name)):
                self._tell(Fact(FactKind.CREDENTIAL, self.name, at, kind))
        elif sight is Sight.CALL:
            if name not in self.calls:
                self.budget.spend("facts")
                self.calls[name] = at
        elif sight is Sight.CLOSURE:
            self.code.setdefault("a function", at)
        elif sight is Sight.CODE:
            self.code.setdefault("byte code", at)
        elif sight is Sight.LAZY:  # functions leave their arguments so; what the expression calls is told as any call
            self.code.setdefault("a promise of an environment", at)
        elif sight is Sight.PROMISE:
            self._tell(found(PROMISE, self.name, at, "a promise that runs when it is looked at"))
        elif sight is Sight.TAG:
            if name in _STARTUP:
                self._tell(found(STARTUP, self.name, at, f"something is called {name}"))
        else:
            self._outside(sight, name, at)

    def told(self) -> Iterator[Fact | Finding]:
        """What was found."""
        yield from self.other
        for kind, at in self.code.items():
            yield Fact(FactKind.CODE, self.name, at, kind, {"language": "R", "runs": "use"})
        for name, at in self.calls.items():
            yield Fact(FactKind.OPERATOR, self.name, at, name, {"domain": "r", "local": 0})

    def _outside(self, sight: Sight, name: str, at: int) -> None:
        if sight is Sight.ALTERNATIVE and name not in _PLAIN:
            self._tell(found(HOOK, self.name, at, f"a vector of the class {name[:80]!a}"))
        elif sight is Sight.PERSISTENT:
            self._tell(found(HOOK, self.name, at, f"an object that a hook finds by {name[:80]!a}"))
        elif sight is Sight.NAMESPACE and not _NAMESPACE.match(name):
            self._tell(found(HOOK, self.name, at, f"a namespace {name[:80]!a}"))

    def _tell(self, told: Fact | Finding) -> None:
        self.budget.spend("facts")
        self.other.append(told)


READER = RdsReader
