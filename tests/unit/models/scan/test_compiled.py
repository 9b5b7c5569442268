"""TensorFlow Lite, ExecuTorch, CatBoost, CoreML, Paddle and TensorRT: honest files pass, and each field that can run code is seen."""

import io
import struct
import zipfile
from pathlib import Path

import pytest

from fastness.models.scan import Outcome, scan_paths
from fastness.models.scan.checks.operators import known_operators
from fastness.models.scan.flatbuffers import schema_of
from fastness.models.scan.tflite_operators import BUILTIN, CUSTOM
from tests.unit.models.scan.artifacts import report_of, rules_of
from tests.unit.models.scan.written import fixture, fixtures

AWS = "AKIA" + "Q7ZT3MNPLK2WXY5R"
HONEST = [
    *fixtures("compiled", "tflite"),
    *fixtures("compiled", "executorch"),
    *[one for one in fixtures("boosters", "catboost") if "model.cbm" in one[1]],
]


@pytest.mark.parametrize(("name", "files"), HONEST, ids=[name for name, _ in HONEST])
def test_honest_files_pass(tmp_path: Path, name: str, files: dict[str, bytes]) -> None:
    for path, data in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(data)
    for report in scan_paths([tmp_path]):
        assert report.outcome is Outcome.PASS, report.verdict.findings
        assert report.explained_bytes == report.size


def retold(data: bytes, old: str, new: str) -> bytes:
    """The buffer with a text replaced by another one that is not longer."""
    was = struct.pack("<I", len(old)) + old.encode() + b"\0"
    assert len(new) <= len(old)
    assert was in data
    return data.replace(was, (struct.pack("<I", len(new)) + new.encode()).ljust(len(was), b"\0"))


TFLITE = fixture("compiled", "tflite-selected", "model.tflite")
DENSE = fixture("compiled", "tflite-dense", "model.tflite")
PTE = fixture("compiled", "executorch-delegate", "model.pte")
CBM = fixture("boosters", "catboost-classifier", "model.cbm")
ARCHIVE = io.BytesIO()
with zipfile.ZipFile(ARCHIVE, "w") as archive:
    archive.writestr("x.pkl", b"cos\nsystem\n(S'true'\ntR.")
CASES = {
    "a selected operator that reads files": ("m.tflite", retold(TFLITE, "FlexMatrixInverse", "FlexReadFile"), "block", None),
    "a custom operator": ("m.tflite", retold(TFLITE, "FlexMatrixInverse", "EvilOperator"), "review", "operator-unknown"),
    "a built-in operator of no number": ("m.tflite", DENSE.replace(b"\x09" + bytes(6) + b"\x09", b"\xf0" + bytes(6) + b"\x09"), "review", "operator-unknown"),
    "an archive with a pickle behind": ("m.tflite", DENSE + ARCHIVE.getvalue(), "block", "pickle-dangerous-call"),
    "bytes behind": ("m.tflite", DENSE + b"\x01hidden bytes that are no archive", "incomplete", "flatbuffer-hidden-bytes"),
    "a root outside": ("m.tflite", struct.pack("<I", 1 << 30) + DENSE[4:], "block", "flatbuffer-bounds"),
    "a root at itself": ("m.tflite", bytes(4) + DENSE[4:], "block", "flatbuffer-bounds"),
    "a backend of no name that is known": ("m.pte", retold(PTE, "XnnpackBackend", "EvilBackend"), "review", "operator-unknown"),
    "a backend that loads a library": ("m.pte", retold(PTE, "XnnpackBackend", "AotiBackend"), "review", "operator-unknown"),
    "segments outside": ("m.pte", PTE[:24] + struct.pack("<Q", 1 << 60) + PTE[32:], "block", "flatbuffer-bounds"),
    "a program of no length": ("m.pte", PTE[:16] + struct.pack("<Q", 1 << 63) + PTE[24:], "block", "flatbuffer-bounds"),
    "segments that end early": ("m.pte", PTE[:-200], "block", "flatbuffer-bounds"),
    "a model longer than its file": ("m.cbm", CBM[:4] + struct.pack("<I", 1 << 31) + CBM[8:], "block", "flatbuffer-bounds"),
    "bytes behind the model": ("m.cbm", CBM + b"PK\x05\x06" + bytes(18), "review", "flatbuffer-hidden-bytes"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "data", "outcome", "rule"), CASES.values(), ids=CASES)
def test_case(name: str, data: bytes, outcome: str, rule: str | None) -> None:
    report = report_of(data, name)
    assert rule is None or rule in rules_of(report), report.verdict.findings
    assert report.outcome.value == outcome, report.verdict.findings


@pytest.mark.parametrize("data", [TFLITE, PTE, CBM], ids=["tflite", "executorch", "catboost"])
def test_a_cut_anywhere_is_never_a_pass(data: bytes) -> None:
    end = len(data.rstrip(b"\0"))
    assert all(report_of(data[:at], "m").outcome is not Outcome.PASS for at in range(0, end - 16, 61))


def test_the_schema_is_that_of_the_library() -> None:
    for name in ("tflite", "executorch", "flat_tensor", "catboost"):
        schema = schema_of(name)
        assert schema.root in schema.tables
        for fields in schema.tables.values():
            for _, kind in fields:
                if isinstance(kind, str) and ":" in kind:
                    known = schema.unions if kind.startswith(("u", "vu")) else schema.tables
                    assert kind.partition(":")[2] in known
    assert len(schema_of("tflite").tables["Operator"]) == 14


def test_the_listed_operators_are_built_in_ones() -> None:
    assert BUILTIN[CUSTOM] == "CUSTOM"
    assert known_operators()["tflite"] < set(BUILTIN)
    assert not {"CUSTOM", "DELEGATE", "STABLEHLO_CUSTOM_CALL"} & known_operators()["tflite"]
