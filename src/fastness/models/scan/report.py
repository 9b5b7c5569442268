"""What a scan found, as a value, as rows for people and as JSON for machines."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from fastness.core.findings import Decision, Finding, Rule, Severity, Verdict
from fastness.models.scan.catalogue import rule_of

JsonValue = str | int | float | bool | None | list["JsonValue"] | dict[str, "JsonValue"]


class Outcome(StrEnum):
    """How a scan shows its verdict; an incomplete one is a denial of its own kind."""

    PASS = "pass"  # noqa: S105 - no password
    REVIEW = "review"
    INCOMPLETE = "incomplete"
    BLOCK = "block"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table for people."""

    severity: Severity
    rule: str
    where: str
    message: str
    fix: str


@dataclass(frozen=True, slots=True)
class Waived:
    """A finding that somebody answers for.

    Attributes:
        by: who signed it, as they call themselves.
        keyid: of the trusted key that signed it.
        until: RFC 3339.
    """

    finding: Finding
    by: str
    keyid: str
    until: str
    reason: str


@dataclass(frozen=True, slots=True)
class Report:
    """The scan of one file.

    Attributes:
        name: of the source, as it was given.
        size: bytes.
        formats: names of the readers that claimed it or a member of it.
        verdict: ALLOW only where every byte is accounted for and nothing is unknown.
        explained_bytes: how many of `size` the best reading accounts for.
        dropped: findings beyond the number kept of one rule; they add nothing to the verdict.
        digest: of the bytes that were scanned; empty where nobody took it.
        isolation: `sandbox` or `limits`, see `Scanner`; empty where the scan ran in the process that asked.
        waived: findings that a signed waiver takes out of the verdict, with the waiver.
        contents: what a bill of materials lists: `package` or `licence`, its name, and the ecosystem and version asked for.
    """

    name: str
    size: int
    formats: tuple[str, ...]
    verdict: Verdict
    explained_bytes: int
    dropped: int = 0
    digest: str = ""
    isolation: str = ""
    waived: tuple[Waived, ...] = ()
    contents: tuple[tuple[str, str, str], ...] = ()

    @property
    def outcome(self) -> Outcome:
        """The verdict in the words of a scan: block wins over incomplete, for it says more."""
        if self.verdict.decision is Decision.ALLOW:
            return Outcome.PASS
        if self.verdict.decision is Decision.REVIEW:
            return Outcome.REVIEW
        blocking = (f for f in self.verdict.findings if f.severity >= Severity.HIGH)
        return Outcome.INCOMPLETE if all(rule_of(f.rule).incomplete for f in blocking) else Outcome.BLOCK

    def table(self) -> tuple[Row, ...]:
        """The findings as rows, worst first."""
        return tuple(Row(f.severity, f.rule, f.where, f.message, rule_of(f.rule).fix) for f in self.verdict.findings)


def to_json(reports: Iterable[Report], notes: Iterable[str] = ()) -> dict[str, JsonValue]:
    """The reports as one JSON document; `verdict` is pass, review, incomplete or block.

    Args:
        notes: what else must be said, such as waivers that do not count.
    """
    rows = [_report(report) for report in reports]
    return {"schema": "fastness.scan/1", "reports": list(rows), "notes": list(notes)}


def _report(report: Report) -> dict[str, JsonValue]:
    return {
        "name": report.name,
        "size": report.size,
        "digest": report.digest,
        "formats": list(report.formats),
        "verdict": report.outcome.value,
        "explained_bytes": report.explained_bytes,
        "dropped_findings": report.dropped,
        "isolation": report.isolation,
        "findings": [_finding(finding, rule_of(finding.rule)) for finding in report.verdict.findings],
        "waived": [_waived(one) for one in report.waived],
        "contents": [{"kind": kind, "name": name, "about": about} for kind, name, about in report.contents],
    }


def _finding(finding: Finding, rule: Rule) -> dict[str, JsonValue]:
    return {
        "rule": finding.rule,
        "severity": finding.severity.name.lower(),
        "where": finding.where,
        "message": finding.message,
        "fix": rule.fix,
        "evidence": dict(finding.evidence),
    }


def _waived(one: Waived) -> dict[str, JsonValue]:
    about: dict[str, JsonValue] = {"by": one.by, "key": one.keyid, "until": one.until, "reason": one.reason}
    return {**_finding(one.finding, rule_of(one.finding.rule)), "waiver": about}
