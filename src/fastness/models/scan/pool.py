"""Many files at once, in an order that does not depend on who is faster."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from fastness.core.clock import Instant
from fastness.core.errors import Conflict, NotFound
from fastness.models.scan.advisories import Advisories, advise
from fastness.models.scan.budget import ScanSettings
from fastness.models.scan.bundles import Bundle
from fastness.models.scan.cache import Cache
from fastness.models.scan.files import Bench, Many, Work, report_in, scan_file, scan_source
from fastness.models.scan.frame import RAW
from fastness.models.scan.inprocess import InProcess
from fastness.models.scan.isolated import Seen, unreadable
from fastness.models.scan.paths import OnDemand, refused, shown, walk
from fastness.models.scan.report import Report
from fastness.models.scan.rules import FORMAT_UNKNOWN, PATH_CHANGED, UNREADABLE
from fastness.models.scan.settings import RunSettings

__all__ = [
    "Bench", "Work", "engine", "in_order", "in_threads", "jobs_of", "open_cache", "scan_file", "scan_folders", "scan_source",
    "shown", "sizes",
]  # fmt: skip

T = TypeVar("T")


def scan_folders(paths: Iterable[Path], bench: Bench, many: Many | None = None) -> Iterator[Report]:
    """One report for each file under `paths`, and one for a folder that is a model; what is no regular file is refused.

    Raises:
        Unavailable: no process can be started to scan in.
    """
    chosen = many or in_threads
    for path in paths:
        gathered: dict[str, Path] = {}
        yield from walk(path, path, 0, gathered)
        files = {shown(Path(place)): file for place, file in gathered.items()}
        for twice in set(gathered.values()) - set(files.values()):
            yield refused(shown(twice), UNREADABLE, "its name is no UTF-8, and written out it is that of another file")
        if list(files) == ["."]:
            yield from _reports(chosen(bench, [Work(path, shown(path))], None))
        elif files:
            yield from _scan_folder(path, files, bench, chosen)


def scan_paths(paths: Iterable[Path], settings: ScanSettings | None = None) -> Iterator[Report]:
    """The same in the process that calls, one file after the other: for tests and measures."""

    def one_by_one(bench: Bench, works: list[Work], bundle: Bundle | None) -> Iterator[Seen]:
        return (scan_file(bench, work, bundle) for work in works)

    yield from scan_folders(paths, Bench(InProcess(), settings or ScanSettings()), one_by_one)


def scan_bucket(url: str, bench: Bench) -> Iterator[Report]:
    """One report for each object under `url`, as for the files of a folder.

    Raises:
        Invalid: no such kind of address.
        NotFound: nothing is there.
        Unavailable: the bucket does not answer, or the library for it is not installed.
    """
    from fastness.models.scan.buckets import bucket, scan_object  # an optional dependency

    objects = bucket(url)

    def many(bench: Bench, works: list[Work], _: Bundle | None) -> Iterator[Seen]:
        calls = (lambda work=work: scan_object(bench, work, objects) for work in works)
        yield from in_order(calls, jobs_of(bench.scanner.settings), bench)

    works = [Work(Path(), objects.source(path).name, path) for path in objects]
    yield from scan_bundle(objects, works, bench, many)


def advised(reports: Iterable[Report], snapshot: bytes, now: Instant, max_age_days: int) -> list[Report]:
    """The reports with what a snapshot of advisories says of the packages that they list.

    Args:
        snapshot: OSV records: one a line, a list, or the zip archives that OSV publishes.

    Raises:
        Corrupt: it is no such snapshot, or has no date.
    """
    known = Advisories.read(snapshot)
    return [advise(report, known, now, max_age_days) for report in reports]


def sizes(paths: Iterable[Path]) -> int:
    """How many bytes a scan of `paths` will read."""
    total = 0
    for path in paths:
        files: dict[str, Path] = {}
        for _ in walk(path, path, 0, files):
            pass
        for file in files.values():
            try:
                total += file.lstat().st_size
            except OSError:
                continue
    return total


def in_threads(bench: Bench, works: list[Work], bundle: Bundle | None) -> Iterator[Seen]:
    """The results in order; a thread a file waits for the process that scans it."""
    jobs = jobs_of(bench.scanner.settings)
    calls = (lambda work=work: scan_file(bench, work, bundle) for work in works)
    yield from in_order(calls, jobs, bench)


def open_cache(folder: Path, settings: RunSettings) -> Cache:
    """A folder of results for a `Bench`.

    Raises:
        Invalid: others could write results into it.
    """
    return Cache(folder, settings.cache_bytes)


@contextmanager
def engine(settings: RunSettings) -> Iterator[Many]:
    """What scans many files, as the settings say: the threads and processes of this machine, or a cluster.

    Raises:
        Unavailable: the cluster cannot be reached, or its library is not installed.
    """
    if settings.engine == "pool":
        yield in_threads
        return
    from fastness.models.scan.cluster import joined  # an optional dependency

    with joined(settings) as many:
        yield many


def jobs_of(settings: RunSettings) -> int:
    """How many files are scanned at once."""
    if settings.jobs:
        return settings.jobs
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_order(calls: Iterable[Callable[[], T]], jobs: int, bench: Bench) -> Iterator[T]:
    """What the calls give, in their order, several at once, not far ahead of what is taken."""
    waiting: deque[Future[T]] = deque()
    with ThreadPoolExecutor(jobs, thread_name_prefix="scan") as pool, _stopped(bench, waiting):
        for call in calls:
            waiting.append(pool.submit(call))
            if len(waiting) > jobs * 4 + 16 or waiting[0].done():
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


@contextmanager
def _stopped(bench: Bench, waiting: deque[Future[T]]) -> Iterator[None]:
    """End what is begun where its results are not taken: by an error, an interrupt, or nobody who asks."""
    try:
        yield
    except BaseException:
        bench.stop.set()
        bench.scanner.close()  # what it runs ends with it; nobody will take the results
        raise
    finally:
        for future in waiting:
            future.cancel()


def _scan_folder(root: Path, files: dict[str, Path], bench: Bench, many: Many) -> Iterator[Report]:
    works = [Work(file, shown(file), path) for path, file in files.items()]
    yield from scan_bundle(folder(root, files), works, bench, many)


def scan_bundle(bundle: Bundle, listed: list[Work], bench: Bench, many: Many) -> Iterator[Report]:
    """The files by path, those that nothing claims last: by then it is known which of them others say are theirs.

    Raises:
        Unavailable: no process can be started to scan in.
    """
    whole = _whole(bench, bundle)
    readers = dict(whole.readers)
    works = [replace(work, readers=readers.get(work.path, frozenset())) for work in listed]
    referenced, digests, late = set(whole.referenced), {}, []
    for work, seen in zip(works, many(bench, works, bundle), strict=True):
        report = report_in(seen)
        referenced |= seen.referenced
        digests[work.path] = report.digest
        if any(finding.rule == FORMAT_UNKNOWN.id for finding in report.verdict.findings):
            late.append((work, report))
        else:
            yield report
    again = [replace(work, readers=frozenset({RAW})) for work, _ in late if work.path in referenced]
    second = {seen.report.name: seen.report for seen in many(bench, again, bundle) if seen.report is not None}
    yield from (second.get(work.name, report) for work, report in late)
    if whole.report is not None:
        yield replace(whole.report, digest=_digest_of_folder(digests))


def folder(root: Path, files: dict[str, Path]) -> Bundle:
    """The files of a folder, each open only while it is read."""
    return Bundle(shown(root), {path: OnDemand(file) for path, file in files.items()})


def _whole(bench: Bench, bundle: Bundle) -> Seen:
    try:
        return bench.scanner.scan_whole(bundle, bench.bounds)
    except OSError as error:
        return Seen(unreadable(bundle.name, error))
    except (Conflict, NotFound) as error:  # an object of a bucket is another one by now, or gone
        return Seen(refused(bundle.name, PATH_CHANGED, error.message))


def _digest_of_folder(digests: dict[str, str]) -> str:
    """SHA-256 of the lines that `sha256sum` prints for its files, by path; empty where one could not be read."""
    if not all(digests.values()):
        return ""
    lines = "".join(_line(digests[path].removeprefix("sha256:"), path) for path in sorted(digests))
    return f"sha256:{hashlib.sha256(lines.encode('utf-8', 'surrogateescape')).hexdigest()}"


def _line(digest: str, path: str) -> str:
    """A line of `sha256sum`, which begins with a backslash where the name needs some: no name makes lines of its own."""
    plain = path.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return f"{'' if plain == path else chr(92)}{digest}  {plain}\n"


def _reports(many: Iterator[Seen]) -> Iterator[Report]:
    for seen in many:
        yield report_in(seen)
