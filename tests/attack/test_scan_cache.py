"""Attacks on kept results: a verdict must not come from another file, another place, another hand, or what is scanned.

Success rate: 0 of 5.
"""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from fastness.core.sources import RandomAccess
from fastness.interfaces.cli import main
from fastness.models.scan import Outcome, RunSettings, Scanner, pool
from fastness.models.scan.cache import Cache
from fastness.models.scan.isolated import Seen
from tests.unit.models.scan.artifacts import EVIL, entry, onnx_graph, onnx_model, proto, rules_of

HARMLESS = pickle.dumps(b"x" * (len(EVIL) + 40), 4)
EVIL_AS_LONG = (
    EVIL + b"\x80\x04N." * ((len(HARMLESS) - len(EVIL)) // 4) + b"\x80\x04N."[: (len(HARMLESS) - len(EVIL)) % 4]
)


def test_a_file_swapped_between_its_digest_and_its_scan_leaves_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "model.pkl"
    file.write_bytes(EVIL_AS_LONG)
    with Scanner(RunSettings(jobs=1)) as scanner:
        bench = pool.Bench(scanner, cache=Cache(tmp_path / "kept", 1 << 30))
        real = scanner.scan_placed

        def swapped(source: RandomAccess, *rest: object) -> Seen:
            file.write_bytes(HARMLESS)
            seen = real(source, *rest)  # type: ignore[arg-type]  # passed on as they come
            file.write_bytes(EVIL_AS_LONG)
            return seen

        monkeypatch.setattr(scanner, "scan_placed", swapped)
        (first,) = pool.scan_folders([file], bench)
        monkeypatch.setattr(scanner, "scan_placed", real)
        (second,) = pool.scan_folders([file], bench)
    assert (first.outcome, "path-changed" in rules_of(first)) == (Outcome.INCOMPLETE, True)
    assert second.outcome is Outcome.BLOCK


def test_a_mark_that_passes_beside_others_does_not_pass_alone(tmp_path: Path) -> None:
    """An empty file in a folder is a mark such as __init__.py; alone it is no model."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "weights.pkl").write_bytes(b"")
    (folder / "config.json").write_text("{}")
    with Scanner(RunSettings(jobs=1)) as scanner:
        bench = pool.Bench(scanner, cache=Cache(tmp_path / "kept", 1 << 30))
        beside = {report.name: report for report in pool.scan_folders([folder], bench)}
        (alone,) = pool.scan_folders([folder / "weights.pkl"], bench)
    assert not rules_of(beside[str(folder / "weights.pkl")])
    assert (alone.outcome, rules_of(alone)) == (Outcome.INCOMPLETE, {"file-empty"})


def test_a_result_from_another_place_of_the_folder_is_not_taken(tmp_path: Path) -> None:
    """What a file refers to is looked up from where it stands."""
    folder = tmp_path / "model"
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
    tensor = proto(1, 4) + proto(2, 1) + proto(8, "w") + proto(13, entry("location", "w.bin")) + proto(14, 1)
    graph = onnx_model(onnx_graph(extra=proto(5, tensor)))
    (folder / "a" / "model.onnx").write_bytes(graph)
    (folder / "a" / "w.bin").write_bytes(bytes(range(16)))
    (folder / "b" / "model.onnx").write_bytes(graph)
    with Scanner(RunSettings(jobs=1)) as scanner:
        without = {report.name: report for report in pool.scan_folders([folder], pool.Bench(scanner))}
        bench = pool.Bench(scanner, cache=Cache(tmp_path / "kept", 1 << 30))
        for _ in range(2):
            kept = {report.name: report for report in pool.scan_folders([folder], bench)}
            assert {name: (one.outcome, rules_of(one)) for name, one in kept.items()} == {
                name: (one.outcome, rules_of(one)) for name, one in without.items()
            }
    there, missing = (without[str(folder / name / "model.onnx")] for name in ("a", "b"))
    assert rules_of(there) != rules_of(missing)


def test_a_result_that_others_can_have_written_is_not_taken(tmp_path: Path) -> None:
    file = tmp_path / "model.pkl"
    file.write_bytes(EVIL)
    with Scanner(RunSettings(jobs=1)) as scanner:
        cache = Cache(tmp_path / "kept", 1 << 30)
        bench = pool.Bench(scanner, cache=cache)
        list(pool.scan_folders([file], bench))
        (kept,) = (tmp_path / "kept").glob("??/*")
        kept.chmod(0o666)
        assert cache.take("".join(kept.parts[-2:]), file.name, None) is None


def test_what_is_scanned_does_not_bring_its_own_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A repository that holds a folder of results would vouch for itself."""
    (tmp_path / "repository" / "kept").mkdir(parents=True, mode=0o700)
    (tmp_path / "repository" / "model.pkl").write_bytes(EVIL)
    (tmp_path / "link").symlink_to(tmp_path / "repository" / "kept")
    for folder in (tmp_path / "repository" / "kept", tmp_path / "repository" / "new", tmp_path / "link"):
        with pytest.raises(SystemExit) as ended:
            main(["scan", str(tmp_path / "repository"), "--cache", str(folder)])
        assert ended.value.code == 2
        assert "what is scanned" in capsys.readouterr().err
