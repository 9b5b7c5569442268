"""What the house signs about a version, and how it is read back: scan report and report card as JSON.

Their digests stand in the manifest, so that a statement cannot be exchanged for another of the same version.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
import rfc8785

from fastness.core.digests import Digest
from fastness.core.errors import Corrupt, Invalid
from fastness.core.findings import Decision, Finding, Severity
from fastness.foundation.crypto import Statement
from fastness.models.assess import Measure
from fastness.models.scan import Report

RecordT = TypeVar("RecordT", bound=msgspec.Struct)


class FindingEntry(msgspec.Struct, frozen=True):
    """A finding as it is signed."""

    rule: str
    severity: str
    where: str
    message: str
    evidence: dict[str, str | int | float] = {}


class ScanRecord(msgspec.Struct, frozen=True):
    """A scan report as it is signed.

    Attributes:
        explained_bytes: how many of the bytes some reader accounted for.
    """

    decision: str
    formats: tuple[str, ...]
    size: int
    explained_bytes: int
    findings: tuple[FindingEntry, ...]


class BehaviourRecord(msgspec.Struct, frozen=True):
    """A report card as it is signed."""

    loader: str
    measures: tuple[Measure, ...]


def scan_record(report: Report) -> ScanRecord:
    """`report` for signing."""
    return ScanRecord(
        report.verdict.decision.name.lower(),
        tuple(report.formats),
        report.size,
        report.explained_bytes,
        tuple(_entry(finding) for finding in report.verdict.findings),
    )


def passes(record: ScanRecord) -> bool:
    """Whether the scan let the artifact through."""
    return record.decision == Decision.ALLOW.name.lower()


def findings_of(record: ScanRecord) -> tuple[Finding, ...]:
    """The findings of a signed report."""
    return tuple(Finding(f.rule, Severity[f.severity.upper()], f.where, f.message, f.evidence) for f in record.findings)


def predicate_of(record: msgspec.Struct) -> dict[str, Any]:
    """The record as a predicate."""
    builtins: dict[str, Any] = msgspec.to_builtins(record)
    return builtins


def read_predicate(said: Statement | None, expected: Digest | str, kind: type[RecordT]) -> RecordT:
    """The record in a verified statement, if it is the one that the manifest names.

    Raises:
        Corrupt: it is missing, another, or not such a record.
    """
    if said is None:
        raise Corrupt("attestation-missing", "a signed statement that the manifest names is missing")
    if digest_json(said.predicate) != expected:
        raise Corrupt("attestation-exchanged", "a signed statement is not the one that the manifest names")
    try:
        return msgspec.convert(dict(said.predicate), kind)
    except msgspec.ValidationError as error:
        raise Corrupt("attestation-unreadable", "a signed statement does not hold what it should") from error


def digest_json(value: Mapping[str, Any]) -> Digest:
    """SHA-256 of the value's RFC 8785 JSON.

    Raises:
        Invalid: it holds a number or text that JSON does not.
    """
    try:
        return Digest(f"sha256:{hashlib.sha256(rfc8785.dumps(dict(value))).hexdigest()}")
    except (rfc8785.CanonicalizationError, UnicodeEncodeError) as error:
        raise Invalid("statement-unwritable", "a report holds a number or text that JSON does not") from error


def _entry(finding: Finding) -> FindingEntry:
    evidence = dict(finding.evidence)
    return FindingEntry(finding.rule, finding.severity.name.lower(), finding.where, finding.message, evidence)
