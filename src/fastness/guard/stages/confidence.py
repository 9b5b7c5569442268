"""Refuse replies of which the model itself is not confident enough.

The score is the lowest, over the rows, of the highest class probability. A model that is confidently wrong passes, and
probabilities that were never calibrated mean less than they seem to; calibration is the owner's work.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fastness.core.findings import ALLOWED, Decision, Finding, Rule, Severity, Verdict
from fastness.guard.frame import PASSED, Checked, Fact, Message, Side

RULES = (
    Rule(
        "confidence-low",
        "The model is not confident enough of its reply",
        Severity.HIGH,
        "Below the declared confidence the owner of the model does not vouch for its replies.",
        "Have a person decide this case, or check that the input is of the kind the model was trained on.",
        {"nist-ai-rmf": "MEASURE 2.5"},
    ),
    Rule(
        "confidence-unknown",
        "The confidence of the reply cannot be told",
        Severity.HIGH,
        "A floor is declared, but what is declared as probabilities is none.",
        "Declare the output that holds the class probabilities (batch, classes), or no floor.",
        {"nist-ai-rmf": "MEASURE 2.5"},
        incomplete=True,
    ),
)


@dataclass(frozen=True)
class Confidence:
    """Output stage; its floor is the model's `min_confidence`, 0 being off."""

    name: ClassVar[str] = "confidence"
    side: ClassVar[Side] = Side.OUTPUT
    needs: ClassVar[frozenset[str]] = frozenset()

    def check(self, message: Message, _known: Mapping[str, Fact], /) -> Checked:
        """Score the reply by its least confident row."""
        signature = message.signature
        if not signature.min_confidence:
            return PASSED
        tensor = message.tensors.get(signature.probabilities)
        if tensor is None or tensor.ndim != 2 or not tensor.size or tensor.dtype.kind != "f":
            text = "the reply holds no class probabilities of shape (batch, classes)"
            return Checked(Verdict(Decision.DENY, (Finding("confidence-unknown", Severity.HIGH, "message", text),)))
        rows = np.maximum.reduce(tensor, axis=1)
        score = float(np.minimum.reduce(rows))
        if score >= signature.min_confidence:  # false for NaN, which is refused
            return Checked(Verdict(ALLOWED.decision, (), min(score, 1.0)))
        row = int(np.argmin(rows))
        text = f"row {row} is less confident than the declared {signature.min_confidence:g}"
        finding = Finding("confidence-low", Severity.HIGH, f"{signature.probabilities}[{row}]", text)
        return Checked(Verdict(Decision.DENY, (finding,), None if np.isnan(score) else max(score, 0.0)))


STAGE = Confidence
