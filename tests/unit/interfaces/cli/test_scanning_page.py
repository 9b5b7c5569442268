"""docs/scanning.md names every plug-in, its commands run, and what stands under deploy/ works as it stands."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml

from fastness.models.scan.catalogue import all_layouts, all_readers
from tests.needs import ROOT, need_tool
from tests.unit.models.scan.artifacts import EVIL, safetensors

PAGE = (ROOT / "docs" / "scanning.md").read_text("utf-8")
ACTION = yaml.safe_load((ROOT / "deploy" / "github" / "scan-action" / "action.yml").read_bytes())
HOOKS = {hook["id"]: hook for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_bytes())}
GITLAB = yaml.safe_load((ROOT / "deploy" / "gitlab" / "scan.yml").read_bytes())


def test_every_reader_and_layout_stands_in_the_table() -> None:
    table = PAGE[PAGE.index("| format |") : PAGE.index("**Not read**")]
    named = set(re.findall(r"`([\w-]+)`", table))
    shipped = {reader.name for reader in all_readers()} | {layout.name for layout in all_layouts()}
    assert shipped - named == set(), "write what it reads"
    assert named - shipped == set(), "there is no such plug-in"


@pytest.fixture
def desk(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A folder with a model and weights, and an environment in which `fastness` is found."""
    (tmp_path / "bin").mkdir()
    shim = tmp_path / "bin" / "fastness"
    shim.write_text(f'#!/bin/sh\nexec {sys.executable} -m fastness "$@"\n')
    shim.chmod(0o755)
    work = tmp_path / "work"
    (work / "weights").mkdir(parents=True)
    np.save(work / "weights" / "w.npy", np.zeros(3))
    (work / "model.pkl").write_bytes(pickle.dumps({"a": 1}))
    (work / "model.safetensors").write_bytes(safetensors({}))
    environment = {"PATH": f"{shim.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT / "src"), "HOME": str(tmp_path), "LANG": "C.UTF-8"}  # fmt: skip
    return work, environment


def test_the_commands_of_the_page_run(desk: tuple[Path, dict[str, str]]) -> None:
    work, environment = desk
    (block,) = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    lines = [line for line in block.splitlines() if line.startswith("fastness scan")]
    assert len(lines) > 6
    for line in lines:
        done = subprocess.run(
            ["bash", "-c", line], cwd=work, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr


MODEL_NAMES = {
    "model.pkl", "a/b/model.PT", "pytorch_model.bin", "model.onnx", "m.safetensors", "m.keras", "m.h5", "saved_model.pb",
    "m.gguf", "m.joblib", "m.npz", "m.mar", "m.nemo", "m.tflite", "m.skops", "m.pdmodel", "m.rds",
}  # fmt: skip


def test_the_hook_looks_at_models_and_leaves_the_rest(desk: tuple[Path, dict[str, str]]) -> None:
    files = re.compile(HOOKS["fastness-scan"]["files"])
    assert {name for name in MODEL_NAMES if not files.search(name)} == set()
    assert [name for name in ("photo.png", "README.md", "main.py", "pkl", "model.pkl.md") if files.search(name)] == []
    work, environment = desk
    for data, status in ((pickle.dumps(1), 0), (EVIL, 1)):
        (work / "model.pkl").write_bytes(data)
        for hook in HOOKS.values():
            line = [*hook["entry"].split(), *(["model.pkl"] if hook.get("pass_filenames", True) else ["."])]
            done = subprocess.run(line, cwd=work, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == status, (line, done.stdout, done.stderr)


def test_the_step_scans_and_says_how_it_ended(desk: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    work, environment = desk
    (scan,) = [step for step in ACTION["runs"]["steps"] if step.get("id") == "scan"]
    defaults = {name: str(given["default"]) for name, given in ACTION["inputs"].items()}
    variables = {key: re.sub(r"\$\{\{ inputs\.([\w-]+) \}\}", lambda m: defaults[m[1]], value) for key, value in scan["env"].items()}  # fmt: skip
    output = tmp_path / "output"
    for data, paths, status in (
        (pickle.dumps(1), "model.pkl\n\nweights\n", 0),
        (EVIL, ".", 1),
        (EVIL, "; touch stolen\n$(touch stolen)", 66),
    ):
        (work / "model.pkl").write_bytes(data)
        output.write_text("")
        given = {**environment, **variables, "PATHS": paths, "GITHUB_OUTPUT": str(output), "RUNNER_TEMP": str(tmp_path)}
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", scan["run"]],
            cwd=work, env=given, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == status, (done.stdout, done.stderr)
        assert output.read_text() == f"status={status}\n"
        assert not (work / "stolen").exists()
        assert (work / "fastness.sarif").exists()


def wheel(folder: Path) -> Path:
    """A package whose command says that it is there."""
    path = folder / "fastness-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("fastness.py", "def main():\n    print('installed')\n")
        info = "fastness-1.dist-info"
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: fastness\nVersion: 1\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/entry_points.txt", "[console_scripts]\nfastness = fastness:main\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


def test_the_step_runs_nothing_of_what_was_checked_out(tmp_path: Path) -> None:
    """Python runs modules from where it stands: a repository with a venv.py would take over the job that scans it."""
    (install,) = [step for step in ACTION["runs"]["steps"] if "venv" in step["run"]]
    work = tmp_path / "work"
    work.mkdir()
    for name in ("venv", "ensurepip", "pip", "fastness", "argparse", "logging"):
        (work / f"{name}.py").write_text("open('stolen', 'w').close()\n")
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(tmp_path), "RUNNER_TEMP": str(tmp_path),
        "GITHUB_PATH": str(tmp_path / "path"), "PACKAGE": str(wheel(tmp_path)), "PIP_NO_INDEX": "1",
    }  # fmt: skip
    script = install["run"] + '"$(cat "$GITHUB_PATH")/fastness"\n'
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
        cwd=work, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "installed\n"), done.stderr
    assert not (work / "stolen").exists()


def test_inputs_never_stand_in_a_script() -> None:
    for step in ACTION["runs"]["steps"]:
        assert "${{" not in step["run"]
        assert "uses" not in step


def test_the_job_scans(desk: tuple[Path, dict[str, str]]) -> None:
    work, environment = desk
    job = GITLAB["fastness-scan"]
    script = "\n".join(line for line in job["script"] if not line.startswith("pip "))
    assert len(script.splitlines()) == len(job["script"]) - 1
    for data, status in ((pickle.dumps(1), 0), (EVIL, 1)):
        (work / "model.pkl").write_bytes(data)
        given = {**environment, **job["variables"]}  # the whole of the folder, which is where it runs
        done = subprocess.run(
            [need_tool("bash"), "-ec", script], cwd=work, env=given, capture_output=True, text=True, check=False
        )
        assert done.returncode == status, (done.stdout, done.stderr)
        assert (work / "fastness.sarif").exists()
