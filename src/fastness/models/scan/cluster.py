"""The same scans on a Ray cluster. Every node must see the files at the same paths, as on a shared file system.

Each worker process has a `Scanner` of its own, so files are read in locked processes there too. A worker or node that dies
takes nothing along: what it had is scanned again by another. Results come back as data and are judged anew here.

What it misses: a node is trusted with the files that it scans; one that lies about them is not found out.
"""

from __future__ import annotations

import contextlib
import logging
import socket
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from fastness.core.digests import parse_digest
from fastness.core.errors import Corrupt, Invalid, Unavailable
from fastness.models.scan.budget import ScanSettings
from fastness.models.scan.bundles import Bundle
from fastness.models.scan.cache import Cache
from fastness.models.scan.files import Bench, Many, Work, scan_file
from fastness.models.scan.isolated import Scanner, Seen
from fastness.models.scan.paths import OnDemand, refused
from fastness.models.scan.records import ReportRecord, encode, record_of, report_of, unpacked
from fastness.models.scan.rules import SCANNER_CRASHED
from fastness.models.scan.settings import RunSettings

_TRIES = 5
_AHEAD = 4
_KNOCK_S = 5.0
_ISOLATIONS = {"", "sandbox", "limits"}


class Order(msgspec.Struct, frozen=True, array_like=True):
    """One file for a worker."""

    file: str
    name: str
    path: str
    readers: tuple[str, ...]


class Terms(msgspec.Struct, frozen=True, array_like=True):
    """What all orders of a scan share.

    Attributes:
        folder: its name; empty for files that stand alone.
        files: path in the folder to file.
        cache: a folder of results that every node sees; empty for none.
    """

    bounds: dict[str, int]
    timeout_s: float
    memory_bytes: int
    cache: str
    cache_bytes: int
    folder: str
    files: dict[str, str]


class Told(msgspec.Struct, frozen=True, array_like=True):
    """What a worker says of one file."""

    size: int
    digest: str
    isolation: str
    report: ReportRecord
    referenced: tuple[str, ...]
    asked: tuple[tuple[str, bool], ...]


_ORDER: msgspec.msgpack.Decoder[Order] = msgspec.msgpack.Decoder(Order)
_TERMS: msgspec.msgpack.Decoder[Terms] = msgspec.msgpack.Decoder(Terms)
_TOLD: msgspec.msgpack.Decoder[Told] = msgspec.msgpack.Decoder(Told)


@contextmanager
def joined(settings: RunSettings) -> Iterator[Many]:
    """What scans on the cluster, until the end of the block.

    Raises:
        Unavailable: Ray is not installed, or the cluster cannot be reached.
    """
    try:
        import ray  # an optional dependency
    except ImportError as error:
        raise Unavailable(
            "ray-missing", "scanning on a cluster needs Ray", "Install Fastness with its extra 'ray'."
        ) from error
    ours = not ray.is_initialized()
    if ours:
        try:
            _knock(settings.address)
            ray.init(address=settings.address or "auto", logging_level=logging.ERROR, log_to_driver=False)
        except (ConnectionError, ValueError, RuntimeError, OSError) as error:
            where = settings.address or "of this machine"
            raise Unavailable(
                "ray-unreachable", f"the Ray cluster {where} cannot be reached", "Name it: --address HOST:6379."
            ) from error
    try:
        yield _Ray(ray, settings).scan
    finally:
        if ours:
            ray.shutdown()


def _knock(address: str) -> None:
    """See whether anybody listens where the cluster should: Ray itself asks for minutes, and then ends the process.

    Raises:
        OSError: nobody does.
        ValueError: it names no port.
    """
    host, separator, port = address.rpartition(":")
    if separator and "://" not in address:
        socket.create_connection((host.strip("[]"), int(port)), _KNOCK_S).close()


class _Ray:
    """Hands orders to the workers of a cluster.

    Args:
        ray: the library.
    """

    def __init__(self, ray: Any, settings: RunSettings) -> None:
        self._ray = ray
        self._settings = settings
        self._work = ray.remote(num_cpus=1, max_retries=_TRIES)(work)

    def scan(self, bench: Bench, works: list[Work], bundle: Bundle | None) -> Iterator[Seen]:
        """The results in the order of `works`.

        Raises:
            Unavailable: the cluster is lost.
        """
        terms = self._ray.put(encode(_terms(bench, bundle)))
        jobs = self._settings.jobs or max(1, int(self._ray.cluster_resources().get("CPU", 1)))
        waiting: deque[tuple[Work, Any]] = deque()
        try:
            for one in works:
                order = Order(str(one.file), one.name, one.path, tuple(sorted(one.readers)))
                waiting.append((one, self._work.remote(encode(order), terms)))
                if len(waiting) > jobs * _AHEAD:
                    yield self._take(bench, *waiting.popleft(), bundle)
            while waiting:
                yield self._take(bench, *waiting.popleft(), bundle)
        finally:
            for _, reference in waiting:
                with contextlib.suppress(Exception):  # the cluster may be gone
                    self._ray.cancel(reference)

    def _take(self, bench: Bench, one: Work, reference: Any, bundle: Bundle | None) -> Seen:
        try:
            answer = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            raise Unavailable(
                "ray-lost", f"the cluster did not scan {one.name!a}", "See the state of its nodes with `ray status`."
            ) from error
        seen = seen_of(answer, one, bundle)
        bench.advance(seen.report.size if seen.report is not None else 0)
        return seen


def seen_of(answer: object, one: Work, bundle: Bundle | None) -> Seen:
    """What a worker says of a file, held against what was asked for; what it cannot be is an undecided file."""
    try:
        told = unpacked(_TOLD, answer if isinstance(answer, bytes) else b"")
        report = report_of(told.report, one.name, told.size)
        digest = parse_digest(told.digest) if told.digest else ""
    except (Corrupt, Invalid) as error:
        return Seen(refused(one.name, SCANNER_CRASHED, error.message))
    if told.isolation not in _ISOLATIONS:
        return Seen(refused(one.name, SCANNER_CRASHED, "a worker of the cluster does not say how it was isolated"))
    kept = frozenset(path for path in told.referenced if bundle is not None and path in bundle)
    return Seen(replace(report, digest=digest, isolation=told.isolation), kept, told.asked)


def work(order: bytes, terms: bytes) -> bytes:
    """Scan one file; runs in a worker of the cluster."""
    one = unpacked(_ORDER, order)
    bench, bundle = _bench(terms)
    seen = scan_file(bench, Work(Path(one.file), one.name, one.path, frozenset(one.readers)), bundle)
    report = seen.report
    if report is None:
        raise Unavailable("scanner-silent", "the scan of a file came back without a report")
    return encode(
        Told(
            report.size, report.digest, report.isolation, record_of(report), tuple(sorted(seen.referenced)), seen.asked
        )
    )


@lru_cache(maxsize=1)
def _bench(terms: bytes) -> tuple[Bench, Bundle | None]:
    """What a worker process scans with, made once for a folder and not for each of its files."""
    shared = unpacked(_TERMS, terms)
    kept = Cache(Path(shared.cache), shared.cache_bytes) if shared.cache else None
    run = RunSettings(jobs=1, timeout_s=shared.timeout_s, memory_bytes=shared.memory_bytes)
    files = {path: OnDemand(Path(file)) for path, file in shared.files.items()}
    bundle = Bundle(shared.folder, files) if shared.folder else None
    return Bench(Scanner(run), ScanSettings(**shared.bounds), kept), bundle


def _terms(bench: Bench, bundle: Bundle | None) -> Terms:
    run = bench.scanner.settings
    return Terms(
        {name: int(value) for name, value in vars(bench.bounds).items()},
        run.timeout_s,
        run.memory_bytes,
        str(bench.cache.folder.resolve()) if bench.cache is not None else "",
        run.cache_bytes,
        bundle.name if bundle is not None else "",
        {path: str(one.path) for path in bundle if isinstance(one := bundle.source(path), OnDemand)}
        if bundle is not None
        else {},
    )
