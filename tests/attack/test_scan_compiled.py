"""Attack: files for compilers and mobile runtimes, and boosters, that bring code along. Success rate: 0.

CVE-2024-27322 (R), CVE-2022-23558 and -23561 (TensorFlow Lite reading beyond its buffers), CVE-2022-35938 (offsets),
CVE-2022-41828 is for what XML may name; the layers of OpenVINO, CoreML's custom classes, Paddle's py_func.
"""

import struct
from pathlib import Path

import pytest

from fastness.models.scan import Outcome, scan_paths
from tests.unit.models.scan.artifacts import onnx_graph, onnx_model, onnx_tensor, proto, report_of, rules_of
from tests.unit.models.scan.programs import ELF
from tests.unit.models.scan.test_boosters import PROMISE, SYSTEM, call, i, r, symbol, texts
from tests.unit.models.scan.test_compiled import CBM, DENSE, PTE, TFLITE
from tests.unit.models.scan.test_gguf import gguf, info
from tests.unit.models.scan.written import fixture

TABLES = {"tflite": DENSE, "tflite with selected operators": TFLITE, "executorch": PTE}


@pytest.mark.parametrize("data", TABLES.values(), ids=TABLES)
def test_no_word_of_the_buffer_can_be_made_to_lead_outside_unseen(data: bytes) -> None:
    """Each word in turn becomes an offset beyond the file: what follows it is refused, what does not reads as before."""
    for at in range(0, min(len(data), 1600), 4):
        report = report_of(data[:at] + b"\xf0\xff\xff\x7f" + data[at + 4 :], "model")
        assert "reader-failed" not in rules_of(report), at


def test_tables_that_share_their_parts_cost_no_more_than_there_are() -> None:
    """A vector of 50,000 offsets that all lead to one table is walked once."""
    count = 50_000
    vector = struct.pack("<I", count)
    table = 4 + 4 * count
    body = vector + b"".join(struct.pack("<I", table - 4 - 4 * n) for n in range(count))
    vtable = struct.pack("<HHH", 6, 8, 4)
    shared = struct.pack("<i", -8) + struct.pack("<I", 0) + struct.pack("<HH", 4, 4)
    root = vtable + b"\0\0" + struct.pack("<iI", 8, 4)
    data = struct.pack("<I", 8 + 8) + b"TFL3" + root + body + shared
    report = report_of(data, "m.tflite", fields=200_000)
    assert "budget-spent" not in rules_of(report)
    assert report.outcome is not Outcome.PASS


LIBRARY = '<net name="m" version="11"><layers><layer id="0" type="{}" version="{}" {}/></layers></net>'
LAYERS = {
    "a library": LIBRARY.format("Custom", "extension", 'library="/opt/evil.so"'),
    "a library of another case": LIBRARY.format("Custom", "extension", 'Library="evil.so"'),
    "a plugin": LIBRARY.format("Custom", "extension", 'plugin="//host/share/evil.dll"'),
    "a kernel": LIBRARY.format("Custom", "extension", 'kernel="../../evil.cl"'),
    "a file": LIBRARY.format("ReadValue", "opset6", 'path="/etc/passwd"'),
}


@pytest.mark.parametrize("text", LAYERS.values(), ids=LAYERS)
def test_layers_of_openvino_that_load_a_file(text: str) -> None:
    assert report_of(text.encode(), "model.xml").outcome is Outcome.BLOCK


def test_a_pickle_named_like_weights_is_seen_where_no_graph_stands_beside_it(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    assert {report.outcome for report in scan_paths([tmp_path])} == {Outcome.BLOCK}


@pytest.mark.parametrize(
    "item",
    [PROMISE, i(19, 2) + texts("x") + PROMISE, i(2 | 0x400) + symbol("model") + PROMISE + i(254)],
    ids=["alone", "in a list", "as a variable of an .RData"],
)
def test_cve_2024_27322_a_promise_runs_when_it_is_looked_at(item: bytes) -> None:
    for data, name in ((r(item), "m.rds"), (b"RDX2\n" + r(item), "m.RData"), (r(item), "m.bin")):
        report = report_of(data, name)
        assert report.outcome is Outcome.BLOCK
        assert "r-promise" in rules_of(report)


@pytest.mark.parametrize(
    "function", ["system", "system2", "source", "dyn.load", "unserialize", "download.file", "parse"]
)
def test_a_formula_that_runs_more_than_arithmetic_blocks(function: str) -> None:
    item = call(symbol("~"), symbol("y"), call(symbol("+"), symbol("x"), call(symbol(function), texts("x"))))
    assert report_of(r(item), "model.rds").outcome is Outcome.BLOCK


def test_the_system_by_a_text_is_seen_too() -> None:
    assert report_of(r(call(texts("system"), texts("true"))), "model.rds").outcome is Outcome.BLOCK
    assert report_of(r(SYSTEM), "model.rds").outcome is Outcome.BLOCK


def test_an_archive_of_labels_holds_no_more_than_labels() -> None:
    labels = fixture("compiled", "tflite-labels", "model.tflite")
    assert report_of(labels, "m.tflite").outcome is Outcome.PASS
    hidden = labels.replace(b"tabby\nhound\n", b"cos\nx\n(I1\ntR.")
    assert report_of(hidden, "m.tflite").outcome is not Outcome.PASS


WORDS = len(ELF) // 4
CARRIERS = {
    "a tensor of ONNX": (onnx_model(onnx_graph(extra=proto(5, onnx_tensor(raw=ELF, dims=WORDS)))), "m.onnx"),
    "a tensor of GGUF": (gguf([], [info(dims=(WORDS,))], ELF), "m.gguf"),
    "a vector of R": (r(i(24, len(ELF)) + ELF), "m.rds"),
    "a parameter of Paddle": (bytes(16) + struct.pack("<I", 4) + proto(1, 5) + proto(2, WORDS) + ELF, "m.pdiparams"),
    "a segment of ExecuTorch": (PTE[: -len(ELF)] + ELF, "m.pte"),
    "the leaves of CatBoost": (CBM + ELF, "m.cbm"),
}


@pytest.mark.parametrize(("data", "name"), CARRIERS.values(), ids=CARRIERS)
def test_a_program_within_the_numbers_is_found(data: bytes, name: str) -> None:
    report = report_of(data, name)
    assert "executable-hidden" in rules_of(report), report.verdict.findings
    assert report.outcome is Outcome.BLOCK
