"""Operators of a graph, by exact domain and name: what the listed ones do not cover runs somebody's code.

The lists are the files `*operators.json` beside this one, one for each family of formats. Each has `about`, `source`,
`domains` (a domain's harmless operators) and, where there are any, `runs_code` (a domain's operators that run code of
the model's choice; `*` stands for all of a domain) and `acts` (those that read or write files, or talk to others). A domain may stand in several files.
"""

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

ACTS = Rule(
    "operator-acts", "An operator that acts on the machine", Severity.HIGH,
    "It reads or writes files, or talks to others, at places that the model names: whoever runs the model runs that.",
    "Export the part of the model that computes, without its input pipeline.", {**MAPS, "cwe": "CWE-73"},
)  # fmt: skip

RULES: tuple[Rule, ...] = (PYTHON, UNKNOWN, ACTS)

DATA = Path(__file__).parent


@dataclass(frozen=True)
class Operators:
    """Judges operators; those that the model defines itself are judged by what they are made of."""

    name: ClassVar[str] = "operators"
    wants: ClassVar[AbstractSet[FactKind]] = frozenset({FactKind.OPERATOR})

    def check(self, facts: Facts) -> Iterator[Finding]:
        """One finding for each operator that is not listed."""
        for fact in facts.of(FactKind.OPERATOR):
            domain = str(fact.detail.get("domain", ""))
            shown = ascii(f"{domain}::{fact.name}"[:120])[1:-1]
            if not {fact.name, "*"}.isdisjoint(running_operators().get(domain, ())):
                yield found(PYTHON, fact.source, fact.offset, f"operator {shown} runs code", operator=shown)
            elif fact.name in acting_operators().get(domain, ()):
                yield found(ACTS, fact.source, fact.offset, f"operator {shown} acts on the machine", operator=shown)
            elif fact.name not in known_operators().get(domain, ()) and not fact.detail.get("local", 0):
                yield found(UNKNOWN, fact.source, fact.offset, f"operator {shown} is not listed", operator=shown)


def known_operators() -> dict[str, frozenset[str]]:
    """The listed operators, by domain; the standard one of ONNX is the empty text."""
    return _listed("domains")


def running_operators() -> dict[str, frozenset[str]]:
    """The operators that run code of the model's choice, by domain."""
    return _listed("runs_code")


def acting_operators() -> dict[str, frozenset[str]]:
    """The operators that read or write files, or talk to others, by domain."""
    return _listed("acts")


@cache
def _listed(part: str) -> dict[str, frozenset[str]]:
    found: dict[str, frozenset[str]] = {}
    for path in sorted(DATA.glob("*operators.json")):
        for domain, names in json.loads(path.read_bytes()).get(part, {}).items():
            found[domain] = found.get(domain, frozenset()) | frozenset(names)
    return found


CHECK = Operators
