"""Scan files and folders. No link is followed: what a link names may lie elsewhere, and change after the scan."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from fastness.core.findings import Rule, judge
from fastness.core.sources import FileSource
from fastness.models.scan.budget import ScanSettings
from fastness.models.scan.facts import found
from fastness.models.scan.frame import scan
from fastness.models.scan.report import Report
from fastness.models.scan.rules import BUDGET_SPENT, PATH_LINK, PATH_SPECIAL, UNREADABLE

MAX_FOLDERS = 64


def scan_paths(paths: Iterable[Path], settings: ScanSettings | None = None) -> Iterator[Report]:
    """One report for each file under `paths`, folders by name; what is no regular file is a report that refuses."""
    for path in paths:
        yield from _scan_path(Path(path), 0, settings)


def _scan_path(path: Path, depth: int, settings: ScanSettings | None) -> Iterator[Report]:
    try:
        mode = path.lstat().st_mode
        names = sorted(one.name for one in path.iterdir()) if stat.S_ISDIR(mode) else []
    except OSError as error:
        yield _refused(path, UNREADABLE, error.strerror or type(error).__name__)
        return
    if stat.S_ISLNK(mode):
        yield _refused(path, PATH_LINK, "a symbolic link, which is not followed")
    elif stat.S_ISREG(mode):
        yield _scan_file(path, settings)
    elif not stat.S_ISDIR(mode):
        yield _refused(path, PATH_SPECIAL, "neither a file nor a folder")
    elif depth >= MAX_FOLDERS:
        yield _refused(path, BUDGET_SPENT, f"more than {MAX_FOLDERS} folders within each other")
    else:
        for name in names:
            yield from _scan_path(path / name, depth + 1, settings)


def _scan_file(path: Path, settings: ScanSettings | None) -> Report:
    try:
        with FileSource(path, str(path)) as source:
            return scan(source, settings)
    except OSError as error:
        return _refused(path, UNREADABLE, error.strerror or type(error).__name__)


def _refused(path: Path, rule: Rule, problem: str) -> Report:
    return Report(str(path), 0, (), judge([found(rule, str(path), 0, problem)]), 0)
