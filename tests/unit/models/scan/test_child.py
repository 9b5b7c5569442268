"""Scans in processes of their own: they say the same as a scan in this one, and their end is a finding, never an error."""

from __future__ import annotations

import ast
import os
import pickle
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fastness.core.errors import Corrupt, Unavailable
from fastness.core.settings import InvalidSetting
from fastness.core.sources import BytesSource, FileSource
from fastness.models.scan import Outcome, Report, RunSettings, Scanner, ScanSettings, pool, scan, scan_paths
from fastness.models.scan.child import LATE
from tests.needs import ROOT
from tests.unit.models.scan.artifacts import EVIL, rules_of, safetensors

FIXTURES = ROOT / "tests" / "data" / "artifacts"
PLAIN = pickle.dumps({"a": [1, 2, 3]})
SLOW = b"\x80\x04" + b"(cbuiltins\nlist\no0" * 500_000 + b"N."
"""Half a million calls: seconds of work for any machine of today."""


@pytest.fixture(scope="module")
def scanner() -> Iterator[Scanner]:
    with Scanner(RunSettings(jobs=2)) as made:
        yield made


def told(report: Report) -> tuple[object, ...]:
    return (
        report.name, report.size, report.formats, report.outcome, report.explained_bytes, report.dropped, report.contents,
        [(f.rule, f.severity, f.where, f.message, dict(f.evidence)) for f in report.verdict.findings],
    )  # fmt: skip


ALIKE = {
    "honest": PLAIN,
    "malicious": EVIL,
    "for review": b"\x80\x04\x8c\x03lib\x8c\x05Model\x93.",
    "unknown": b"nothing that a reader knows",
    "empty": b"",
    "truncated": EVIL[:-9],
    "weights": safetensors({}),
    "large numbers": b"\x80\x04" + b"N0" * 5000 + b"N.",
}


@pytest.mark.parametrize("data", ALIKE.values(), ids=ALIKE)
def test_a_scan_in_a_process_of_its_own_says_the_same(scanner: Scanner, tmp_path: Path, data: bytes) -> None:
    here = scan(BytesSource("model.bin", data))
    assert told(scanner.scan(BytesSource("model.bin", data))) == told(here)
    (tmp_path / "model.bin").write_bytes(data)
    with FileSource(tmp_path / "model.bin") as source:
        given = scanner.scan_placed(source, file=source.fileno()).report
    assert given is not None
    assert told(given) == told(here)


def test_what_the_libraries_wrote_is_scanned_the_same_behind_the_lock(scanner: Scanner) -> None:
    """Nothing can be imported or opened behind the lock, so whatever a reader loads late shows here."""
    here = {report.name: told(report) for report in scan_paths([FIXTURES])}
    there = {report.name: told(report) for report in pool.scan_folders([FIXTURES], pool.Bench(scanner))}
    assert len(here) > 10
    assert {name: there.get(name) for name in here} == here


def test_what_readers_import_late_is_imported_before_the_lock() -> None:
    folder = ROOT / "src" / "fastness" / "models" / "scan"
    late: set[str] = set()
    for path in folder.rglob("*.py"):
        if path.stem in {"child", "isolated", "pool", "cluster", "waivers", "buckets"}:
            continue  # these stay outside of the lock
        for function in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(function, ast.FunctionDef):
                late |= {
                    alias.name for node in ast.walk(function) if isinstance(node, ast.Import) for alias in node.names
                }
                late |= {node.module or "" for node in ast.walk(function) if isinstance(node, ast.ImportFrom)}
    assert {name for name in late if not name.startswith("fastness.")} <= {*LATE, "__future__"}


def test_the_report_says_how_it_was_isolated(scanner: Scanner) -> None:
    assert scanner.isolation() in {"sandbox", "limits"}
    assert scanner.scan(BytesSource("a.pkl", PLAIN)).isolation == scanner.isolation()
    assert not scan(BytesSource("a.pkl", PLAIN)).isolation


def test_the_bounds_go_along(scanner: Scanner) -> None:
    report = scanner.scan(BytesSource("a.pkl", PLAIN), ScanSettings(opcodes=2))
    assert "budget-spent" in rules_of(report)
    assert report.outcome is Outcome.INCOMPLETE


def test_a_scan_that_takes_too_long_is_incomplete() -> None:
    with Scanner(RunSettings(timeout_s=0.3)) as hasty:
        begun = time.monotonic()
        report = hasty.scan(BytesSource("a.pkl", SLOW))
        assert rules_of(report) == {"scanner-timeout"}
        assert report.outcome is Outcome.INCOMPLETE
        assert time.monotonic() - begun < 20
        assert hasty.scan(BytesSource("a.pkl", PLAIN)).outcome is Outcome.PASS


def test_a_scan_that_holds_too_much_is_incomplete() -> None:
    deep = b"\x80\x04]" + b"(" * 3_000_000 + b"."
    with Scanner(RunSettings(memory_bytes=64 << 20)) as small:
        report = small.scan(BytesSource("a.pkl", deep), ScanSettings(stack=1 << 30, opcodes=1 << 30))
        assert report.outcome is Outcome.INCOMPLETE
        assert rules_of(report) & {"budget-spent", "reader-failed", "scanner-crashed"}
        assert small.scan(BytesSource("a.pkl", PLAIN)).outcome is Outcome.PASS


def children(of: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text("ascii").rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == of and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found


def forker_of(scanner: Scanner) -> int:
    assert scanner._forker is not None
    return scanner._forker._process.pid


def test_a_process_that_is_killed_leaves_a_finding() -> None:
    with Scanner() as own, ThreadPoolExecutor(1) as threads:
        own.isolation()
        running = threads.submit(own.scan, BytesSource("a.pkl", SLOW))
        end = time.monotonic() + 30
        while not (pids := children(forker_of(own))) and time.monotonic() < end:
            time.sleep(0.01)
        os.kill(pids[0], signal.SIGSEGV)
        report = running.result(30)
        assert rules_of(report) == {"scanner-crashed"}
        assert "signal 11" in report.verdict.findings[0].message
        assert report.outcome is Outcome.INCOMPLETE


def test_the_one_that_forks_is_started_again() -> None:
    with Scanner() as own:
        assert own.scan(BytesSource("a.pkl", PLAIN)).outcome is Outcome.PASS
        first = forker_of(own)
        os.kill(first, signal.SIGKILL)
        assert own._forker is not None
        own._forker._process.wait(10)
        assert own.scan(BytesSource("a.pkl", PLAIN)).outcome is Outcome.PASS
        assert forker_of(own) != first


def test_closing_ends_every_process() -> None:
    own = Scanner()
    thread = threading.Thread(target=lambda: own.scan(BytesSource("a.pkl", SLOW)))
    own.isolation()
    forker = forker_of(own)
    thread.start()
    while not (pids := children(forker)):
        time.sleep(0.01)
    own.close()
    thread.join(30)
    assert not thread.is_alive()
    assert not children(forker)
    end = time.monotonic() + 10
    while Path(f"/proc/{pids[0]}").exists() and time.monotonic() < end:
        time.sleep(0.01)
    assert not Path(f"/proc/{pids[0]}").exists()


class Broken(BytesSource):
    """A source that fails at its end, as a changed container does."""

    def __init__(self, error: Exception) -> None:
        super().__init__("a.pkl", PLAIN * 100)
        self._error = error

    def read_at(self, offset: int, length: int) -> bytes:
        raise self._error


def test_a_source_that_cannot_be_trusted_is_no_verdict(scanner: Scanner) -> None:
    with pytest.raises(Corrupt, match="a segment was changed"):
        scanner.scan(Broken(Corrupt("blob-corrupt", "a segment was changed")))
    with pytest.raises(OSError, match="Input/output error"):
        scanner.scan(Broken(OSError(5, "Input/output error")))
    assert scanner.scan(BytesSource("a.pkl", PLAIN)).outcome is Outcome.PASS


def open_files(of: object) -> int:
    return len(list(Path(f"/proc/{of}/fd").iterdir()))


def test_threads_share_a_scanner_and_nothing_stays_open(scanner: Scanner) -> None:
    scanner.scan(BytesSource("a.pkl", PLAIN))
    before = open_files("self")
    with ThreadPoolExecutor(8) as threads:
        many = list(threads.map(lambda n: scanner.scan(BytesSource(f"{n}.pkl", EVIL if n % 2 else PLAIN)), range(40)))
    assert [report.name for report in many] == [f"{n}.pkl" for n in range(40)]
    assert [report.outcome for report in many] == [Outcome.PASS, Outcome.BLOCK] * 20
    assert open_files("self") == before
    assert open_files(forker_of(scanner)) < 16


def test_without_its_modules_the_scanner_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastness.models.scan.isolated._PROGRAM", "raise SystemExit('no such module')")
    with Scanner() as own, pytest.raises(Unavailable, match="no such module") as raised:
        own.scan(BytesSource("a.pkl", PLAIN))
    assert raised.value.code == "scanner-lost"


@pytest.mark.parametrize(
    ("field", "value"),
    [("jobs", -1), ("timeout_s", 0.0), ("memory_bytes", 1 << 20), ("engine", "abacus"), ("cache_bytes", 1)],
)
def test_settings_out_of_range_are_named(field: str, value: object) -> None:
    with pytest.raises(InvalidSetting, match=f"scanning.{field}"):
        RunSettings(**{field: value})  # type: ignore[arg-type]
