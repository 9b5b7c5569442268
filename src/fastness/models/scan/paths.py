"""Scan files and folders. No link is followed: what a link names may lie elsewhere, and change after the scan.

The files of a folder are scanned one by one, each knowing the others; what nothing claims comes last, for by then it is
known which files the others say are theirs.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from fastness.core.findings import Rule, judge
from fastness.core.sources import FileSource
from fastness.models.scan.budget import ScanSettings
from fastness.models.scan.bundles import Bundle
from fastness.models.scan.facts import found
from fastness.models.scan.frame import Job, Tree, scan_job, scan_tree
from fastness.models.scan.report import Report
from fastness.models.scan.rules import BUDGET_SPENT, FORMAT_UNKNOWN, PATH_LINK, PATH_SPECIAL, UNREADABLE

MAX_FOLDERS = 64


def scan_paths(paths: Iterable[Path], settings: ScanSettings | None = None) -> Iterator[Report]:
    """One report for each file under `paths`, and one for a folder that is a model; what is no regular file is refused."""
    for path in paths:
        files: dict[str, Path] = {}
        yield from walk(Path(path), Path(path), 0, files)
        if list(files) == ["."]:
            yield _scan_file(Path(path), None, "", frozenset(), settings)
        elif files:
            yield from _scan_folder(Path(path), files, settings)


def walk(root: Path, path: Path, depth: int, files: dict[str, Path]) -> Iterator[Report]:
    """Gather the regular files in order, by their path from `root`; refuse the rest."""
    try:
        mode = path.lstat().st_mode
        names = sorted(one.name for one in path.iterdir()) if stat.S_ISDIR(mode) else []
    except OSError as error:
        yield refused(path, UNREADABLE, error.strerror or type(error).__name__)
        return
    if stat.S_ISLNK(mode):
        yield refused(path, PATH_LINK, "a symbolic link, which is not followed")
    elif stat.S_ISREG(mode):
        files[path.relative_to(root).as_posix()] = path
    elif not stat.S_ISDIR(mode):
        yield refused(path, PATH_SPECIAL, "neither a file nor a folder")
    elif depth >= MAX_FOLDERS:
        yield refused(path, BUDGET_SPENT, f"more than {MAX_FOLDERS} folders within each other")
    else:
        for name in names:
            yield from walk(root, path / name, depth + 1, files)


def _scan_folder(root: Path, files: Mapping[str, Path], settings: ScanSettings | None) -> Iterator[Report]:
    tree = Tree(Bundle(str(root), {path: OnDemand(file) for path, file in files.items()}))
    whole = scan_tree(tree, settings)
    if whole is not None:
        yield whole
    late: list[str] = []
    for path, file in files.items():
        report = _scan_file(file, tree, path, tree.readers(path), settings)
        if any(finding.rule == FORMAT_UNKNOWN.id for finding in report.verdict.findings):
            late.append(path)
        else:
            yield report
    for path in late:
        yield _scan_file(files[path], tree, path, tree.late_readers(path), settings)


def _scan_file(
    file: Path, tree: Tree | None, path: str, readers: frozenset[str], settings: ScanSettings | None
) -> Report:
    try:
        with FileSource(file, str(file)) as source:
            return scan_job(Job(source, 0, tree, path, readers), settings)
    except OSError as error:
        return refused(file, UNREADABLE, error.strerror or type(error).__name__)


def refused(path: Path, rule: Rule, problem: str) -> Report:
    """The report on a path that is not scanned."""
    return Report(str(path), 0, (), judge([found(rule, str(path), 0, problem)]), 0)


class OnDemand:
    """A file that is open only while it is read, so that a folder may hold more of them than a process may open."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path

    @property
    def size(self) -> int:
        """Length in bytes now."""
        with self._opened() as source:
            return source.size

    def read_at(self, offset: int, length: int) -> bytes:
        """The bytes from `offset`."""
        with self._opened() as source:
            return source.read_at(offset, length)

    def _opened(self) -> FileSource:
        return FileSource(self._path, self.name)
