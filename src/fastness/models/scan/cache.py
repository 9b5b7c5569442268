"""Results of scans as plain files, by what was scanned, by which rules, and within which bounds.

A result is taken again only where everything that it rests on is the same: the bytes (by digest), the name's last part,
its place in a folder or that it stands alone, the readers that a folder asked for, the bounds, the rules with their data,
and what the folder answered. An interrupted scan of a store goes on where it stopped, for what is done is found here.
Nothing secret stands in it.

What it misses: who can write the folder can write a result; so a folder or result that others can write is refused, and
the folder must not be a part of what is scanned.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import stat
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

from fastness import __version__
from fastness.core.clock import Entropy, system_entropy
from fastness.core.digests import Digest
from fastness.core.errors import Corrupt, Invalid
from fastness.models.scan.bundles import Bundle
from fastness.models.scan.isolated import Seen
from fastness.models.scan.records import ReportRecord, encode, record_of, report_of, unpacked
from fastness.models.scan.report import Report
from fastness.models.scan.rules import PATH_CHANGED, SCANNER_CRASHED, SCANNER_TIMEOUT, UNREADABLE

_FORMAT = 2
_CHECK = 32
JUDGING = ("core", "foundation/text", "models/scan")
"""Packages whose sources and data a verdict rests on."""
_LIBRARIES = ("hyperscan", "jinja2", "lz4", "numpy", "packaging", "pyyaml", "zstandard")
_PASSING = {rule.id for rule in (PATH_CHANGED, SCANNER_CRASHED, SCANNER_TIMEOUT, UNREADABLE)}
"""What may be otherwise the next time, so it is not kept."""


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One result.

    Attributes:
        key: what it rests on.
        name: under which the file was scanned.
    """

    form: int
    key: str
    name: str
    size: int
    isolation: str
    report: ReportRecord
    referenced: tuple[str, ...]
    asked: tuple[tuple[str, bool], ...]


_DECODER: msgspec.msgpack.Decoder[Entry] = msgspec.msgpack.Decoder(Entry)


class Cache:
    """A folder of results. Processes and threads may share it.

    Args:
        folder: made if it is not there.
        most_bytes: what it may hold; `prune` keeps it so.

    Raises:
        Invalid: it is no folder of one's own: others could write results into it.
    """

    def __init__(self, folder: Path, most_bytes: int, entropy: Entropy = system_entropy) -> None:
        self.folder = folder
        self._most = most_bytes
        self._entropy = entropy
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
        if not _own(status) or not stat.S_ISDIR(status.st_mode):
            raise Invalid(
                "cache-exposed", f"others can write results into {folder}", f"Name a folder of your own: chmod go-w {folder}"
            )  # fmt: skip

    def take(self, key: str, name: str, bundle: Bundle | None) -> Seen | None:
        """The result for `key`, under `name`; None where there is none, or the folder would answer otherwise now."""
        entry = self._read(key)
        if entry is None or any((bundle is not None and path in bundle) != answer for path, answer in entry.asked):
            return None
        if bundle is not None and not all(path in bundle for path in entry.referenced):
            return None
        try:
            report = report_of(entry.report, entry.name, entry.size)
        except Corrupt:  # of other rules, by a clash nobody can make, or written by another hand
            return None
        shown = replace(_renamed(report, name), isolation=entry.isolation)
        return Seen(shown, frozenset(entry.referenced), entry.asked)

    def keep(self, key: str, seen: Seen) -> None:
        """Take in a result; one that may be otherwise the next time is left out, and so is one that finds no room."""
        report = seen.report
        if report is None or any(finding.rule in _PASSING for finding in report.verdict.findings):
            return
        entry = Entry(
            _FORMAT, key, report.name, report.size, report.isolation, record_of(report), tuple(sorted(seen.referenced)), seen.asked
        )  # fmt: skip
        body = encode(entry)
        path = self._path(key)
        temporary = path.with_name(f".{self._entropy(8).hex()}")
        with contextlib.suppress(OSError):  # a full disk costs only the next scan
            path.parent.mkdir(mode=0o700, exist_ok=True)
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(hashlib.sha256(body).digest() + body)
                temporary.replace(path)
            except OSError:
                temporary.unlink(missing_ok=True)

    def prune(self) -> int:
        """Remove the oldest results until the rest fits; how many went."""
        found: list[tuple[float, int, Path]] = []
        for path in self.folder.glob("??/*"):
            with contextlib.suppress(OSError):
                status = path.lstat()
                found.append((status.st_mtime, status.st_size, path))
        total, gone = sum(size for _, size, _ in found), 0
        for _, size, path in sorted(found):
            if total <= self._most:
                break
            with contextlib.suppress(OSError):
                path.unlink()
                gone += 1
            total -= size
        return gone

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / key[2:]

    def _read(self, key: str) -> Entry | None:
        """The entry, if it is whole and the one that was asked for; a damaged one is removed."""
        path = self._path(key)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            with os.fdopen(descriptor, "rb") as file:
                data = file.read() if _own(os.fstat(descriptor)) else b""
        except OSError:
            return None
        entry = _whole(data)
        if entry is None:
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        return entry if (entry.form, entry.key) == (_FORMAT, key) else None


def key_of(digest: Digest, name: str, path: str, readers: frozenset[str], bounds: Mapping[str, int]) -> str:
    """What a result rests on, as 64 hex digits.

    Args:
        path: its place in a folder, from where what it refers to is looked up; empty where it stands alone.
    """
    last = name.replace("\\", "/").rpartition("/")[2]
    parts = [rule_set(), digest, last, path, sorted(readers), sorted(bounds.items())]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _own(status: os.stat_result) -> bool:
    """Whether nobody else, but root, can have written it."""
    return status.st_uid in {os.geteuid(), 0} and not status.st_mode & 0o022


@cache
def rule_set() -> str:
    """The version of all that judges, as hex: the sources and data of the scanner, and the libraries it reads with."""
    state = hashlib.sha256(f"{__version__} {platform.python_version()}".encode())
    for name in _LIBRARIES:
        try:
            state.update(f"{name} {version(name)}\n".encode())
        except PackageNotFoundError:
            state.update(f"{name} absent\n".encode())
    root = Path(__file__).parents[2]
    for folder in JUDGING:
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in {".py", ".json"} and path.is_file():
                state.update(path.relative_to(root).as_posix().encode() + b"\0")
                state.update(hashlib.sha256(path.read_bytes()).digest())
    return state.hexdigest()


def _whole(data: bytes) -> Entry | None:
    """The entry in a file; None where a byte of it is not as it was written."""
    if hashlib.sha256(data[_CHECK:]).digest() != data[:_CHECK]:
        return None
    try:
        return unpacked(_DECODER, data[_CHECK:])
    except Corrupt:
        return None


def _renamed(report: Report, name: str) -> Report:
    """The report under another name, which stands at the beginning of every place."""
    if report.name == name:
        return report
    findings = tuple(
        replace(finding, where=name + finding.where.removeprefix(report.name))
        if finding.where.startswith(report.name)
        else finding
        for finding in report.verdict.findings
    )
    return replace(report, name=name, verdict=replace(report.verdict, findings=findings))
