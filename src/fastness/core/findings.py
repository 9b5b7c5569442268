"""Findings and verdicts: what was seen, and what follows from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum


class Severity(IntEnum):
    """How bad a finding is. HIGH and above block, MEDIUM asks for a review, lower ones inform."""

    INFO = 0
    LOW = 1
    MEDIUM = 2
    HIGH = 3
    CRITICAL = 4


class Decision(IntEnum):
    """The one enum of outcomes; outcomes combine by the worst."""

    ALLOW = 0
    REVIEW = 1
    DENY = 2


@dataclass(frozen=True, slots=True)
class Rule:
    """A catalogue entry, kept beside the plug-in that raises it.

    Attributes:
        id: stable, kebab-case, prefixed by its owner, such as `pickle-dangerous-call`.
        title: one line, what was found.
        severity: the default severity of its findings.
        why: why it matters.
        fix: what the reader can do.
        maps: references such as {"cwe": "CWE-502", "atlas": "AML.T0010", "owasp-llm": "LLM03"}.
        incomplete: true where a finding means that the subject could not be decided.
    """

    id: str
    title: str
    severity: Severity
    why: str
    fix: str
    maps: Mapping[str, str] = field(default_factory=dict)
    incomplete: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """A fact about something. Evidence never holds a raw secret or personal value.

    Attributes:
        rule: id of the catalogue entry.
        where: path, member and offset, field, or step; for people and for SARIF.
        message: what was found here, in one line.
        evidence: named values that prove it; text, whole numbers or fractions.
    """

    rule: str
    severity: Severity
    where: str
    message: str
    evidence: Mapping[str, str | int | float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A decision with the findings it rests on and, where one exists, a score in [0, 1]."""

    decision: Decision
    findings: tuple[Finding, ...] = ()
    score: float | None = None


ALLOWED = Verdict(Decision.ALLOW)


def decision_of(severity: Severity) -> Decision:
    """The decision that one finding of this severity asks for."""
    if severity >= Severity.HIGH:
        return Decision.DENY
    return Decision.REVIEW if severity == Severity.MEDIUM else Decision.ALLOW


def judge(findings: Iterable[Finding]) -> Verdict:
    """The verdict of a set of findings: the worst one decides."""
    kept = tuple(findings)
    return Verdict(max((decision_of(f.severity) for f in kept), default=Decision.ALLOW), kept)


def combine(verdicts: Iterable[Verdict]) -> Verdict:
    """The worst decision and all findings; of several scores the lowest."""
    kept = tuple(verdicts)
    scores = [v.score for v in kept if v.score is not None]
    return Verdict(
        max((v.decision for v in kept), default=Decision.ALLOW),
        tuple(f for v in kept for f in v.findings),
        min(scores) if scores else None,
    )
