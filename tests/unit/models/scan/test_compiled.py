"""TensorFlow Lite, ExecuTorch, CatBoost, CoreML, Paddle and TensorRT: honest files pass, and each field that can run code is seen."""

import io
import json
import struct
import zipfile
from pathlib import Path

import pytest

from fastness.models.scan import Outcome, scan_paths
from fastness.models.scan.checks.operators import known_operators
from fastness.models.scan.flatbuffers import schema_of
from fastness.models.scan.tflite_operators import BUILTIN, CUSTOM
from tests.unit.models.scan.artifacts import proto, report_of, rules_of
from tests.unit.models.scan.written import fixture, fixtures

AWS = "AKIA" + "Q7ZT3MNPLK2WXY5R"
HONEST = [
    *fixtures("compiled", "tflite"),
    *fixtures("compiled", "executorch"),
    *fixtures("compiled", "coreml"),
    *fixtures("paddle_files"),
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


PACKAGE = fixture("compiled", "coreml-program", "m.mlpackage/Data/com.apple.CoreML/model.mlmodel")
HEAD = proto(1, 4) + proto(2, proto(1, proto(1, "in")))
COREML = {
    "plain": (HEAD + proto(300, b""), "pass", None),
    "a custom model": (HEAD + proto(555, proto(10, "EvilModel")), "review", "coreml-custom-class"),
    "a custom layer": (HEAD + proto(500, proto(1, proto(1, "l") + proto(500, proto(10, "EvilLayer")))), "review", "coreml-custom-class"),
    "a custom model in a pipeline": (HEAD + proto(202, proto(1, HEAD + proto(555, proto(10, "Evil")))), "review", "coreml-custom-class"),
    "a linked model": (HEAD + proto(556, proto(1, proto(1, proto(1, "../../x")))), "block", "reference-escapes"),
    "a serialised model": (HEAD + proto(3000, proto(1, "com.x") + proto(2, b"\1\2")), "review", "coreml-opaque-model"),
    "weights elsewhere": (PACKAGE.replace(b"@model_path/weights/weight.bin", b"@model_path/../../../passwd.bi"), "block", "reference-escapes"),
    "an operation that is not listed": (PACKAGE.replace(b"\x06linear", b"\x06evilop"), "block", "operator-unknown"),
    "an unknown field": (HEAD + proto(300, b"") + proto(4242, b"hidden"), "review", "coreml-unknown-field"),
    "a program in the notes": (proto(1, 4) + proto(2, proto(100, proto(100, proto(1, "k") + proto(2, "__import__('os').system('true')")))) + proto(300, b""), "review", "code-in-model"),
    "a key in the notes": (proto(1, 4) + proto(2, proto(100, proto(100, proto(1, "k") + proto(2, AWS)))) + proto(300, b""), "review", "credential-in-model"),
    "a number of no field": (HEAD + proto(300, proto(1, 1) + proto(77, 2)), "pass", "coreml-unknown-number"),
    "many numbers of no field": (HEAD + proto(300, proto(77, 2) * 40), "review", "coreml-unknown-field"),
    "no model": (HEAD, "incomplete", "coreml-malformed"),
    "nested without end": (HEAD + proto(202, b""), "pass", None),
    "cut short": (PACKAGE[:-1], "incomplete", "coreml-malformed"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "outcome", "rule"), COREML.values(), ids=COREML)
def test_coreml(data: bytes, outcome: str, rule: str | None) -> None:
    report = report_of(data, "model.mlmodel")
    assert rule is None or rule in rules_of(report), report.verdict.findings
    assert report.outcome.value == outcome, report.verdict.findings


def test_pipelines_without_end_are_no_crash() -> None:
    data = HEAD + proto(300, b"")
    for _ in range(150):
        data = HEAD + proto(202, proto(1, data))
    assert "coreml-malformed" in rules_of(report_of(data, "m.mlmodel"))


def test_a_model_is_known_by_its_content() -> None:
    assert report_of(HEAD + proto(300, b""), "weights").formats == ("coreml",)


@pytest.mark.parametrize("item", ["../../../etc/x", "/etc/x", "C:\\x", "a/../../x"])
def test_an_item_outside_of_its_package_blocks(tmp_path: Path, item: str) -> None:
    entries = {"1": {"path": item, "name": "x"}}
    (tmp_path / "Data").mkdir()
    (tmp_path / "Manifest.json").write_text(json.dumps({"itemInfoEntries": entries, "rootModelIdentifier": "1"}))
    (tmp_path / "Data" / "model.mlmodel").write_bytes(HEAD + proto(300, b""))
    assert "coreml-item-escapes" in {rule for report in scan_paths([tmp_path]) for rule in rules_of(report)}


PROGRAM = fixture("paddle_files", "paddle-program", "model.pdmodel")
PIR = fixture("paddle_files", "paddle-json", "inference.json")
PARAMETERS = fixture("paddle_files", "paddle-json", "inference.pdiparams")
PADDLE = {
    "Python": ("m.pdmodel", PROGRAM.replace(b"\x1a\x04relu", b"\x1a\x04evil"), "review", "operator-unknown"),
    "Python by its name": ("m.pdmodel", PROGRAM + proto(1, proto(1, 1) + proto(2, 0) + proto(4, proto(3, "py_func"))), "block", "operator-runs-code"),
    "Python in the newer kind": ("m.json", PIR.replace(b'"1.relu"', b'"1.py_func"'), "block", "operator-runs-code"),
    "an operator under another name": ("m.json", PIR.replace(b'"1.relu"', b'"1.\\u0070y_func"'), "block", "operator-runs-code"),
    "an operator under another key": ("m.json", PIR.replace(b'"#":"1.relu"', b'"\\u0023":"1.py_func"'), "block", "operator-runs-code"),
    "an operator behind much space": ("m.json", PIR.replace(b'"#":"1.relu"', b'"#"' + b" " * (2 << 20) + b':"1.py_func"'), "block", "operator-runs-code"),
    "an unknown field": ("m.pdmodel", PROGRAM + proto(99, b"x"), "review", "paddle-unknown-field"),
    "cut short": ("m.pdmodel", PROGRAM[:-1], "incomplete", "paddle-malformed"),
    "parameters cut short": ("m.pdiparams", PARAMETERS[:-1], "block", "paddle-bounds"),
    "parameters and more": ("m.pdiparams", PARAMETERS + b"\1\2\3\4" * 8, "block", "paddle-bounds"),
    "levels without end": ("m.pdiparams", bytes(4) + b"\xff" * 8 + bytes(40), "block", "paddle-bounds"),
    "a shape without end": ("m.pdiparams", bytes(16) + struct.pack("<I", 12) + proto(1, 5) + proto(2, 1 << 60), "block", "paddle-bounds"),
    "a pickle of states": ("m.pdparams", b"cos\nsystem\n(S'true'\ntR.", "block", "pickle-dangerous-call"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "data", "outcome", "rule"), PADDLE.values(), ids=PADDLE)
def test_paddle(name: str, data: bytes, outcome: str, rule: str) -> None:
    report = report_of(data, name)
    assert rule in rules_of(report), report.verdict.findings
    assert report.outcome.value == outcome, report.verdict.findings


def test_an_older_folder_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "__model__").write_bytes(PROGRAM)
    (tmp_path / "__params__").write_bytes(fixture("paddle_files", "paddle-program", "model.pdiparams"))
    assert {report.outcome for report in scan_paths([tmp_path])} == {Outcome.PASS}


MIL = b"""program(1.0)
[buildInfo = dict<tensor<string, []>, tensor<string, []>>({{"coremlc-component-MIL", "4.28.4"}})]
{
    func main<ios16>(tensor<fp32, [1, 64]> x) {
            tensor<fp16, [40, 64]> w = const()[name = tensor<string, []>("w"), val = tensor<fp16, [40, 64]>(BLOBFILE(
                path = tensor<string, []>("@model_path/weights/weight.bin"), offset = tensor<uint64, []>(64)))];
            tensor<fp16, [1, 40]> y = linear(weight = w, x = x)[name = tensor<string, []>("y")];
        } -> (y);
}"""  # handmade after what the compiler writes, which runs on a Mac only


def test_a_compiled_model_is_for_review_and_its_program_is_read(tmp_path: Path) -> None:
    files = {"model.mil": MIL, "coremldata.bin": b"\1\2" * 40, "weights/weight.bin": bytes(64)}
    for path, data in files.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(data)
    found = {report.name.removeprefix(f"{tmp_path}/"): report.outcome for report in scan_paths([tmp_path])}
    assert found["model.mil"] is Outcome.PASS
    assert found["weights/weight.bin"] is Outcome.PASS
    assert found["coremldata.bin"] is Outcome.REVIEW


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [(b"linear(", b"evil_op(", "operator-unknown"), (b"weights/weight.bin", b"../../etc/passwd", "reference-escapes")],
)
def test_a_compiled_program_is_judged(old: bytes, new: bytes, rule: str) -> None:
    assert rule in rules_of(report_of(MIL.replace(old, new), "model.mil"))
