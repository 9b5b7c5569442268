"""Other files that loading reads: they were not scanned with this one, and may lie anywhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import ClassVar

from fastness.core.findings import Finding, Rule, Severity
from fastness.models.scan.facts import FactKind, Facts, found
from fastness.models.scan.rules import MAPS

ESCAPES = Rule(
    "reference-escapes", "It reads a file from outside of its folder", Severity.CRITICAL,
    "Loading it takes any file of the machine into the model, from where answers give it away.",
    "Do not load it. Save the model with its data inside.", {**MAPS, "cwe": "CWE-22"},
)  # fmt: skip
OUTSIDE = Rule(
    "reference-outside", "A part of the model stands in another file", Severity.HIGH,
    "That file is not covered by the digest and the scan of this one; whoever can replace it replaces the model.",
    "Save the model with its data inside (onnx.save with save_as_external_data=False).", {**MAPS, "cwe": "CWE-829"},
)  # fmt: skip

RULES: tuple[Rule, ...] = (ESCAPES, OUTSIDE)

_ROOTED = re.compile(r"[/\\~]|[A-Za-z]:|[A-Za-z][A-Za-z0-9+.-]*://")


@dataclass(frozen=True)
class References:
    """Judges locations as loaders on any system would read them."""

    name: ClassVar[str] = "references"
    wants: ClassVar[AbstractSet[FactKind]] = frozenset({FactKind.REFERENCE})

    def check(self, facts: Facts) -> Iterator[Finding]:
        """One finding for each location."""
        for fact in facts.of(FactKind.REFERENCE):
            shown = ascii(fact.name[:120])
            if facts.present(fact.name):
                continue  # it is scanned with this one
            if _ROOTED.match(fact.name) or ".." in re.split(r"[/\\]", fact.name) or "\0" in fact.name:
                yield found(ESCAPES, fact.source, fact.offset, f"reads {shown}", location=shown)
            else:
                yield found(OUTSIDE, fact.source, fact.offset, f"reads {shown}", location=shown)


CHECK = References
