"""The files under a path, by names that can be shown. No link is followed: what a link names may lie elsewhere, and
change after the scan.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from fastness.core.findings import Rule, judge
from fastness.core.sources import FileSource
from fastness.models.scan.facts import found
from fastness.models.scan.report import Report
from fastness.models.scan.rules import BUDGET_SPENT, PATH_LINK, PATH_SPECIAL, UNREADABLE

MAX_FOLDERS = 64


def walk(root: Path, path: Path, depth: int, files: dict[str, Path]) -> Iterator[Report]:
    """Gather the regular files in order, by their path from `root`; refuse the rest."""
    try:
        mode = path.lstat().st_mode
        names = _names(path) if stat.S_ISDIR(mode) and depth < MAX_FOLDERS else []
    except OSError as error:
        yield refused(shown(path), UNREADABLE, error.strerror or type(error).__name__)
        return
    if stat.S_ISLNK(mode):
        yield refused(shown(path), PATH_LINK, "a symbolic link, which is not followed")
    elif stat.S_ISREG(mode):
        files[path.relative_to(root).as_posix()] = path
    elif not stat.S_ISDIR(mode):
        yield refused(shown(path), PATH_SPECIAL, "neither a file nor a folder")
    elif depth >= MAX_FOLDERS:
        yield refused(shown(path), BUDGET_SPENT, f"more than {MAX_FOLDERS} folders within each other")
    else:
        for name in names:
            yield from walk(root, path / name, depth + 1, files)


def shown(path: Path) -> str:
    """A path as text that can be written anywhere: bytes that are no UTF-8 are written out."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _names(path: Path) -> list[str]:
    """What a folder holds; a link that was laid in its place meanwhile is no folder."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        return sorted(os.listdir(descriptor))  # noqa: PTH208 - of a descriptor
    finally:
        os.close(descriptor)


def refused(name: str, rule: Rule, problem: str) -> Report:
    """The report on what is not scanned."""
    return Report(name, 0, (), judge([found(rule, name, 0, problem)]), 0)


class OnDemand:
    """A file that is open only while it is read, so that a folder may hold more of them than a process may open."""

    def __init__(self, path: Path) -> None:
        self.name = shown(path)
        self.path = path

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
        return FileSource(self.path, self.name)
