"""What other scanners said, beside what this one found: each of their findings goes to the file that it speaks of.

Their reports name files as their users did. A finding goes to a scanned file if its path is that file's, stands in it (as
a member does), or is the end of one name alone; what speaks of no scanned file becomes a report of its own, so that nothing
a witness said is lost. A witness only ever adds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from fastness.core.findings import Finding, judge
from fastness.models.scan.report import Report
from fastness.models.scan.witnesses import import_report

_INSIDE = (":", "!", "/", "?")


def add_witness(reports: Sequence[Report], data: bytes, name: str) -> list[Report]:
    """`reports` with what the report in `data` says of their files, and one for each other file that it speaks of.

    Args:
        name: of the imported report; stands for a file that it does not name.

    Raises:
        Invalid: it is no report of a known scanner.
    """
    added: dict[int, list[Finding]] = {}
    others: dict[str, list[Finding]] = {}
    for path, finding in import_report(data):
        at = _meant(path, reports)
        if at is None:
            others.setdefault(path or name, []).append(replace(finding, where=finding.where or name))
        else:
            added.setdefault(at, []).append(replace(finding, where=finding.where or reports[at].name))
    joined = [_with(report, added.get(number, ())) for number, report in enumerate(reports)]
    return joined + [Report(path, 0, (), judge(found), 0) for path, found in others.items()]


def _meant(path: str, reports: Sequence[Report]) -> int | None:
    """Which of the scanned files a path means; None where it is none of them, or could be several."""
    if not path:
        return 0 if len(reports) == 1 else None
    ways: tuple[Callable[[str], bool], ...] = (
        lambda name: name == path,
        lambda name: path.startswith(tuple(name + mark for mark in _INSIDE)),
        lambda name: name.endswith(f"/{path}") or path.endswith(f"/{name}"),
        lambda name: any(f"/{name}{mark}" in path for mark in _INSIDE),
    )
    for way in ways:
        found = [number for number, report in enumerate(reports) if way(report.name)]
        if len(found) == 1:
            return found[0]
        if found:
            return None
    return None


def _with(report: Report, findings: Iterable[Finding]) -> Report:
    kept = tuple(findings)
    if not kept:
        return report
    both = sorted((*report.verdict.findings, *kept), key=lambda finding: -finding.severity)
    return replace(report, verdict=judge(both))
