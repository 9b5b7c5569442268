"""Classes and functions that a configuration names and a loader looks up, by exact name and vocabulary.

A vocabulary is a data file in the folder beside this module: what it lists as allowed passes, what it lists as dangerous
blocks, and so does a dotted name that leads to a function which the reviewed data of pickles calls dangerous. All others
are for review, and so is every name of a vocabulary that nobody has written yet.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import ClassVar

from fastness.core.findings import Finding, Rule, Severity
from fastness.models.scan.facts import FactKind, Facts, found
from fastness.models.scan.machine import Standing, catalogue
from fastness.models.scan.rules import MAPS

DANGEROUS = Rule(
    "class-dangerous", "A configuration names something dangerous", Severity.HIGH,
    "The loader looks the name up and calls what it finds, with values from the same file.",
    "Do not load it. Configurations name layers and data classes, never functions that act on the machine.",
    {**MAPS, "cwe": "CWE-470", "atlas": "AML.T0011.000"},
)  # fmt: skip
UNKNOWN = Rule(
    "class-unknown", "A configuration names a class that is not reviewed", Severity.MEDIUM,
    "The loader looks the name up and calls what it finds; what that does is not known here.",
    "Look at what the class does, and have a second person confirm it.", {**MAPS, "cwe": "CWE-470"},
)  # fmt: skip

RULES: tuple[Rule, ...] = (DANGEROUS, UNKNOWN)

FOLDER = Path(__file__).with_name("classes")
_LONGEST_NAME = 2000
_MOST_PARTS = 16


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The reviewed names of one kind of configuration, with the reasons of the dangerous ones."""

    allowed: frozenset[str] = frozenset()
    dangerous: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Classes:
    """Judges names that are looked up."""

    name: ClassVar[str] = "classes"
    wants: ClassVar[AbstractSet[FactKind]] = frozenset({FactKind.CLASS})

    def check(self, facts: Facts) -> Iterator[Finding]:
        """One finding for each name that is not allowed."""
        for fact in facts.of(FactKind.CLASS):
            whose = str(fact.detail.get("vocabulary", ""))
            known = vocabulary(whose)
            shown = ascii(fact.name[:120])
            if fact.name in known.dangerous:
                why = known.dangerous[fact.name]
                yield found(DANGEROUS, fact.source, fact.offset, f"{whose[:40]} names {shown}: {why}", name=shown)
            elif fact.name in known.allowed:
                continue
            elif leads_to_danger(fact.name):
                yield found(DANGEROUS, fact.source, fact.offset, f"{whose[:40]} names {shown}", name=shown)
            elif fact.detail.get("only") != "dangerous":
                yield found(UNKNOWN, fact.source, fact.offset, f"{whose[:40]} names {shown}", name=shown)


def leads_to_danger(name: str) -> bool:
    """Whether a name such as `a.b.c` or `a.b:c` is that of a dangerous function, or walks through a module to one."""
    parts = name[:_LONGEST_NAME].replace(":", ".").split(".")
    if len(parts) < 2:
        parts = ["builtins", *parts]
    parts = parts[-_MOST_PARTS:]
    listed = catalogue()
    return any(
        listed.standing_of(".".join(parts[:at]), ".".join(parts[at:])) is Standing.DANGEROUS
        for at in range(1, len(parts))
    )


@cache
def names() -> frozenset[str]:
    """The vocabularies that there are."""
    return frozenset(path.stem for path in FOLDER.glob("*.json"))


@cache
def vocabulary(name: str) -> Vocabulary:
    """The one of that name; one without names where there is none."""
    if name not in names():
        return Vocabulary()
    return _vocabulary(json.loads((FOLDER / f"{name}.json").read_bytes()))


def _vocabulary(tree: dict[str, list[dict[str, list[str]]]]) -> Vocabulary:
    allowed = frozenset(name for group in tree["allowed"] for name in group["names"])
    dangerous = {name: str(group["why"]) for group in tree.get("dangerous", ()) for name in group["names"]}
    return Vocabulary(allowed, dangerous)


CHECK = Classes
