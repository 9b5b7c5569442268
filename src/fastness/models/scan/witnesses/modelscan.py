"""ModelScan's JSON (`modelscan -p PATH -r json`). Files it skipped are no finding: it skips by the name."""

from __future__ import annotations

from collections.abc import Mapping

from fastness.core.findings import Severity
from fastness.models.scan.witnesses.reading import (
    COULD_NOT,
    SAYS_UNSAFE,
    Witnessed,
    items,
    level,
    mapping,
    path,
    text,
)  # fmt: skip

_LEVELS = {"CRITICAL": Severity.HIGH, "HIGH": Severity.HIGH, "MEDIUM": Severity.MEDIUM, "LOW": Severity.LOW}
_RULES = (
    # how its scanner's name ends: the rule that says the same
    (("PickleUnsafeOpScan", "PyTorchUnsafeOpScan", "NumpyUnsafeOpScan"), "pickle-dangerous-global"),
    (("LambdaDetectScan",), "code-in-model"),
    (("SavedModelTensorflowOpScan",), "operator-acts"),
)


def claims(document: object) -> bool:
    """Whether it is a report of ModelScan."""
    summary = document.get("summary") if isinstance(document, dict) else None
    return isinstance(summary, dict) and "modelscan_version" in summary


def findings(document: object) -> list[Witnessed]:
    """What it found, and what it failed on.

    Raises:
        Invalid: the report does not have the form.
    """
    whole = mapping(document, "the report")
    witness = f"modelscan {text(mapping(whole.get('summary'), 'summary'), 'modelscan_version')[:40]}"
    told = [_issue(one, witness) for one in items(whole.get("issues"), "issues")]
    return told + [_error(one, witness) for one in items(whole.get("errors"), "errors")]


def _issue(one: Mapping[str, object], witness: str) -> Witnessed:
    scanner, own = text(one, "scanner"), text(one, "severity")
    rule = next((rule for ends, rule in _RULES if scanner.endswith(ends)), SAYS_UNSAFE.id)
    more = {"scanner": scanner, "level": own, "callee": ".".join(filter(None, (text(one, "module", needed=False), text(one, "operator", needed=False))))}  # fmt: skip
    return Witnessed(path(one, "source"), rule, level(own, _LEVELS), witness, text(one, "description"), more)


def _error(one: Mapping[str, object], witness: str) -> Witnessed:
    said = text(one, "description", needed=False) or text(one, "category", needed=False)
    source = path(one, "source") if one.get("source") is not None else ""
    return Witnessed(source, COULD_NOT.id, COULD_NOT.severity, witness, said)
