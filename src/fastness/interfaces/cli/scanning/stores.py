"""Scans all models that a house keeps, as they are stored: decrypted in memory, piece by piece, and never written out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from fastness.core.digests import Digest
from fastness.core.errors import FastnessError
from fastness.core.findings import Finding, judge
from fastness.core.identity import SYSTEM_SCOPE
from fastness.core.sources import RandomAccess
from fastness.interfaces.cli.context import Options
from fastness.models.registry import ManifestFile, models, version
from fastness.models.scan import Report, pool, rules

if TYPE_CHECKING:
    from fastness.app import House


class _Named:
    """Stored bytes under the name of the version that they belong to."""

    def __init__(self, source: RandomAccess, name: str) -> None:
        self.name = name
        self._source = source

    @property
    def size(self) -> int:
        """Length in bytes."""
        return self._source.size

    def read_at(self, offset: int, length: int) -> bytes:
        """The bytes from `offset`."""
        return self._source.read_at(offset, length)


def scan_store(options: Options, bench: pool.Bench) -> list[Report]:
    """One report for each file of each version, with the bounds of the house; what is done is kept in its cache.

    Raises:
        Conflict: the house is served by another process.
    """
    home = options.house
    with options.opened(home) as house:
        kept = bench.cache or pool.open_cache(home.root / "scans", bench.scanner.settings)
        own = replace(bench, cache=kept, bounds=house.settings.scan)
        jobs = pool.jobs_of(bench.scanner.settings)
        return list(pool.in_order(_calls(house, own), jobs, own))


def _calls(house: House, bench: pool.Bench) -> Iterator[Callable[[], Report]]:
    with house.records.read(SYSTEM_SCOPE) as reading:
        listed = [
            (f"{model}/{number}/{file.path}", file)
            for model, numbers in models(reading).items()
            for number in numbers
            for file in version(reading, model, number).manifest.files
        ]
    for name, file in listed:
        yield lambda name=name, file=file: _scan(house, bench, name, file)  # type: ignore[misc]  # bound by default


def _scan(house: House, bench: pool.Bench, name: str, file: ManifestFile) -> Report:
    """The report on one stored file; one that cannot be read is undecided, and the others are scanned all the same."""
    try:
        with house.records.read(SYSTEM_SCOPE) as reading:
            ticket = house.vault.ticket(reading, file.blob)
        with house.vault.open(ticket) as segments:
            return pool.scan_source(bench, _Named(segments, name), Digest(file.sha256))
    except (FastnessError, OSError) as error:
        unreadable = next(rule for rule in rules() if rule.id == "path-unreadable")
        why = error.message if isinstance(error, FastnessError) else error.strerror or type(error).__name__
        finding = Finding(unreadable.id, unreadable.severity, name, why)
        return Report(name, file.size, (), judge([finding]), 0)
