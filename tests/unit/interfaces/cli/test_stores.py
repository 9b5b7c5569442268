"""`fastness scan store`: every stored file of every version, as it is stored; what cannot be read is undecided."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from fastness.app import House, Settings
from fastness.interfaces.cli.scanning import stores
from fastness.models import registry
from fastness.models.scan import Outcome, Report, RunSettings, Scanner, pool
from tests.unit.models.release.world import ALICE, World, copied
from tests.unit.models.scan.artifacts import rules_of


@dataclass
class Opened:
    """What a house has of a world."""

    records: Any
    vault: Any
    settings: Settings


@pytest.fixture(scope="module")
def scanner() -> Iterator[Scanner]:
    with Scanner(RunSettings(jobs=2)) as made:
        yield made


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with copied(tmp_path / "home") as made:
        yield made


def scanned(world: World, scanner: Scanner, kept: Path) -> list[Report]:
    house = cast("House", Opened(world.records, world.vault, Settings()))
    bench = pool.Bench(scanner, cache=pool.open_cache(kept, scanner.settings))
    return list(pool.in_order(stores._calls(house, bench), 2, bench))


def test_every_stored_file_is_scanned_and_kept(world: World, scanner: Scanner, tmp_path: Path) -> None:
    reports = scanned(world, scanner, tmp_path / "kept")
    assert reports
    for number, report in enumerate(reports, 1):
        model, version, _ = report.name.split("/")
        assert (model, version, report.outcome) == ("digits", str(number), Outcome.PASS)
        with world.records.read(ALICE) as reading:
            assert report.digest == registry.version(reading, "digits", number).manifest.files[0].sha256
    assert scanned(world, scanner, tmp_path / "kept") == reports


def test_a_container_that_was_changed_is_undecided_and_the_scan_goes_on(
    world: World, scanner: Scanner, tmp_path: Path
) -> None:
    containers = [path for path in (world.folder / "blobs").rglob("*") if path.is_file()]
    for path in containers:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.chmod(0o600)
        path.write_bytes(data)
    reports = scanned(world, scanner, tmp_path / "kept")
    assert reports
    assert {report.outcome for report in reports} == {Outcome.INCOMPLETE}
    assert {rule for report in reports for rule in rules_of(report)} == {"path-unreadable"}
    assert "fails its authentication" in reports[0].verdict.findings[0].message
