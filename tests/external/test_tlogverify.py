"""The log, read by others: the transparency-log packages of the Go project verify it, and refuse it once changed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastness.foundation.ledger import SignedCheckpoint, open_checkpoint
from fastness.foundation.ledger.merkle import Tree, leaf_hash
from tests.needs import need_tool
from tests.unit.foundation.ledger.parts import Log, make_log

SOURCE = Path(__file__).parent / "tlogverify" / "main.go"
PACKAGES = Path("/usr/share/gocode")


@pytest.fixture(scope="module")
def verifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    go = need_tool("go")
    folder = tmp_path_factory.mktemp("go")
    program = folder / "tlogverify"
    # The distribution's packages lie in a GOPATH of its own; nothing is fetched.
    environment = os.environ | {
        "GO111MODULE": "off",
        "GOPATH": str(PACKAGES),
        "GOCACHE": str(folder / "cache"),
        "GOFLAGS": "",
        "CGO_ENABLED": "0",
    }
    built = subprocess.run(
        [go, "build", "-o", str(program), str(SOURCE)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return program


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    made = make_log(tmp_path)
    yield made
    made.close()


def verify(program: Path, log: Log, *sizes: int, vkey: str = "") -> subprocess.CompletedProcess[str]:
    arguments = [str(program), vkey or log.vkey, str(log.folder), *map(str, sizes)]
    return subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("steps", [[1], [2, 1], [255, 1], [256], [257], [300, 300, 400], [1] * 12], ids=str)
def test_go_verifies_every_entry_and_all_older_sizes(verifier: Path, log: Log, steps: list[int]) -> None:
    sizes: list[int] = []
    for step in steps:
        log.grow(step)
        sizes.append(log.ledger.checkpoint().size)
    done = verify(verifier, log, *sizes)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"ok: {sum(steps)} entries, consistent with {len(steps)} older sizes\n"


def test_go_verifies_three_levels_of_tiles(verifier: Path, log: Log) -> None:
    for _ in range(11):
        log.emit(6000)
        while log.sequencer.run_once():
            pass
    assert (log.folder / "tile/2/000.p/1").exists()
    done = verify(verifier, log)
    assert (done.returncode, done.stderr) == (0, "")
    assert "66000 entries" in done.stdout


CHANGES = {
    "leaf tile": "tile/0/000",
    "leaf tile, unfinished": "tile/0/002.p/88",
    "upper tile": "tile/1/000.p/2",
    "bundle": "tile/entries/001",
    "bundle, unfinished": "tile/entries/002.p/88",
    "checkpoint": "checkpoint",
}


@pytest.mark.parametrize("name", CHANGES.values(), ids=CHANGES)
def test_go_refuses_one_flipped_bit(verifier: Path, log: Log, name: str) -> None:
    log.grow(600)
    path = log.folder / name
    data = path.read_bytes()
    path.write_bytes(data[:50] + bytes([data[50] ^ 1]) + data[51:])
    done = verify(verifier, log)
    assert done.returncode == 1
    assert done.stderr.startswith("tlogverify: ")


def test_go_refuses_another_key(verifier: Path, log: Log, tmp_path: Path) -> None:
    log.grow(3)
    other = log.vkey.replace(log.vkey.split("+")[1], "00000000")
    assert verify(verifier, log, vkey=other).returncode == 1


def test_both_compute_the_same_root(log: Log) -> None:
    log.grow(300)
    tree = Tree()
    tree.extend([leaf_hash(entry.data) for entry in log.ledger.tail(-1)])
    signed: SignedCheckpoint = open_checkpoint((log.folder / "checkpoint").read_bytes(), log.vkey)
    assert tree.root() == signed.root
