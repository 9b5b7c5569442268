"""Reports as SARIF 2.1.0.

Source: OASIS, "Static Analysis Results Interchange Format Version 2.1.0", 2020; sections 3.19 (tool component), 3.27
(result), 3.30 (region, by byte offset), 3.27.17 (partial fingerprints), 3.24
(artifact, with hashes), 3.35 (suppression).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from urllib.parse import quote

from fastness import __version__
from fastness.core.findings import Finding, Rule, Severity
from fastness.models.scan.catalogue import rules
from fastness.models.scan.report import JsonValue, Report, Waived

_LEVELS = {
    Severity.INFO: "note",
    Severity.LOW: "note",
    Severity.MEDIUM: "warning",
    Severity.HIGH: "error",
    Severity.CRITICAL: "error",
}
# GitHub's code scanning sorts by this number: above 9 critical, above 7 high, above 4 medium.
_SECURITY_SEVERITY = {
    Severity.INFO: "0.0",
    Severity.LOW: "3.0",
    Severity.MEDIUM: "5.5",
    Severity.HIGH: "8.0",
    Severity.CRITICAL: "9.5",
}


def to_sarif(reports: Iterable[Report]) -> dict[str, JsonValue]:
    """The reports as one SARIF run. A finding keeps its fingerprint when bytes before it move."""
    catalogue = rules()
    index = {rule.id: at for at, rule in enumerate(catalogue)}
    results: list[JsonValue] = []
    artifacts: list[JsonValue] = []
    for report in reports:
        artifacts.append(_artifact(report))
        times: Counter[str] = Counter()
        for finding in report.verdict.findings:
            print_ = _fingerprint(report, finding, times)
            results.append({**_result(report, finding, len(artifacts) - 1, print_), "ruleIndex": index[finding.rule]})
        for one in report.waived:
            print_ = _fingerprint(report, one.finding, times)
            result = _result(report, one.finding, len(artifacts) - 1, print_)
            results.append({**result, "ruleIndex": index[one.finding.rule], "suppressions": [_suppression(one)]})
    driver: dict[str, JsonValue] = {
        "name": "Fastness",
        "semanticVersion": __version__,
        "rules": [_rule(rule) for rule in catalogue],
    }
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {"tool": {"driver": driver}, "artifacts": artifacts, "results": results, "columnKind": "utf16CodeUnits"}
        ],
    }


def _rule(rule: Rule) -> dict[str, JsonValue]:
    return {
        "id": rule.id,
        "name": "".join(word.capitalize() for word in rule.id.split("-")),
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": rule.why},
        "help": {"text": rule.fix},
        "defaultConfiguration": {"level": _LEVELS[rule.severity]},
        "properties": {
            "security-severity": _SECURITY_SEVERITY[rule.severity],
            "tags": ["security", *(f"external/{kind}/{value}" for kind, value in sorted(rule.maps.items()))],
        },
    }


def _artifact(report: Report) -> dict[str, JsonValue]:
    shown: dict[str, JsonValue] = {
        "location": {"uri": _uri(report)},
        "length": report.size,
        "properties": {"verdict": report.outcome.value, "formats": list(report.formats), "isolation": report.isolation},
    }
    if report.digest:
        shown["hashes"] = {"sha-256": report.digest.removeprefix("sha256:")}
    return shown


def _result(report: Report, finding: Finding, artifact: int, fingerprint: str) -> dict[str, JsonValue]:
    location: dict[str, JsonValue] = {"uri": _uri(report), "index": artifact}
    physical: dict[str, JsonValue] = {"artifactLocation": location}
    offset, member = finding.evidence.get("offset"), finding.where.rpartition("@")[0]
    inside = member != report.name
    if isinstance(offset, int) and offset >= 0 and not inside:
        physical["region"] = {"byteOffset": offset, "byteLength": 1}
    else:  # the whole: the offset of a file within is one of that file
        physical["region"] = {"byteOffset": 0, "byteLength": report.size}
    result: dict[str, JsonValue] = {
        "ruleId": finding.rule,
        "level": _LEVELS[finding.severity],
        "message": {"text": finding.message},
        "locations": [{"physicalLocation": physical, "logicalLocations": [{"fullyQualifiedName": finding.where}]}],
        "partialFingerprints": {"fastness/v1": fingerprint},
        "properties": {"verdict": report.outcome.value},
    }
    if inside:
        result["relatedLocations"] = [
            {
                "id": 1,
                "message": {"text": "the file within, with the offset in it"},
                "logicalLocations": [{"fullyQualifiedName": member, "kind": "resource"}],
                "properties": {"offset": offset if isinstance(offset, int) else 0},
            }
        ]
    return result


def _suppression(one: Waived) -> dict[str, JsonValue]:
    justification = f"waived by {one.by} until {one.until}: {one.reason}"
    return {"kind": "external", "status": "accepted", "justification": justification, "properties": {"key": one.keyid}}


def _uri(report: Report) -> str:
    return quote(report.name.lstrip("/"), errors="surrogateescape")


def _fingerprint(report: Report, finding: Finding, times: Counter[str]) -> str:
    """Rule, member and subject, and the how manieth of its kind; offsets are left out, for they move."""
    member = finding.where.rpartition("@")[0].removeprefix(report.name)
    subject = "\0".join(f"{k}={v}" for k, v in sorted(finding.evidence.items()) if k not in {"offset", "chain"})
    key = f"{finding.rule}\0{report.name}\0{member}\0{subject}"
    times[key] += 1
    return hashlib.sha256(f"{key}\0{times[key]}".encode("utf-8", "surrogateescape")).hexdigest()
