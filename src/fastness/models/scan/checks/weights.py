"""Weights worth a note. None of these decides: honest models have them too, if seldom."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import ClassVar

from fastness.core.findings import Finding, Rule, Severity
from fastness.models.scan.facts import FactKind, Facts, found
from fastness.models.scan.rules import MAPS

NOT_NUMBERS = Rule(
    "weights-not-numbers", "Weights that are infinite or no number", Severity.LOW,
    "Training went wrong, or the file was damaged; answers of the model may be no numbers either.",
    "Compare the model's answers with those of its makers.", {**MAPS, "cwe": "CWE-20"},
)  # fmt: skip
LOW_BITS = Rule(
    "weights-low-bits", "Low bits of weights that hold text", Severity.LOW,
    "The low bits of trained weights are as good as random. Something was written there, and can be read out again.",
    "Round the weights to a narrower type, which removes it, or find out what it is.", {**MAPS, "cwe": "CWE-506"},
)  # fmt: skip
WIDE = Rule(
    "weights-wide", "Large weights of an unusual type", Severity.INFO,
    "Networks are trained in narrower types; the bits beyond them can hold anything.",
    "Nothing, if the model was trained in this type.", MAPS,
)  # fmt: skip

RULES: tuple[Rule, ...] = (NOT_NUMBERS, LOW_BITS, WIDE)

_ODD = {"not-numbers": NOT_NUMBERS, "low-bits": LOW_BITS, "wide": WIDE}


@dataclass(frozen=True)
class Weights:
    """Tells each kind of oddity."""

    name: ClassVar[str] = "weights"
    wants: ClassVar[AbstractSet[FactKind]] = frozenset({FactKind.WEIGHTS})

    def check(self, facts: Facts) -> Iterator[Finding]:
        """One finding for each tensor and kind."""
        for fact in facts.of(FactKind.WEIGHTS):
            rule = _ODD.get(str(fact.detail.get("odd", "")))
            if rule is not None:
                message = f"tensor {fact.name[:80]!a}: {str(fact.detail.get('about', ''))[:80]!a}"
                yield found(rule, fact.source, fact.offset, message)


CHECK = Weights
