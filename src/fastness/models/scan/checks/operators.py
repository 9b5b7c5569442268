"""Operators of a graph, by exact domain and name: what the listed ones do not cover runs somebody's code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import ClassVar

from fastness.core.findings import Finding, Rule, Severity
from fastness.models.scan.facts import FactKind, Facts, found
from fastness.models.scan.rules import MAPS

PYTHON = Rule(
    "operator-runs-code", "An operator that runs code of the model's choice", Severity.HIGH,
    "It calls Python, or loads a compiled part that the model names.",
    "Export the model with standard operators only.", {**MAPS, "cwe": "CWE-94", "atlas": "AML.T0011.000"},
)  # fmt: skip
UNKNOWN = Rule(
    "operator-unknown", "An operator that is not listed", Severity.MEDIUM,
    "It needs a library that the model's user must load, and which then runs with their rights.",
    "Find out which library it belongs to, or export the model with standard operators only.", MAPS,
)  # fmt: skip

RULES: tuple[Rule, ...] = (PYTHON, UNKNOWN)

DATA = Path(__file__).with_name("operators.json")
_RUN_CODE = frozenset(
    {
        ("ai.onnx.contrib", "PyOp"),
        ("ai.onnx.contrib", "PyCustomOp"),
        ("com.microsoft", "PythonOp"),
        ("com.microsoft", "PythonOpGrad"),
        ("com.microsoft", "EPContext"),
        ("com.microsoft", "Snpe"),
        ("org.pytorch.aten", "ATen"),
    }
)


@dataclass(frozen=True)
class Operators:
    """Judges operators; those that the model defines itself are judged by what they are made of."""

    name: ClassVar[str] = "operators"
    wants: ClassVar[AbstractSet[FactKind]] = frozenset({FactKind.OPERATOR})

    def check(self, facts: Facts) -> Iterator[Finding]:
        """One finding for each operator that is not listed."""
        for fact in facts.of(FactKind.OPERATOR):
            domain = str(fact.detail["domain"])
            shown = ascii(f"{domain}::{fact.name}"[:120])[1:-1]
            if (domain, fact.name) in _RUN_CODE:
                yield found(PYTHON, fact.source, fact.offset, f"operator {shown} runs code", operator=shown)
            elif fact.name not in known_operators().get(domain, ()) and not fact.detail["local"]:
                yield found(UNKNOWN, fact.source, fact.offset, f"operator {shown} is not listed", operator=shown)


@cache
def known_operators() -> dict[str, frozenset[str]]:
    """The listed operators, by domain; the standard one is the empty text."""
    tree = json.loads(DATA.read_bytes())
    return {domain: frozenset(names) for domain, names in tree["domains"].items()}


CHECK = Operators
