"""Attack: the process is killed at every step of a push. Nothing acknowledged is lost, nothing half-done is seen.

Run as a program, this file is the process that is killed: FOLDER ARTIFACT STEP STATE.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import select

from fastness.core.clock import later
from fastness.foundation.storage import METADATA
from fastness.models import registry
from tests.needs import ROOT
from tests.unit.models.release.world import ALICE, World, digits_onnx, opened, template

STEPS = ("intake", "scan", "dependencies", "assess", "commit", "attest", "register")
POINTS = [(step, state) for step in STEPS for state in ("begun", "done")]


def push_and_die(folder: Path, artifact: Path, step: str, state: str) -> None:
    def progress(now_step: str, now_state: str) -> None:
        if (now_step, now_state.partition(":")[0]) == (step, state):
            os.kill(os.getpid(), signal.SIGKILL)

    with opened(folder) as world:
        world.tick(1000)
        admission = world.push(artifact.read_bytes(), progress=progress)
        assert admission.version is not None
        print("acknowledged", admission.version.manifest.number, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)


def killed_at(tmp_path: Path, step: str, state: str) -> tuple[Path, str]:
    """A home whose process was killed there, and what it had acknowledged."""
    folder, artifact = tmp_path / "home", tmp_path / "model.onnx"
    if not folder.exists():
        shutil.copytree(template(), folder)
    artifact.write_bytes(digits_onnx(10.0))
    child = subprocess.run(
        [sys.executable, __file__, folder, artifact, step, state],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert child.returncode == -signal.SIGKILL, child.stderr
    return folder, child.stdout


def stored(world: World) -> set[str]:
    """The ids of the blobs that a row says are there."""
    (table,) = [t for t in METADATA.tables.values() if "refcount" in t.c]
    with world.records.read(ALICE) as reading:
        return {row[0] for row in reading.execute(select(table.c.id))}


def whole(world: World, numbers: tuple[int, ...]) -> None:
    """Exactly these versions are there, each with all its evidence and every byte."""
    with world.records.read(ALICE) as reading:
        assert registry.models(reading) == {"digits": numbers}
        for number in numbers:
            version = registry.version(reading, "digits", number).verified(reading, world.parts.attesting)
            assert len(version.statements(world.parts.attesting)) == 3
            file = version.manifest.files[0]
            with world.vault.open(world.vault.ticket(reading, file.blob)) as segments:
                assert sum(len(piece) for piece in segments) == file.size
    assert {row["number"] for row in world.rows("model_attestation")} == set(numbers)


def swept(world: World) -> int:
    """Sweep what nobody knows; how many blobs that was."""
    with world.records.read(ALICE) as reading:
        assert world.vault.missing(reading) == []
        removed = world.vault.sweep(reading, later(world.clock.now(), 10_000))
    assert set(world.blobs.ids(None)) == stored(world)
    return len(removed)


@pytest.mark.parametrize(("step", "state"), POINTS, ids=[" ".join(point) for point in POINTS])
def test_killed_at_a_step_nothing_is_registered_and_the_rest_is_swept(tmp_path: Path, step: str, state: str) -> None:
    folder, said = killed_at(tmp_path, step, state)
    assert said == ""
    with opened(folder) as world:
        world.tick(2000)
        whole(world, (1, 2))
        assert swept(world) == (0 if (step, state) == ("intake", "begun") else 1)
        world.settle()
        admission = world.push(digits_onnx(10.0))
        assert admission.version is not None
        whole(world, (1, 2, 3))


def test_killed_after_the_acknowledgement_everything_is_there(tmp_path: Path) -> None:
    folder, said = killed_at(tmp_path, "never", "")
    assert said == "acknowledged 3\n"
    with opened(folder) as world:
        world.tick(2000)
        whole(world, (1, 2, 3))
        assert swept(world) == 0
        world.settle()
        for who in ("bob", "carol"):
            world.approve(who, 3)
        world.deploy(3)
        assert world.verify(3).loader == "onnx"


if __name__ == "__main__":
    push_and_die(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4])
