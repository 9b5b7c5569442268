"""Licences: what they allow is a question for people, so that nothing here decides."""

from __future__ import annotations

import re
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import ClassVar

from fastness.core.findings import Finding, Rule, Severity
from fastness.models.scan.facts import Fact, FactKind, Facts, found
from fastness.models.scan.rules import MAPS

LIMITED = Rule(
    "licence-limited", "A licence that limits the use", Severity.LOW,
    "It forbids commercial use, or names uses that it does not allow.", "Read it before the model is used.", MAPS,
)  # fmt: skip
UNKNOWN = Rule(
    "licence-unknown", "A licence that is not known here", Severity.INFO,
    "What it allows is not known.", "Read it before the model is used.", MAPS,
)  # fmt: skip
CONFLICT = Rule(
    "licence-conflict", "Licences that differ", Severity.LOW,
    "Two statements about the same model do not agree; which one holds is for a court.",
    "Ask the makers of the model.", MAPS,
)  # fmt: skip

BINDS = Rule(
    "licence-binds-more", "A part under a licence that binds more than the model's", Severity.MEDIUM,
    "The card promises a free licence, and another file of the model is under one that forbids commercial use or asks for its source.",
    "Ask the makers of the model, or leave the part out.", MAPS,
)  # fmt: skip

RULES: tuple[Rule, ...] = (LIMITED, UNKNOWN, CONFLICT, BINDS)

_BINDING = re.compile(r"a?gpl(?:-|$)|.*(?:^|[-_ ])nc(?:$|[-_ ])|.*non-?commercial|sspl|busl|research")
_PERMISSIVE = re.compile(r"mit|apache|bsd|isc|cc0|unlicense|0bsd|zlib|cc-by-[0-9]|pddl|odc-by|wtfpl|afl|ncsa")

_LIMITED = re.compile(
    r"(?:^|[-_ ])nc(?:$|[-_ ])|non-?commercial|openrail|\brail\b|llama|gemma|research|deepfloyd|other\b|community|fair-noncommercial",
    re.IGNORECASE,
)
_FREE = {
    "0bsd", "afl-3.0", "agpl-3.0", "apache-2.0", "artistic-2.0", "blueoak-1.0.0", "bsd", "bsd-2-clause", "bsd-3-clause", "bsd-3-clause-clear",
    "bsl-1.0", "c-uda", "cc", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc0-1.0", "cdla-permissive-1.0",
    "cdla-permissive-2.0", "cdla-sharing-1.0", "ecl-2.0", "epl-1.0", "epl-2.0", "eupl-1.1", "eupl-1.2", "gfdl", "gpl", "gpl-2.0", "gpl-3.0",
    "isc", "lgpl", "lgpl-2.1", "lgpl-3.0", "mit", "mpl-2.0", "ms-pl", "ncsa", "odbl", "odc-by", "ofl-1.1", "osl-3.0", "pddl", "postgresql",
    "unlicense", "wtfpl", "zlib",
}  # fmt: skip


@dataclass(frozen=True)
class Licences:
    """Notes about licences."""

    name: ClassVar[str] = "licences"
    wants: ClassVar[AbstractSet[FactKind]] = frozenset({FactKind.LICENCE})

    def check(self, facts: Facts) -> Iterator[Finding]:
        """A note for each licence that limits or is not known, and one where two differ."""
        between = [fact for fact in facts.of(FactKind.LICENCE) if "of" in fact.detail]
        if between:  # those of several files, which were told one by one
            yield from _between(between)
            return
        stated = {fact.name.strip().lower(): fact for fact in facts.of(FactKind.LICENCE)}
        for name, fact in stated.items():
            if name in _FREE:
                continue
            rule = LIMITED if _LIMITED.search(name) and name != "other" else UNKNOWN
            yield found(rule, fact.source, fact.offset, f"{name[:80]!a}")
        if len(stated) > 1:
            first = next(iter(stated.values()))
            named = ", ".join(f"{name[:40]!a}" for name in list(stated)[:5])
            yield found(CONFLICT, first.source, first.offset, named)


def _between(facts: list[Fact]) -> Iterator[Finding]:
    """Where the card, the licence and the heads of the code of one model do not agree; `of` says which file states it."""
    cards = [fact for fact in facts if fact.detail["stands"] == "front"]
    others = [fact for fact in facts if fact.detail["stands"] != "front" and fact.name != "other"]
    for stated in cards or others[:1]:
        for other in others:
            if other is stated or _agree(stated.name, other.name) or any(_agree(one.name, other.name) for one in cards):
                continue
            binds = _PERMISSIVE.match(stated.name) and _BINDING.match(other.name)
            message = f"{stated.name[:40]!a} in {str(stated.detail['of'])[-60:]!a}, {other.name[:40]!a} in {str(other.detail['of'])[-60:]!a}"
            yield found(BINDS if binds else CONFLICT, stated.source, 0, message)


def _agree(left: str, right: str) -> bool:
    """Whether two names are of one licence, as far as texts tell its version; a licence that is not known agrees with all."""
    if {left, right} & {"other", "unknown", "", "proprietary"}:
        return True
    left, right = (name.replace("creativeml-", "").replace("bigscience-", "") for name in (left, right))
    return left.startswith(right) or right.startswith(left) or (left[:3] == right[:3] == "bsd")


CHECK = Licences
