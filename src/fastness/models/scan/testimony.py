"""What other scanners said, beside what this one found: each of their findings goes to the file that it speaks of.

Their reports name files as their users did. A finding goes to a scanned file if its path is that file's, stands in it (as
a member does), or is the end of one name alone; what speaks of no scanned file becomes a report of its own, so that nothing
a witness said is lost. A witness only ever adds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cache

from fastness.core.findings import Finding, judge
from fastness.models.scan.report import Report
from fastness.models.scan.witnesses import import_report

_INSIDE = (":", "!", "/", "?")
_DEEP, _LONG, _MANY = 64, 4096, 64


def add_witness(reports: Sequence[Report], data: bytes, name: str) -> list[Report]:
    """`reports` with what the report in `data` says of their files, and one for each other file that it speaks of.

    Args:
        name: of the imported report; stands for a file that it does not name.

    Raises:
        Invalid: it is no report of a known scanner.
    """
    added: dict[int, list[Finding]] = {}
    others: dict[str, list[Finding]] = {}
    named = _Named([report.name for report in reports])
    for path, finding in import_report(data):
        at = named.meant(path)
        if at is None:
            others.setdefault(_plain(path or name), []).append(replace(finding, where=finding.where or _plain(name)))
        else:
            added.setdefault(at, []).append(replace(finding, where=finding.where or reports[at].name))
    joined = [_with(report, added.get(number, ())) for number, report in enumerate(reports)]
    return joined + [Report(path, 0, (), judge(found), 0) for path, found in others.items()]


class _Named:
    """The scanned files by their names, and by the ends of those."""

    def __init__(self, names: Sequence[str]) -> None:
        self._count = len(names)
        self._whole: dict[str, list[int]] = {}
        self._ends: dict[str, list[int]] = {}
        for number, name in enumerate(names):
            self._whole.setdefault(name, []).append(number)
            for end in _ends(name):
                self._ends.setdefault(end, []).append(number)
        self.meant = cache(self._meant)

    def _meant(self, path: str) -> int | None:
        """Which of the scanned files a path means; None where it is none of them, or could be several."""
        if not path:
            return 0 if self._count == 1 else None
        outer = _outer(path)
        ways: tuple[Callable[[], Iterable[int]], ...] = (
            lambda: self._whole.get(path, ()),
            lambda: (number for one in outer for number in self._whole.get(one, ())),
            lambda: (*self._ends.get(path, ()), *(n for end in _ends(path) for n in self._whole.get(end, ()))),
            lambda: (number for one in outer for end in _ends(one) for number in self._whole.get(end, ())),
        )
        for way in ways:
            found = set(way())
            if found:
                return found.pop() if len(found) == 1 else None
        return None


def _ends(name: str) -> list[str]:
    """What stands behind each of the last `/` of a name."""
    parts = name.rsplit("/", _DEEP)
    return ["/".join(parts[at:]) for at in range(1, len(parts))]


def _outer(path: str) -> list[str]:
    """What a path may be a member of: what stands before each mark."""
    return [path[:at] for at, char in enumerate(path[:_LONG]) if char in _INSIDE][:_MANY]


def _plain(name: str) -> str:
    """A name from a report, as text that can be written anywhere."""
    return name.encode("utf-8", "backslashreplace").decode()


def _with(report: Report, findings: Iterable[Finding]) -> Report:
    kept = tuple(findings)
    if not kept:
        return report
    both = sorted((*report.verdict.findings, *kept), key=lambda finding: -finding.severity)
    return replace(report, verdict=judge(both))
