"""Refuse messages whose tensors are not exactly those that the model declares, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from fastness.core.findings import Finding, Rule, Severity, judge
from fastness.guard.frame import PASSED, Checked, Fact, Message, Side

RULES = (
    Rule(
        "tensor-name",
        "Tensors are missing, or not declared",
        Severity.HIGH,
        "A model given other inputs than it declares answers something else, or fails.",
        "Send each declared tensor once, by its name; GET /v2/models/NAME lists them.",
        {"cwe": "CWE-20"},
    ),
)


@dataclass(frozen=True)
class Schema:
    """Stage of both sides; without settings."""

    name: ClassVar[str] = "schema"
    side: ClassVar[Side] = Side.BOTH
    needs: ClassVar[frozenset[str]] = frozenset()

    def check(self, message: Message, _known: Mapping[str, Fact], /) -> Checked:
        """Judge the names; the order does not matter."""
        specs, tensors = message.specs, message.tensors
        here = 0
        for spec in specs:
            if spec.name in tensors:
                here += 1
        if here == len(specs) == len(tensors):
            return PASSED
        declared = [spec.name for spec in specs]
        missing = [name for name in declared if name not in message.tensors]
        extra = [name for name in message.tensors if name not in declared]
        found = [_finding(name, "is missing", declared) for name in missing]
        found += [_finding(name[:80], "is not declared", declared) for name in extra]
        return Checked(judge(found))


def _finding(name: str, what: str, declared: list[str]) -> Finding:
    text = f"tensor {name!r} {what}; declared are: {', '.join(declared)}"
    return Finding("tensor-name", Severity.HIGH, name, text)


STAGE = Schema
