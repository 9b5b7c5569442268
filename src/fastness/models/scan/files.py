"""One file: hashed and scanned over one descriptor.

The digest is of the bytes that were scanned: both read the same open file, and a file whose size, times or identity
changed meanwhile is incomplete. A change within one tick of the file system's clock would not show in its times, so a
file that was changed just now is waited for, a few milliseconds.

Cost: one pass over each file for its digest; the scan itself reads headers, and runs beside it.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path

from fastness.core.digests import Digest
from fastness.core.errors import FastnessError, Invalid
from fastness.core.findings import judge
from fastness.core.sources import FileSource, RandomAccess
from fastness.models.scan.budget import ScanSettings
from fastness.models.scan.bundles import Bundle
from fastness.models.scan.cache import Cache, key_of
from fastness.models.scan.facts import found
from fastness.models.scan.inprocess import InProcess
from fastness.models.scan.isolated import Place, Scanner, Seen, unreadable
from fastness.models.scan.paths import refused
from fastness.models.scan.report import Report
from fastness.models.scan.rules import BUDGET_SPENT, PATH_CHANGED, PATH_HARD_LINK, PATH_SPECIAL, UNREADABLE

Advance = Callable[[int], None]
"""Is told how many more bytes were read; from any thread."""

_AT_ONCE = 1 << 20
_HOLLOW_BYTES, _HOLLOW_SHARE = 8 << 30, 1000
_TICK_NS = 10_000_000  # the coarsest clock of a kernel in use


@dataclass(frozen=True)
class Work:
    """One file to scan.

    Attributes:
        name: how it is called in the report.
        path: its place in the folder; empty where it stands alone.
        readers: those that must read it.
    """

    file: Path
    name: str
    path: str = ""
    readers: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Bench:
    """What scans are made with.

    Attributes:
        advance: is told the bytes that were read.
        stop: set where what is begun need not be ended.
    """

    scanner: Scanner | InProcess
    bounds: ScanSettings = field(default_factory=ScanSettings)
    cache: Cache | None = None
    advance: Advance = field(default=lambda _: None)
    stop: threading.Event = field(default_factory=threading.Event)


Many = Callable[[Bench, list[Work], Bundle | None], Iterator[Seen]]
"""Scans many files and gives the results in their order: the pool here, or a cluster."""


def scan_file(bench: Bench, work: Work, bundle: Bundle | None) -> Seen:
    """What came of one file, with the digest of what was scanned; a file that changed meanwhile is incomplete.

    Raises:
        Unavailable: no process can be started to scan in.
    """
    try:
        with FileSource(work.file, work.name) as source:
            _go_on(bench)
            status = os.fstat(source.fileno())
            if _hollow(status):
                problem = f"{status.st_size} bytes, of which {status.st_blocks * 512} are stored: holes are not read"
                return Seen(refused(work.name, BUDGET_SPENT, problem))
            before = _settled(source.fileno())
            seen, key = _digested(bench, source, work, bundle, source.fileno())
            same = before == _stamp(os.fstat(source.fileno())) == _stamp(work.file.lstat())
            if same and key and bench.cache is not None:  # else the digest may be of other bytes than were scanned
                bench.cache.keep(key, seen)
            seen = _with_links(seen, status.st_nlink)
    except OSError as error:
        return Seen(unreadable(work.name, error))
    except Invalid as error:  # it was a file when the folder was walked
        return Seen(refused(work.name, PATH_SPECIAL, error.message))
    return seen if same else _changed(seen, "its size, its times or the file itself are not what they were")


def _hollow(status: os.stat_result) -> bool:
    """Whether a file says that it is immense and stores next to nothing; to hash its holes would take hours."""
    return status.st_size > _HOLLOW_BYTES and status.st_blocks * 512 < status.st_size // _HOLLOW_SHARE


def _with_links(seen: Seen, links: int) -> Seen:
    """What has a second name may be another model's file, and changes with it."""
    if links < 2:
        return seen
    report = report_in(seen)
    finding = found(PATH_HARD_LINK, report.name, 0, f"the file has {links} names")
    return replace(seen, report=replace(report, verdict=judge((*report.verdict.findings, finding))))


def scan_source(bench: Bench, source: RandomAccess, expected: Digest) -> Report:
    """The report on something stored, whose digest is known; what is known of it already is not read again.

    Raises:
        FastnessError: it cannot be read, or cannot be trusted.
    """
    key = key_of_work(bench, expected, Work(Path(), source.name))
    seen = bench.cache.take(key, source.name, None) if bench.cache is not None else None
    if seen is None:
        seen = bench.scanner.scan_placed(source, bench.bounds)
        digest = _digest(source, bench)
        if digest != expected:
            seen = _changed(seen, f"its digest is {digest}, not {expected}")
        elif bench.cache is not None:
            bench.cache.keep(key, seen)
    else:
        bench.advance(source.size)
    return replace(report_in(seen), digest=expected)


def _digested(bench: Bench, source: FileSource, work: Work, bundle: Bundle | None, file: int) -> tuple[Seen, str]:
    """Scan and hash at once; where results are kept, hash first, for then there may be nothing to scan.

    Beside what came of it stands the key under which it may be kept once the file is known not to have changed.
    """
    place = Place(bundle, work.path, work.readers) if bundle is not None else None
    if bench.cache is not None:
        digest = _digest(source, bench)
        key = key_of_work(bench, digest, work)
        seen = bench.cache.take(key, work.name, bundle)
        if seen is not None:
            return _with_digest(seen, digest), ""
        return _with_digest(bench.scanner.scan_placed(source, bench.bounds, place, file), digest), key
    if source.size <= _AT_ONCE:
        return _with_digest(bench.scanner.scan_placed(source, bench.bounds, place, file), _digest(source, bench)), ""
    hashing: Future[Digest] = Future()
    thread = threading.Thread(target=_fulfil, args=(hashing, source, bench), daemon=True)
    thread.start()
    try:
        seen = bench.scanner.scan_placed(source, bench.bounds, place, file)
    finally:
        thread.join()
    return _with_digest(seen, hashing.result()), ""


def _fulfil(hashing: Future[Digest], source: FileSource, bench: Bench) -> None:
    try:
        hashing.set_result(_digest(source, bench))
    except Exception as error:  # the boundary: another thread raises it again
        hashing.set_exception(error)


def _digest(source: RandomAccess, bench: Bench) -> Digest:
    state = hashlib.sha256()
    pieces = source.chunks() if isinstance(source, FileSource) else _pieces(source)
    for piece in pieces:
        _go_on(bench)
        state.update(piece)
        bench.advance(len(piece))
    return Digest(f"sha256:{state.hexdigest()}")


def _go_on(bench: Bench) -> None:
    """End here where nobody will take the result.

    Raises:
        FastnessError: nobody will.
    """
    if bench.stop.is_set():
        raise FastnessError("scan-stopped", "the scan was stopped")


def _pieces(source: RandomAccess) -> Iterator[bytes]:
    for offset in range(0, source.size, _AT_ONCE):
        yield source.read_at(offset, _AT_ONCE)


def key_of_work(bench: Bench, digest: Digest, work: Work) -> str:
    """Under which the result for these bytes, scanned so, is kept."""
    bounds = {name: int(value) for name, value in vars(bench.bounds).items()}
    return key_of(digest, work.name, work.path, work.readers, bounds | {"memory": bench.scanner.settings.memory_bytes})


def _settled(file: int) -> tuple[int, ...]:
    """What tells whether a file has changed, taken once its last change is older than a tick of the clock."""
    status = os.fstat(file)
    if hasattr(os, "memfd_create"):
        fresh = os.memfd_create("now", os.MFD_CLOEXEC)  # a new file has the time of the clock that files have
        age = os.fstat(fresh).st_ctime_ns - max(status.st_ctime_ns, status.st_mtime_ns)
        os.close(fresh)
        if 0 <= age < _TICK_NS:
            time.sleep((_TICK_NS - age) / 1e9)
            status = os.fstat(file)
    return _stamp(status)


def _stamp(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _with_digest(seen: Seen, digest: Digest) -> Seen:
    return replace(seen, report=replace(report_in(seen), digest=digest))


def _changed(seen: Seen, how: str) -> Seen:
    report = report_in(seen)
    finding = found(PATH_CHANGED, report.name, 0, how)
    return replace(seen, report=replace(report, verdict=judge((finding, *report.verdict.findings))))


def report_in(seen: Seen) -> Report:
    """The report of a file, which there always is."""
    return seen.report or refused("", UNREADABLE, "the scan came back without a report")
