"""Reports as a CycloneDX 1.6 bill of materials: files and packages as components, findings as vulnerabilities.

What it misses: what a model was trained on and how it behaves is not in its file, so no model card is claimed.

Source: ECMA-424, "CycloneDX Bill of Materials Specification", 2024 (version 1.6), and its JSON schema bom-1.6.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from urllib.parse import quote

from fastness import __version__
from fastness.core.clock import Instant, rfc3339
from fastness.core.findings import Finding, Severity
from fastness.models.scan.catalogue import rule_of
from fastness.models.scan.report import JsonValue, Outcome, Report, Waived

_RATING = {
    Severity.INFO: "info", Severity.LOW: "low", Severity.MEDIUM: "medium", Severity.HIGH: "high",
    Severity.CRITICAL: "critical",
}  # fmt: skip
_OURS: dict[str, JsonValue] = {"name": "Fastness"}
# Files of these formats are packaging or text, not a model by themselves.
_NO_MODEL = {"json", "yaml", "text", "markdown", "tokenizer", "executable", "requirements", "toml"}


def to_cyclonedx(reports: Iterable[Report], now: Instant) -> dict[str, JsonValue]:
    """The reports as one bill of materials. The serial number follows from what was scanned and found."""
    kept = list(reports)
    components: list[JsonValue] = []
    vulnerabilities: list[JsonValue] = []
    packages: dict[str, JsonValue] = {}
    for number, report in enumerate(kept):
        ref = f"file-{number}"
        components.append(_component(report, ref))
        packages |= {f"package-{_short(about)}": _package(about) for about in report.contents if about[0] == "package"}
        vulnerabilities += [_vulnerability(f, ref, f"{ref}-{at}") for at, f in enumerate(report.verdict.findings)]
        vulnerabilities += [_accepted(one, ref, f"{ref}-waived-{at}") for at, one in enumerate(report.waived)]
    for ref, package in packages.items():
        if isinstance(package, dict):
            components.append({"bom-ref": ref, **package})
    tool: dict[str, JsonValue] = {"type": "application", "name": "fastness", "version": __version__}
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": _serial(kept),
        "version": 1,
        "metadata": {"timestamp": rfc3339(now), "tools": {"components": [tool]}},
        "components": components,
        "dependencies": [_depends(report, f"file-{number}") for number, report in enumerate(kept)],
        "vulnerabilities": vulnerabilities,
    }


def _component(report: Report, ref: str) -> dict[str, JsonValue]:
    model = bool(report.formats) and not set(report.formats) <= _NO_MODEL
    properties: list[JsonValue] = [
        {"name": "fastness:verdict", "value": report.outcome.value},
        {"name": "fastness:size", "value": str(report.size)},
        *[dict[str, JsonValue]({"name": "fastness:format", "value": name}) for name in report.formats],
    ]
    component: dict[str, JsonValue] = {
        "type": "machine-learning-model" if model else "file",
        "bom-ref": ref,
        "name": report.name,
        "properties": properties,
    }
    if report.digest:
        component["hashes"] = [{"alg": "SHA-256", "content": report.digest.removeprefix("sha256:")}]
    licences = dict.fromkeys(name for kind, name, _ in report.contents if kind == "licence" and name)
    if licences:
        component["licenses"] = [{"license": {"name": name, "acknowledgement": "declared"}} for name in licences]
    return component


def _package(about: tuple[str, str, str]) -> dict[str, JsonValue]:
    _, name, detail = about
    ecosystem, _, specifier = detail.partition(" ")
    package: dict[str, JsonValue] = {"type": "library", "name": name}
    if specifier.startswith("=="):
        package["version"] = specifier.removeprefix("==").strip()
        kind = {"conda": "conda", "cran": "cran"}.get(ecosystem.lower(), "pypi")
        package["purl"] = f"pkg:{kind}/{quote(name.lower().replace('_', '-'))}@{quote(str(package['version']))}"
    elif detail:
        package["properties"] = [{"name": "fastness:asks-for", "value": detail}]
    return package


def _depends(report: Report, ref: str) -> dict[str, JsonValue]:
    on = dict.fromkeys(f"package-{_short(about)}" for about in report.contents if about[0] == "package")
    return {"ref": ref, "dependsOn": list(on)}


def _vulnerability(finding: Finding, ref: str, own: str) -> dict[str, JsonValue]:
    rule = rule_of(finding.rule)
    rating: dict[str, JsonValue] = {"source": _OURS, "severity": _RATING[finding.severity], "method": "other"}
    shown: dict[str, JsonValue] = {
        "bom-ref": f"finding-{own}",
        "id": finding.rule,
        "source": _OURS,
        "ratings": [rating],
        "description": f"{rule.title}: {finding.message}",
        "detail": f"{rule.why} At {finding.where}.",
        "recommendation": rule.fix,
        "affects": [{"ref": ref}],
    }
    number = rule.maps.get("cwe", "").removeprefix("CWE-")
    if number.isdigit():
        shown["cwes"] = [int(number)]
    return shown


def _accepted(one: Waived, ref: str, own: str) -> dict[str, JsonValue]:
    detail = f"waived by {one.by} until {one.until}: {one.reason} (key {one.keyid})"
    analysis: dict[str, JsonValue] = {"state": "in_triage", "response": ["will_not_fix"], "detail": detail}
    return {**_vulnerability(one.finding, ref, own), "analysis": analysis}


def _serial(reports: list[Report]) -> str:
    """A UUID of version 8: 122 bits of a digest of what the bill is about.

    Source: RFC 9562, section 5.8.
    """
    state = hashlib.sha256()
    for report in reports:
        rules = " ".join(finding.rule for finding in report.verdict.findings)
        line = f"{report.name}\0{report.digest}\0{Outcome(report.outcome).value}\0{rules}\0"
        state.update(line.encode("utf-8", "backslashreplace"))
    value = int.from_bytes(state.digest()[:16])
    value = value & ~(0xF << 76) | 0x8 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    text = f"{value:032x}"
    return f"urn:uuid:{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _short(about: tuple[str, str, str]) -> str:
    return hashlib.sha256("\0".join(about).encode("utf-8", "backslashreplace")).hexdigest()[:16]
