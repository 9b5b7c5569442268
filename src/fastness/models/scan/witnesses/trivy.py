"""Trivy's JSON (`trivy fs --format json`), by its published schema, version 2. Unproven: no report of it was at hand.

Source: Trivy documentation, "Reporting", JSON. A secret's match is never taken over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from fastness.core.findings import Severity
from fastness.models.scan.witnesses.reading import SAYS_ODD, Witnessed, items, level, mapping, path, refused, text

_LEVELS = {
    "CRITICAL": Severity.MEDIUM, "HIGH": Severity.MEDIUM, "MEDIUM": Severity.LOW, "LOW": Severity.LOW, "UNKNOWN": Severity.LOW,
}  # fmt: skip
_WITNESS = "trivy"


def claims(document: object) -> bool:
    """Whether it is a report of Trivy."""
    return isinstance(document, dict) and "SchemaVersion" in document and "ArtifactName" in document


def findings(document: object) -> list[Witnessed]:
    """Vulnerable packages, secrets, faults of configuration and licences.

    Raises:
        Invalid: the report does not have the form.
    """
    whole = mapping(document, "the report")
    if whole["SchemaVersion"] != 2:
        raise refused(f"its schema is {whole['SchemaVersion']!a:.20}, and 2 is known")
    results = items(whole.get("Results"), "Results")
    return [told for one in results for told in _result(one)]


def _result(one: Mapping[str, object]) -> Iterator[Witnessed]:
    target = path(one, "Target")
    for found in items(one.get("Vulnerabilities"), "Vulnerabilities"):
        severity = level(text(found, "Severity"), _LEVELS)
        rule = "package-vulnerable" if severity is Severity.MEDIUM else "package-weakness"
        said = f"{text(found, 'PkgName')} {text(found, 'InstalledVersion')}: {text(found, 'VulnerabilityID')} {text(found, 'Title', needed=False)}"
        yield Witnessed(
            target,
            rule,
            severity,
            _WITNESS,
            said,
            {"advisory": text(found, "VulnerabilityID"), "fixed": text(found, "FixedVersion", needed=False)},
        )
    for found in items(one.get("Secrets"), "Secrets"):
        level(text(found, "Severity"), _LEVELS)
        yield Witnessed(
            target,
            "credential-in-model",
            Severity.MEDIUM,
            _WITNESS,
            text(found, "Title"),
            {"kind": text(found, "RuleID")},
        )
    for found in items(one.get("Misconfigurations"), "Misconfigurations"):
        level(text(found, "Severity"), _LEVELS)
        yield Witnessed(
            target,
            SAYS_ODD.id,
            SAYS_ODD.severity,
            _WITNESS,
            f"{text(found, 'ID')} {text(found, 'Title', needed=False)}",
        )
    for found in items(one.get("Licenses"), "Licenses"):
        said = f"licence {text(found, 'Name')} of {text(found, 'PkgName', needed=False) or text(found, 'FilePath', needed=False)}"
        yield Witnessed(target, SAYS_ODD.id, Severity.INFO, _WITNESS, said)
