"""Tell whose report it is, and have it read."""

from __future__ import annotations

import json

from fastness.core.errors import Invalid
from fastness.core.findings import Finding
from fastness.models.scan.witnesses import fickling, modelscan, picklescan, trivy
from fastness.models.scan.witnesses.reading import RULES, Witnessed, refused

__all__ = ["RULES", "import_report"]

LONGEST = 64 << 20
"""The longest report that is read, in bytes."""


def import_report(data: bytes) -> list[tuple[str, Finding]]:
    """The findings of a report, each with the path it speaks of.

    Raises:
        Invalid: it is no report of a known scanner, or does not have its form; the code is `witness-unknown` or
            `witness-malformed`.
    """
    if len(data) > LONGEST:
        raise refused(f"it has {len(data)} bytes, and {LONGEST} are read")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise refused("it is no text in UTF-8") from error
    if picklescan.claims(text):
        return _paired(picklescan.findings(text))
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _unknown() from error
    for one in (modelscan, fickling, trivy):
        if one.claims(document):
            return _paired(one.findings(document))
    raise _unknown()


def _paired(witnessed: list[Witnessed]) -> list[tuple[str, Finding]]:
    return [(one.path, one.finding()) for one in witnessed]


def _unknown() -> Invalid:
    return Invalid(
        "witness-unknown",
        "the report is of no scanner that is known",
        "Import JSON of ModelScan, Fickling or Trivy, or the output of picklescan.",
    )
