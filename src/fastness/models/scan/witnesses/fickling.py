"""Fickling's JSON (`fickling --check-safety --json-output FILE PICKLE`): one pickle, which it does not name.

Only its highest level blocks: it calls honest arrays and estimators likely malicious, for what they import is not in
Python's own library.
"""

from __future__ import annotations

from fastness.core.findings import Severity
from fastness.models.scan.witnesses.reading import SAYS_ODD, SAYS_UNSAFE, Witnessed, level, mapping, text

_LEVELS = {
    "LIKELY_SAFE": Severity.INFO, "POSSIBLY_UNSAFE": Severity.LOW, "SUSPICIOUS": Severity.LOW, "LIKELY_UNSAFE": Severity.MEDIUM,
    "LIKELY_OVERTLY_MALICIOUS": Severity.MEDIUM, "OVERTLY_MALICIOUS": Severity.HIGH,
}  # fmt: skip


def claims(document: object) -> bool:
    """Whether it is a report of Fickling."""
    return isinstance(document, dict) and {"severity", "analysis", "detailed_results"} <= set(document)


def findings(document: object) -> list[Witnessed]:
    """One finding, with its first reason; none where it found nothing.

    Raises:
        Invalid: the report does not have the form.
    """
    whole = mapping(document, "the report")
    own = text(whole, "severity")
    severity = level(own, _LEVELS)
    details = mapping(whole.get("detailed_results"), "detailed_results")
    kinds = " ".join(mapping(details.get("AnalysisResult", {}), "AnalysisResult"))
    if severity is Severity.INFO:
        return []
    rule = SAYS_UNSAFE if severity >= Severity.MEDIUM else SAYS_ODD
    return [
        Witnessed(
            "",
            rule.id,
            severity,
            "fickling",
            text(whole, "analysis").partition("\n")[0],
            {"level": own, "kinds": kinds},
        )
    ]
