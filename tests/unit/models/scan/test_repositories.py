"""Repositories as libraries save them pass; what stands between their files is told."""

import json
import zlib
from pathlib import Path

import pytest

from fastness.models.scan import Outcome, Report, scan_paths
from tests.unit.models.scan.artifacts import EVIL, rules_of, safetensors, tensor
from tests.unit.models.scan.written import FOLDER, fixtures

HONEST = fixtures("repositories") + [(f"mlflow-{name}", files) for name, files in fixtures("mlflow")]
WEIGHTS = safetensors({"w": tensor()}, bytes(16))
BERT = json.dumps({"model_type": "bert", "architectures": ["BertModel"], "hidden_size": 8})
ORDER = [Outcome.PASS, Outcome.REVIEW, Outcome.INCOMPLETE, Outcome.BLOCK]


def scan_files(folder: Path, files: dict[str, bytes | str]) -> list[Report]:
    """The reports on a folder of these files."""
    for path, data in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data.encode() if isinstance(data, str) else data)
    return list(scan_paths([folder]))


def worst(reports: list[Report]) -> Outcome:
    return max((report.outcome for report in reports), key=ORDER.index)


def all_rules(reports: list[Report]) -> set[str]:
    return {rule for report in reports for rule in rules_of(report)}


@pytest.mark.parametrize("name", [name for name, _ in HONEST])
def test_repositories_that_libraries_wrote_pass(name: str) -> None:
    folder = FOLDER / ("mlflow" if name.startswith("mlflow-") else "repositories") / name.removeprefix("mlflow-")
    reports = list(scan_paths([folder]))
    assert [(r.name, r.outcome, r.verdict.findings) for r in reports if r.outcome is not Outcome.PASS] == []
    assert all(report.explained_bytes == report.size for report in reports)


def test_there_are_repositories_of_each_kind() -> None:
    names = {name for name, _ in HONEST}
    assert len(names) >= 30
    for kind in (
        "sentence-transformers",
        "sentencepiece",
        "chat-template",
        "albert-sharded",
        "mlflow-sklearn",
        "nemo",
        "hydra",
    ):
        assert any(name.startswith(kind) for name in names), kind


CLONE: dict[str, bytes | str] = {
    "config.json": BERT,
    "model.safetensors": WEIGHTS,
    "pkg/__init__.py": b"",
    ".gitkeep": b"",
    ".gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\n",
    ".cache/huggingface/download/config.json.metadata": '0123abcd\n"etag"\n1700000000.0\n',
    ".cache/huggingface/download/config.json.lock": b"",
    ".git/HEAD": "ref: refs/heads/main\n",
    ".git/config": '[core]\n\tbare = false\n[filter "lfs"]\n\tclean = git-lfs clean -- %f\n\tprocess = git-lfs filter-process\n',
    ".git/objects/ab/cdef": zlib.compress(b"blob 2\0hi"),
    ".git/index": b"DIRC\0\0\0\2\0\0\0\0" + bytes(20),
}


def test_what_a_download_and_a_clone_leave_is_noted(tmp_path: Path) -> None:
    reports = scan_files(tmp_path, CLONE)
    assert (worst(reports), all_rules(reports)) == (Outcome.PASS, {"repository-git"})


BETWEEN: dict[str, tuple[dict[str, bytes | str], str, Outcome]] = {
    "a shard is missing": (
        {"model.safetensors.index.json": json.dumps({"weight_map": {"a": "model-00001-of-00002.safetensors"}})},
        "repository-missing-part", Outcome.REVIEW,
    ),
    "a shard lies elsewhere": (
        {"model.safetensors.index.json": json.dumps({"weight_map": {"a": "../../secret.safetensors"}})},
        "reference-escapes", Outcome.BLOCK,
    ),
    "a shard is an address": (
        {"pytorch_model.bin.index.json": json.dumps({"weight_map": {"a": "https://example.com/x.bin"}})},
        "reference-escapes", Outcome.BLOCK,
    ),
    "weights stand twice": (
        {"model.safetensors": WEIGHTS, "pytorch_model.bin": b"\x80\x02}q\x00."}, "repository-weights-twice", Outcome.PASS,
    ),
    "names differ in capitals": ({"README.md": "a", "readme.md": "b"}, "repository-names-collide", Outcome.PASS),
    "a hook of git": ({".git/hooks/post-checkout": "#!/bin/sh\ntrue\n"}, "repository-git-runs", Outcome.REVIEW),
    "a setting of git": ({".git/config": '[core]\n\tfsmonitor = "./x.sh"\n'}, "repository-git-runs", Outcome.REVIEW),
    "an alias of git": ({".git/config": "[alias]\n\tst = !true\n"}, "repository-git-runs", Outcome.REVIEW),
    "a module among examples": (
        {"config.json": json.dumps({"auto_map": {"AutoModel": "examples/evil.Model"}}),
         "examples/evil.py": "import os\nclass Model:\n    def f(self):\n        os.system('x')\n"},
        "code-in-model", Outcome.REVIEW,
    ),
    "a pickle among good files": ({"model.safetensors": WEIGHTS, "training_args.bin": EVIL}, "pickle-dangerous-call", Outcome.BLOCK),
    "a pickle among the notes of downloads": ({".cache/huggingface/download/x.metadata": EVIL}, "", Outcome.BLOCK),
    "a pickle among git's objects": ({".git/objects/ab/cdef": EVIL}, "", Outcome.BLOCK),
}  # fmt: skip


@pytest.mark.parametrize(("files", "rule", "outcome"), BETWEEN.values(), ids=BETWEEN)
def test_what_stands_between_files_is_told(
    tmp_path: Path, files: dict[str, bytes | str], rule: str, outcome: Outcome
) -> None:
    reports = scan_files(tmp_path, {"config.json": BERT, **files})
    assert worst(reports) is outcome
    assert not rule or rule in all_rules(reports)


def test_a_shard_that_is_there_is_no_finding(tmp_path: Path) -> None:
    name = "model-00001-of-00001.safetensors"
    index = json.dumps({"metadata": {"total_size": 16}, "weight_map": {"w": name}})
    reports = scan_files(tmp_path, {"config.json": BERT, "model.safetensors.index.json": index, name: WEIGHTS})
    assert (worst(reports), all_rules(reports)) == (Outcome.PASS, set())


def test_code_that_nothing_names_is_a_note_among_examples_and_for_review_elsewhere(tmp_path: Path) -> None:
    code = "import os\ndef main():\n    os.system('x')\n"
    reports = scan_files(tmp_path, {"config.json": BERT, "examples/run.py": code, "convert.py": code})
    found = {Path(report.name).name: report.outcome for report in reports if report.formats == ("python",)}
    assert found == {"run.py": Outcome.PASS, "convert.py": Outcome.REVIEW}
