"""Results that are kept: taken again only where nothing they rest on has changed, and never where they were touched."""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fastness.core.digests import Digest
from fastness.core.errors import Invalid
from fastness.core.sources import BytesSource
from fastness.models.scan import Outcome, Report, RunSettings, Scanner, ScanSettings, pool
from fastness.models.scan.bundles import Bundle
from fastness.models.scan.cache import JUDGING, Cache, key_of, rule_set
from fastness.models.scan.isolated import Seen
from tests.needs import ROOT
from tests.unit.models.scan.artifacts import EVIL, report_of

DIGEST = Digest(f"sha256:{'a' * 64}")
NO_READERS: frozenset[str] = frozenset()
BOUNDS = {"depth": 8}


@pytest.fixture(scope="module")
def scanner() -> Iterator[Scanner]:
    with Scanner(RunSettings(jobs=2)) as made:
        yield made


class Counting:
    """Counts the scans that are really made."""

    def __init__(self, scanner: Scanner, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[str] = []
        real = scanner.scan_placed

        def counted(source: BytesSource, *rest: object) -> Seen:
            self.made.append(source.name)
            return real(source, *rest)  # type: ignore[arg-type]  # passed on as they come

        monkeypatch.setattr(scanner, "scan_placed", counted)


def scanned(scanner: Scanner, cache: Path, *paths: Path, **bounds: int) -> list[Report]:
    bench = pool.Bench(scanner, ScanSettings(**bounds), Cache(cache, 1 << 30))
    return list(pool.scan_folders(paths, bench))


def test_what_was_scanned_is_not_scanned_again(
    scanner: Scanner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bad.pkl").write_bytes(EVIL)
    (tmp_path / "good.pkl").write_bytes(pickle.dumps([1]))
    paths = [tmp_path / "bad.pkl", tmp_path / "good.pkl"]
    counting = Counting(scanner, monkeypatch)
    first = scanned(scanner, tmp_path / "kept", *paths)
    assert len(counting.made) == 2
    again = scanned(scanner, tmp_path / "kept", *paths)
    assert again == first
    assert len(counting.made) == 2
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "bad.pkl").write_bytes(EVIL)
    (moved,) = scanned(scanner, tmp_path / "kept", tmp_path / "elsewhere" / "bad.pkl")
    assert len(counting.made) == 2
    assert moved.name.endswith("elsewhere/bad.pkl")
    assert all(finding.where.startswith(moved.name) for finding in moved.verdict.findings)
    (tmp_path / "bad.pkl").write_bytes(EVIL + b"x")
    scanned(scanner, tmp_path / "kept", *paths)
    assert len(counting.made) == 3
    scanned(scanner, tmp_path / "kept", *paths, depth=4)
    assert len(counting.made) == 5


def test_a_key_changes_with_everything_that_a_result_rests_on() -> None:
    base = key_of(DIGEST, "a.pkl", "", NO_READERS, BOUNDS)
    assert base == key_of(DIGEST, "elsewhere/a.pkl", "", NO_READERS, BOUNDS)
    others = [
        key_of(Digest(f"sha256:{'b' * 64}"), "a.pkl", "", NO_READERS, BOUNDS),
        key_of(DIGEST, "b.pkl", "", NO_READERS, BOUNDS),
        key_of(DIGEST, "a.pkl", "", frozenset({"raw"}), BOUNDS),
        key_of(DIGEST, "a.pkl", "", NO_READERS, {"depth": 9}),
        key_of(DIGEST, "a.pkl", "a.pkl", NO_READERS, BOUNDS),
        key_of(DIGEST, "a.pkl", "b/a.pkl", NO_READERS, BOUNDS),
    ]
    assert len({base, *others}) == 7
    assert len(rule_set()) == 64


def seen(report: Report, **changes: object) -> Seen:
    return replace(Seen(report), **changes)  # type: ignore[arg-type]  # fields by name


def test_a_result_holds_only_while_the_folder_answers_the_same(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "kept", 1 << 30)
    report = report_of(pickle.dumps(1))
    cache.keep("ab" * 32, seen(report, asked=(("w.bin", True),), referenced=frozenset({"w.bin"})))
    with_file = Bundle("m", {"w.bin": BytesSource("w.bin", b"")})
    assert cache.take("ab" * 32, report.name, with_file) is not None
    assert cache.take("ab" * 32, report.name, Bundle("m", {})) is None
    assert cache.take("ab" * 32, report.name, None) is None


@pytest.mark.parametrize("at", [0, 31, 32, 60, -1])
def test_a_touched_result_is_removed(tmp_path: Path, at: int) -> None:
    cache = Cache(tmp_path / "kept", 1 << 30)
    key = "ab" * 32
    cache.keep(key, seen(report_of(EVIL)))
    (path,) = (tmp_path / "kept").glob("??/*")
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    assert cache.take(key, "model.pkl", None) is None
    assert not path.exists()


def test_a_result_under_another_key_is_not_taken(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "kept", 1 << 30)
    cache.keep("ab" * 32, seen(report_of(pickle.dumps(1))))
    (path,) = (tmp_path / "kept").glob("??/*")
    path.rename(path.with_name("cd" * 31))
    assert cache.take("ab" + "cd" * 31, "model.pkl", None) is None
    (tmp_path / "kept" / "ab" / ("cd" * 31)).unlink()
    (tmp_path / "kept" / "ab" / ("cd" * 31)).symlink_to("/etc/passwd")
    assert cache.take("ab" + "cd" * 31, "model.pkl", None) is None


def test_what_may_be_otherwise_the_next_time_is_not_kept(tmp_path: Path) -> None:
    with Scanner(RunSettings(timeout_s=0.2)) as hasty:
        report = hasty.scan(BytesSource("a.pkl", b"\x80\x04" + b"(cbuiltins\nlist\no0" * 500_000 + b"N."))
    assert report.outcome is Outcome.INCOMPLETE
    cache = Cache(tmp_path / "kept", 1 << 30)
    cache.keep("ab" * 32, seen(report))
    assert not list((tmp_path / "kept").glob("??/*"))


def test_a_folder_that_others_can_write_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(Invalid) as raised:
        Cache(folder, 1 << 30)
    assert raised.value.code == "cache-exposed"


def test_the_oldest_results_go_first(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "kept", 1 << 20)
    report = report_of(EVIL)
    for number in range(6):
        cache.keep(f"{number:064x}", seen(report))
        os.utime(tmp_path / "kept" / "00" / f"{number:062x}", ns=(number, number))
    size = (tmp_path / "kept" / "00" / f"{0:062x}").stat().st_size
    assert Cache(tmp_path / "kept", size * 4).prune() == 2
    assert sorted(int(path.name, 16) for path in (tmp_path / "kept").glob("??/*")) == [2, 3, 4, 5]


def test_a_full_disk_costs_only_the_next_scan(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "kept", 1 << 30)
    (tmp_path / "kept" / "ab").write_text("a file where a folder should be")
    cache.keep("ab" * 32, seen(report_of(EVIL)))
    assert cache.take("ab" * 32, "model.pkl", None) is None


def test_the_version_of_the_rules_covers_every_package_that_judges() -> None:
    """What scanning imports of other packages judges too, unless it only isolates, signs or carries bytes."""
    sources = (ROOT / "src" / "fastness" / "models" / "scan").rglob("*.py")
    imported = {
        found
        for path in sources
        for found in re.findall(r"^from fastness\.(\w+(?:\.\w+)?)", path.read_text(), re.MULTILINE)
    }
    packages = {"core" if name.startswith("core.") else name.replace(".", "/") for name in imported}
    assert packages - {"foundation/crypto", "foundation/sandbox", "models"} <= set(JUDGING)
