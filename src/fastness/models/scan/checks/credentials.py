"""Credentials that were saved with a model."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import ClassVar

from fastness.core.findings import Finding, Rule, Severity
from fastness.models.scan.facts import FactKind, Facts, found

CREDENTIAL = Rule(
    "credential-in-model", "A credential stands in the model", Severity.MEDIUM,
    "Everybody who gets the model gets the credential, and it stays in every copy.",
    "Revoke the credential, then save the model without it.",
    {"owasp-llm": "LLM02:2025", "atlas": "AML.T0055", "cwe": "CWE-798"},
)  # fmt: skip

RULES: tuple[Rule, ...] = (CREDENTIAL,)


@dataclass(frozen=True)
class Credentials:
    """Tells the kind and place of each credential, never the credential."""

    name: ClassVar[str] = "credentials"
    wants: ClassVar[AbstractSet[FactKind]] = frozenset({FactKind.CREDENTIAL})

    def check(self, facts: Facts) -> Iterator[Finding]:
        """One finding for each."""
        for fact in facts.of(FactKind.CREDENTIAL):
            yield found(CREDENTIAL, fact.source, fact.offset, f"what looks like a {fact.name}", kind=fact.name)


CHECK = Credentials
