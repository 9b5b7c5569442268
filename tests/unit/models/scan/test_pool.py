"""Many files: in a stable order, each with its digest; interrupted and taken up again; folders as they are scanned alone."""

from __future__ import annotations

import hashlib
import os
import pickle
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastness.core.digests import Digest
from fastness.core.sources import BytesSource
from fastness.models.scan import Outcome, Report, RunSettings, Scanner, pool, scan_paths
from fastness.models.scan.cache import Cache
from tests.unit.models.scan.artifacts import EVIL, rules_of, safetensors

PLAIN = pickle.dumps([1, 2, 3])


@pytest.fixture(scope="module")
def scanner() -> Iterator[Scanner]:
    with Scanner(RunSettings(jobs=3)) as made:
        yield made


def scanned(scanner: Scanner, *paths: Path) -> list[Report]:
    return list(pool.scan_folders(paths, pool.Bench(scanner)))


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def test_the_order_is_that_of_the_names_whoever_is_faster(scanner: Scanner, tmp_path: Path) -> None:
    for number in range(30):
        slow = b"\x80\x04" + b"N0" * (60_000 if number % 7 == 0 else 1) + b"N."
        (tmp_path / f"{number:02}.pkl").write_bytes(slow)
    names = [Path(report.name).name for report in scanned(scanner, tmp_path)]
    assert names == [f"{number:02}.pkl" for number in range(30)]


def test_each_report_names_the_digest_of_what_was_scanned(scanner: Scanner, tmp_path: Path) -> None:
    large = safetensors({"w": {"dtype": "U8", "shape": [3 << 20], "data_offsets": [0, 3 << 20]}}) + bytes(3 << 20)
    files = {"bad.pkl": EVIL, "empty": b"", "large.safetensors": large, "unknown": b"\xfe" * 100}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    told: list[int] = []
    bench = pool.Bench(scanner, advance=told.append)
    found = {Path(report.name).name: report.digest for report in pool.scan_folders([tmp_path], bench)}
    assert found == {name: sha256(data) for name, data in files.items()} | {
        name: digest for name, digest in found.items() if name == tmp_path.name
    }
    assert sum(told) >= sum(map(len, files.values()))
    assert pool.sizes([tmp_path]) == sum(map(len, files.values()))


def test_the_digest_of_a_folder_is_that_of_the_list_that_sha256sum_writes(scanner: Scanner, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert", "auto_map": {"AutoModel": "m.Model"}}')
    (tmp_path / "m.py").write_text("import os\n")
    whole = [report for report in scanned(scanner, tmp_path) if report.name == str(tmp_path)]
    lines = [f"{sha256((tmp_path / name).read_bytes())[7:]}  {name}\n" for name in ("config.json", "m.py")]
    assert [report.digest for report in whole] == [sha256("".join(lines).encode())] * len(whole)


def test_links_pipes_and_missing_paths_are_refused(scanner: Scanner, tmp_path: Path) -> None:
    (tmp_path / "a.pkl").write_bytes(PLAIN)
    (tmp_path / "link").symlink_to(tmp_path / "a.pkl")
    (tmp_path / "loop").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    reports = scanned(scanner, tmp_path, tmp_path / "missing", Path("/dev/null"))
    found = {Path(report.name).name: sorted(rules_of(report)) for report in reports if report.name != str(tmp_path)}
    assert found == {
        "a.pkl": [], "link": ["path-link"], "loop": ["path-link"], "pipe": ["path-special"],
        "missing": ["path-unreadable"], "null": ["path-special"],
    }  # fmt: skip


def test_a_file_that_may_not_be_read_is_incomplete(scanner: Scanner, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("host: root may read everything")
    (tmp_path / "a.pkl").write_bytes(PLAIN)
    (tmp_path / "a.pkl").chmod(0)
    assert [rules_of(report) for report in scanned(scanner, tmp_path / "a.pkl")] == [{"path-unreadable"}]


def test_names_that_are_no_utf8_are_written_out(scanner: Scanner, tmp_path: Path) -> None:
    for name in (b"a\xff.pkl", b"b.pkl"):
        (tmp_path / os.fsdecode(name)).write_bytes(EVIL)
    reports = [report for report in scanned(scanner, tmp_path) if report.name != str(tmp_path)]
    assert [report.name.rpartition("/")[2] for report in reports] == ["a\\xff.pkl", "b.pkl"]
    assert {report.outcome for report in reports} == {Outcome.BLOCK}
    (tmp_path / "a\\xff.pkl").write_bytes(EVIL)
    outcomes = [report.outcome for report in scanned(scanner, tmp_path) if report.name != str(tmp_path)]
    assert len(outcomes) == 3
    assert Outcome.PASS not in outcomes


def test_a_folder_is_scanned_as_it_is_without_isolation(scanner: Scanner, tmp_path: Path) -> None:
    """Among them a file that nothing claims and another one refers to: it is scanned last, as numbers."""
    graph = tmp_path / "model"
    graph.mkdir()
    (graph / "config.json").write_text('{"architectures": ["BertModel"], "model_type": "bert"}')
    (graph / "model.safetensors").write_bytes(safetensors({}))
    (graph / "bad.pkl").write_bytes(EVIL)
    (graph / "weights.bin").write_bytes(bytes(range(7)) * 9)
    here = {r.name: (r.outcome, r.formats, rules_of(r)) for r in scan_paths([graph])}
    there = {r.name: (r.outcome, r.formats, rules_of(r)) for r in scanned(scanner, graph)}
    assert there == here


def test_what_is_not_taken_is_stopped(scanner: Scanner, tmp_path: Path) -> None:
    for number in range(40):
        (tmp_path / f"{number:02}.pkl").write_bytes(PLAIN + b"%d" % number)
    bench = pool.Bench(scanner, stop=threading.Event())
    reports = pool.scan_folders([tmp_path], bench)
    next(reports)
    reports.close()  # type: ignore[attr-defined]  # a generator
    assert bench.stop.is_set()


def test_an_interrupted_scan_goes_on_where_it_stopped(
    scanner: Scanner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "files").mkdir()
    for number in range(40):
        (tmp_path / "files" / f"{number:02}.pkl").write_bytes(PLAIN[:-1] + b"0N" + b"%d" % number)
    made: list[str] = []
    real = scanner.scan_placed

    def counted(source: BytesSource, *rest: object) -> object:
        made.append(source.name)
        return real(source, *rest)  # type: ignore[arg-type]  # passed on as they come

    monkeypatch.setattr(scanner, "scan_placed", counted)
    first = pool.scan_folders([tmp_path / "files"], pool.Bench(scanner, cache=Cache(tmp_path / "kept", 1 << 30)))
    for _ in range(10):
        next(first)
    first.close()  # type: ignore[attr-defined]  # a generator
    done = len(list((tmp_path / "kept").glob("??/*")))
    assert 10 <= done < 40
    made.clear()
    again = pool.scan_folders([tmp_path / "files"], pool.Bench(scanner, cache=Cache(tmp_path / "kept", 1 << 30)))
    reports = [report for report in again if report.name != str(tmp_path / "files")]
    assert len(reports) == 40
    assert len(made) == 40 - done


def test_what_is_stored_is_scanned_by_its_known_digest(scanner: Scanner, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "kept", 1 << 30)
    bench = pool.Bench(scanner, cache=cache)
    report = pool.scan_source(bench, BytesSource("m/1/a.pkl", EVIL), Digest(sha256(EVIL)))
    assert (report.outcome, report.digest) == (Outcome.BLOCK, sha256(EVIL))

    class Untouched(BytesSource):
        def read_at(self, offset: int, length: int) -> bytes:
            raise AssertionError("it is known already")

    assert pool.scan_source(bench, Untouched("m/1/a.pkl", EVIL), Digest(sha256(EVIL))) == report
    other = pool.scan_source(bench, BytesSource("m/2/a.pkl", PLAIN), Digest(sha256(b"another")))
    assert (other.outcome, rules_of(other)) == (Outcome.INCOMPLETE, {"path-changed"})


def test_calls_run_at_once_and_come_in_order() -> None:
    running, most = 0, 0
    lock = threading.Lock()

    def call(number: int) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.02 if number % 3 else 0.05)
        with lock:
            running -= 1
        return number

    def calls() -> Iterator[object]:
        for number in range(20):
            yield lambda number=number: call(number)

    assert list(pool.in_order(calls(), 4, pool.Bench(Scanner()))) == list(range(20))  # type: ignore[arg-type]  # calls
    assert 2 <= most <= 4


def test_an_error_of_one_ends_all() -> None:
    def fail() -> int:
        raise OSError(5, "broken")

    bench = pool.Bench(Scanner())
    with pytest.raises(OSError, match="broken"):
        list(pool.in_order([fail, lambda: 1], 2, bench))
    assert bench.stop.is_set()
