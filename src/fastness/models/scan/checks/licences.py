"""Licences: what they allow is a question for people, so that nothing here decides."""

from __future__ import annotations

import re
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import ClassVar

from fastness.core.findings import Finding, Rule, Severity
from fastness.models.scan.facts import FactKind, Facts, found
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

RULES: tuple[Rule, ...] = (LIMITED, UNKNOWN, CONFLICT)

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


CHECK = Licences
