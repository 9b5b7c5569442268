"""Programs that stand in a model, or beside it."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import ClassVar

from fastness.core.findings import Finding, Rule, Severity
from fastness.models.scan.facts import Fact, FactKind, Facts, found
from fastness.models.scan.programs import Sort
from fastness.models.scan.rules import MAPS

_MAPS = {**MAPS, "atlas": "AML.T0011", "cwe": "CWE-506"}
HIDDEN = Rule(
    "executable-hidden", "A program within the data of a model", Severity.HIGH,
    "Weights are numbers. A program among them is there to be cut out and started by something else.",
    "Do not use this model, and tell where it came from. A model trained again has no such bytes.", _MAPS,
)  # fmt: skip
NATIVE = Rule(
    "executable-native", "A program or library for a processor", Severity.HIGH,
    "It does whatever it likes with the rights of whoever starts it, or of the process that loads it; it cannot be read here.",
    "Remove it. If the model needs a library, install that from where its makers publish it.", _MAPS,
)  # fmt: skip
MANAGED = Rule(
    "executable-managed", "A program for a virtual machine", Severity.MEDIUM,
    "It runs with the rights of whoever starts it, and was not read here.",
    "Remove it, or have it reviewed.", _MAPS,
)  # fmt: skip
SCRIPT = Rule(
    "executable-script", "A script beside the model", Severity.MEDIUM,
    "It runs with the rights of whoever starts it; people run what a model's folder tells them to.",
    "Read it. Remove it if using the model does not need it.", _MAPS,
)  # fmt: skip
CARRIER = Rule(
    "executable-carrier", "A program that brings its model along", Severity.MEDIUM,
    "The model is inside a program: to use it so is to run that.",
    "Take the weights out of it (a llamafile is a zip archive with a GGUF file inside), and use those.", _MAPS,
)  # fmt: skip
DEVICE = Rule(
    "executable-device", "Code for an accelerator", Severity.INFO,
    "Compiled kernels belong to models that were built for one device; they reach its memory only.",
    "Nothing, if the model was compiled for a device.", MAPS,
)  # fmt: skip

RULES: tuple[Rule, ...] = (HIDDEN, NATIVE, MANAGED, SCRIPT, CARRIER, DEVICE)

_OF_FILES = {
    Sort.NATIVE: NATIVE, Sort.MANAGED: MANAGED, Sort.SCRIPT: SCRIPT, Sort.CARRIER: CARRIER, Sort.DEVICE: DEVICE,
}  # fmt: skip


@dataclass(frozen=True)
class Executables:
    """Judges by what a program is made for, and whether it is a file or hides in one."""

    name: ClassVar[str] = "executables"
    wants: ClassVar[AbstractSet[FactKind]] = frozenset({FactKind.EXECUTABLE})

    def check(self, facts: Facts) -> Iterator[Finding]:
        """One finding for each program."""
        for fact in facts.of(FactKind.EXECUTABLE):
            yield found(_rule(fact), fact.source, fact.offset, ascii(fact.name[:80])[1:-1])


def _rule(fact: Fact) -> Rule:
    """A fact that does not say what its program is made for is taken for the worst."""
    named = str(fact.detail.get("sort", ""))
    sort = Sort(named) if named in set(Sort) else Sort.NATIVE
    if sort is Sort.DEVICE:
        return DEVICE
    return HIDDEN if fact.detail.get("embedded") else _OF_FILES[sort]


CHECK = Executables
