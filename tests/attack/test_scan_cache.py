"""Attack on kept results: a file that is another one while it is scanned must not leave a verdict under its own digest."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from fastness.core.sources import RandomAccess
from fastness.models.scan import Outcome, RunSettings, Scanner, pool
from fastness.models.scan.cache import Cache
from fastness.models.scan.isolated import Seen
from tests.unit.models.scan.artifacts import EVIL, rules_of

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
