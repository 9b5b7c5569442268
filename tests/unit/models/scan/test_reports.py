"""Reports, JSON, SARIF, paths and the catalogue of rules."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from fastness.core.findings import Decision, Severity, decision_of
from fastness.core.settings import InvalidSetting
from fastness.core.sources import FileSource
from fastness.models.scan import Outcome, ScanSettings, rules, scan, scan_paths, to_json, to_sarif
from fastness.models.scan.catalogue import rule_of
from tests.unit.models.scan.artifacts import EVIL, report_of, rules_of, safetensors

SCHEMA = json.loads(Path(__file__).with_name("sarif_schema.json").read_bytes())
PLAIN = pickle.dumps([1, 2, 3])


def test_every_rule_says_why_and_how_and_maps_to_the_three_catalogues() -> None:
    for rule in rules():
        assert all((rule.title, rule.why, rule.fix)), rule.id
        assert set(rule.maps) >= {"owasp-llm", "atlas", "cwe"}, rule.id
    assert len({rule.id for rule in rules()}) == len(rules())


def test_what_could_not_be_decided_denies() -> None:
    undecided = [rule for rule in rules() if rule.incomplete]
    assert undecided
    assert all(decision_of(rule.severity) is Decision.DENY for rule in undecided)


OUTCOMES = {
    "pass": (PLAIN, Decision.ALLOW),
    "review": (b"\x80\x04\x8c\x03lib\x8c\x05Model\x93.", Decision.REVIEW),
    "incomplete": (b"nothing that a reader knows", Decision.DENY),
    "block": (EVIL, Decision.DENY),
}


@pytest.mark.parametrize(("outcome", "case"), OUTCOMES.items(), ids=OUTCOMES)
def test_the_outcome_is_a_word_for_the_verdict(outcome: str, case: tuple[bytes, Decision]) -> None:
    report = report_of(case[0], "weights")
    assert (report.outcome.value, report.verdict.decision) == (outcome, case[1])
    assert to_json([report])["reports"][0]["verdict"] == outcome


def test_a_block_is_not_hidden_by_what_could_not_be_decided() -> None:
    report = report_of(EVIL + b"\xff\xff")
    assert "pickle-trailing-bytes" in rules_of(report)
    assert report.outcome is Outcome.BLOCK
    assert report.table()[0].severity is Severity.CRITICAL


def test_json_holds_the_findings_and_what_to_do() -> None:
    document = json.loads(json.dumps(to_json([report_of(EVIL), report_of(PLAIN)])))
    bad, good = document["reports"]
    assert bad["findings"][0]["rule"] == "pickle-dangerous-call"
    assert bad["findings"][0]["fix"] == rule_of("pickle-dangerous-call").fix
    assert good == {
        "name": "model.pkl", "size": len(PLAIN), "formats": ["pickle"], "verdict": "pass", "explained_bytes": len(PLAIN),
        "dropped_findings": 0, "findings": [], "digest": "", "isolation": "", "waived": [], "contents": [],
    }  # fmt: skip


def test_sarif_keeps_to_its_schema() -> None:
    names = ["model.pkl", "a b/ü#?.pkl", "/abs/model.pkl"]
    document = to_sarif([report_of(EVIL + PLAIN + b"\0", name) for name in names] + [report_of(PLAIN)])
    jsonschema.validate(document, SCHEMA)
    run = document["runs"][0]
    assert {result["level"] for result in run["results"]} == {"error", "note"}
    for result in run["results"]:
        assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]


def fingerprints(data: bytes) -> list[str]:
    run = to_sarif([report_of(data)])["runs"][0]
    return [result["partialFingerprints"]["fastness/v1"] for result in run["results"] if result["level"] == "error"]


def test_fingerprints_outlive_a_change_of_offsets_and_tell_findings_apart() -> None:
    before = fingerprints(b"\x80\x04" + EVIL[2:])
    after = fingerprints(b"\x80\x04]0" + EVIL[2:])
    twice = fingerprints(b"\x80\x04" + EVIL[2:-1] + EVIL[2:])
    assert before == after
    assert len(set(twice)) == len(twice) == 2
    assert before[0] in twice


def test_a_folder_is_walked_by_name_and_links_are_findings(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "model.pkl").write_bytes(EVIL)
    (tmp_path / "a.pkl").write_bytes(PLAIN)
    (tmp_path / "c.pkl").symlink_to(tmp_path / "a.pkl")
    (tmp_path / "d").symlink_to(tmp_path / "b")
    os.mkfifo(tmp_path / "e")
    found = {Path(r.name).name: (r.outcome.value, sorted(rules_of(r))) for r in scan_paths([tmp_path])}
    assert found == {
        "a.pkl": ("pass", []),
        "model.pkl": ("block", ["pickle-dangerous-call"]),
        "c.pkl": ("incomplete", ["path-link"]),
        "d": ("incomplete", ["path-link"]),
        "e": ("incomplete", ["path-special"]),
    }


def test_a_missing_path_is_incomplete(tmp_path: Path) -> None:
    (report,) = scan_paths([tmp_path / "nothing"])
    assert (report.outcome, rules_of(report)) == (Outcome.INCOMPLETE, {"path-unreadable"})


NAMES = {
    "a pickle called npy": (PLAIN, "config.npy", {"name-mismatch"}),
    "a pickle called JSON": (PLAIN, "config.json", {"name-mismatch"}),
    "a pickle called safetensors": (PLAIN, "model.safetensors", {"safetensors-malformed"}),
    "a pickle called bin": (PLAIN, "pytorch_model.bin", set()),
    "a pickle without suffix": (PLAIN, "weights", set()),
    "safetensors by another name": (safetensors({}), "weights", set()),
}


@pytest.mark.parametrize(("data", "name", "wanted"), NAMES.values(), ids=NAMES)
def test_names_decide_nothing_but_are_compared(data: bytes, name: str, wanted: set[str]) -> None:
    assert rules_of(report_of(data, name)) == wanted


UNREAD = {
    "zip": b"PK\x03\x04" + bytes(40),
    "rar": b"Rar!\x1a\x07\x01\x00" + bytes(40),
    "gguf": b"GGUF" + bytes(40),
    "elf": b"\x7fELF" + bytes(40),
    "zeros": bytes(4096),
    "prose": b"The quick brown fox jumps over the lazy dog.\n" * 20,
    "one byte": b"N",
}


@pytest.mark.parametrize("data", UNREAD.values(), ids=UNREAD)
def test_what_no_reader_knows_is_incomplete(data: bytes) -> None:
    report = report_of(data, "weights.bin")
    assert report.outcome is Outcome.INCOMPLETE
    assert report.explained_bytes == 0


def test_a_setting_out_of_range_is_named() -> None:
    with pytest.raises(InvalidSetting, match=r"scan\.opcodes"):
        ScanSettings(opcodes=0)


def test_findings_of_one_rule_are_capped_and_counted() -> None:
    body = b"".join(b"\x8c\x01m\x8c\x04f%03d\x930" % i for i in range(200))
    report = report_of(b"\x80\x04" + body + b"N.")
    assert len(report.verdict.findings) == 50
    assert report.dropped == 150


def test_a_large_file_is_read_once_and_in_pieces(tmp_path: Path) -> None:
    size = 300 << 20
    header = {"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}
    path = tmp_path / "model.safetensors"
    with path.open("wb") as file:
        file.write(safetensors(header))
        file.truncate(file.tell() + size)

    class Counting(FileSource):
        read = largest = 0

        def read_at(self, offset: int, length: int) -> bytes:
            data = super().read_at(offset, length)
            self.read += len(data)
            self.largest = max(self.largest, len(data))
            return data

    with Counting(path) as source:
        report = scan(source)
        assert report.outcome is Outcome.PASS
        assert report.explained_bytes == report.size > size
        assert source.read < 1.05 * size
        assert source.largest <= 16 << 20


def test_importing_the_scanner_loads_no_library_of_models_or_servers() -> None:
    heavy = (
        "jinja2",
        "torch",
        "sqlalchemy",
        "litestar",
        "uvicorn",
        "onnx",
        "onnxruntime",
        "joblib",
        "sklearn",
        "safetensors",
        "jsonschema",
    )
    code = f"import sys, fastness.models.scan as s; s.rules(); print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
