"""What picklescan prints (`picklescan -p PATH`): it has no other report.

Its count of dangerous globals must agree with its lines. Suspicious ones are counted, and named only with `-g`, without a
path: they are no finding.
"""

from __future__ import annotations

import re

from fastness.core.findings import Severity
from fastness.models.scan.witnesses.reading import COULD_NOT, MOST, SAYS_UNSAFE, Witnessed, refused

_WITNESS = "picklescan"
_SUMMARY = "----------- SCAN SUMMARY -----------"
_FOUND = re.compile(
    r"(?P<path>.{1,4096}): dangerous import '(?P<module>\S{0,400}) (?P<name>\S{0,400})' FOUND(?P<strict> \(promoted by --strict\))?"
)
_FAILED = re.compile(
    r"WARNING: could not parse (?P<first>.{1,4096}?) as pickle: (?P<why>.*)"
    r"|ERROR: .*? in (?:file|zip archive) (?P<second>.{1,4096}?):.*"
    r"|Invalid file (?P<third>.{1,4096}?) in zip archive .*"
    r"|(?:ERROR|WARNING|Invalid)\b.*"
)
_COUNT = re.compile(r"(Scanned files|Infected files|Suspicious globals|Dangerous globals): (\d{1,12})")
_LISTED = re.compile(r"All globals found:|  \* \S.* - (?:innocuous|suspicious|dangerous)")


def claims(text: str) -> bool:
    """Whether it is a report of picklescan: it ends in a summary of its own."""
    return any(line == _SUMMARY for line in text.splitlines())


def findings(text: str) -> list[Witnessed]:
    """What it calls dangerous, and what it could not parse.

    Raises:
        Invalid: a line is of no known form, or the count does not agree: the report is not whole.
    """
    told: list[Witnessed] = []
    counts: dict[str, int] = {}
    dangerous = 0
    for line in text.splitlines():
        one = _told(line)
        if one is not None:
            told.append(one)
            dangerous += one.rule != COULD_NOT.id
        elif count := _COUNT.fullmatch(line):
            counts[count[1]] = int(count[2])
        elif line.strip() and line != _SUMMARY and not _LISTED.fullmatch(line):
            raise refused(f"a line of picklescan is not known: {line[:60]!a}")
        if len(told) > MOST:
            raise refused(f"it says more than {MOST} things")
    if counts.get("Dangerous globals") != dangerous:
        raise refused("its summary and its lines do not agree")
    return told


def _told(line: str) -> Witnessed | None:
    """What a line says of a file, if it does."""
    if found := _FOUND.fullmatch(line):
        return _import(found)
    if failed := _FAILED.fullmatch(line):
        where = failed["first"] or failed["second"] or failed["third"] or ""
        return Witnessed(where, COULD_NOT.id, COULD_NOT.severity, _WITNESS, failed["why"] or line)
    return None


def _import(found: re.Match[str]) -> Witnessed:
    """Strict mode promotes what is only unknown to picklescan: that is for review, not dangerous."""
    rule, severity = (
        ("pickle-dangerous-global", Severity.HIGH) if not found["strict"] else (SAYS_UNSAFE.id, Severity.MEDIUM)
    )
    callee = f"{found['module']}.{found['name']}"
    return Witnessed(found["path"], rule, severity, _WITNESS, f"dangerous import {callee}", {"callee": callee})
