"""XGBoost, LightGBM, R and TensorRT: honest files pass, and what can run or lead astray is seen."""

import gzip
import json
import struct
from pathlib import Path

import pytest

from fastness.core.sources import BytesSource
from fastness.models.scan import Outcome, events, scan_paths
from fastness.models.scan.budget import Budget, ScanSettings
from fastness.models.scan.events import Broken, Kind, json_events, ubjson_events
from fastness.models.scan.readers import xgboost
from tests.unit.models.scan.artifacts import report_of, rules_of
from tests.unit.models.scan.programs import CUDA, ELF
from tests.unit.models.scan.written import fixture, fixtures

AWS = "AKIA" + "Q7ZT3MNPLK2WXY5R"
HONEST = [*fixtures("boosters"), *fixtures("xgboost_binary"), *fixtures("tables", "r-"), *fixtures("tables", "pyreadr")]
HOLD_FUNCTIONS = {"r-function", "r-glm", "r-nls"}
"""Models that truly hold functions of R."""


@pytest.mark.parametrize(("name", "files"), HONEST, ids=[name for name, _ in HONEST])
def test_honest_files_pass(tmp_path: Path, name: str, files: dict[str, bytes]) -> None:
    for path, data in files.items():
        (tmp_path / path).write_bytes(data)
    for report in scan_paths([tmp_path]):
        assert report.outcome is (Outcome.REVIEW if name in HOLD_FUNCTIONS else Outcome.PASS), report.verdict.findings
        assert report.explained_bytes == report.size


# ---------------------------------------------------------------- XGBoost
JSON = fixture("boosters", "xgboost-classifier-json", "model.json").decode()
UBJ = fixture("boosters", "xgboost-classifier-ubj", "model.ubj")
BIN = fixture("xgboost_binary", "gbtree", "model.bin")
ATTRIBUTES = fixture("boosters", "xgboost-attributes", "model.json").decode()


def edited(change: str, text: str = JSON) -> bytes:
    """The model with one list of its first tree replaced."""
    tree = json.loads(text)
    key, value = change.split("=")
    tree["learner"]["gradient_booster"]["model"]["trees"][0][key] = json.loads(value)
    return json.dumps(tree).encode()


XGBOOST = {
    "a child outside": (edited("left_children=[99,-1,-1]"), "block", "xgboost-tree-bounds"),
    "a negative child": (edited("right_children=[-2,-1,-1]"), "block", "xgboost-tree-bounds"),
    "fewer children than nodes": (edited("left_children=[-1]"), "block", "xgboost-tree-bounds"),
    "a feature outside": (edited("split_indices=[4096,0,0]"), "block", "xgboost-tree-bounds"),
    "a program in an attribute": (ATTRIBUTES.replace("hand-tuned", "__import__('os').system('true')").encode(), "review", "code-in-model"),
    "a key in an attribute": (ATTRIBUTES.replace("hand-tuned", AWS).encode(), "review", "credential-in-model"),
    "a node that leads back": (edited("left_children=[0,-1,-1]"), "block", "xgboost-tree-bounds"),
    "a node that is led to twice": (edited("right_children=[1,-1,-1]"), "block", "xgboost-tree-bounds"),
    "nodes that lead to each other": (edited("left_children=[1,2,1]"), "block", "xgboost-tree-bounds"),
    "a node that leads back, in UBJSON": (UBJ.replace(struct.pack(">3i", 1, -1, -1), struct.pack(">3i", 0, -1, -1), 1), "block", "xgboost-tree-bounds"),
    "a node that leads back, in the binary format": (BIN[:489] + struct.pack("<i", 0) + BIN[493:], "block", "xgboost-tree-bounds"),
    "children that are no whole numbers": (edited("left_children=[1.5,-1,-1]"), "block", "xgboost-tree-bounds"),
    "children of several kinds": (edited("left_children=[1,null,-1]"), "incomplete", "xgboost-malformed"),
    "cut short": (JSON[:-20].encode(), "incomplete", "xgboost-malformed"),
    "another document behind": ((JSON + '{"x": 1}').encode(), "incomplete", "xgboost-malformed"),
    "nested without end": (b'{"learner":{' + b'"a":{' * 5000, "incomplete", "xgboost-malformed"),
    "UBJSON cut short": (UBJ[:-20], "incomplete", "xgboost-malformed"),
    "UBJSON and more": (UBJ + b"\x80\x04cos\nsystem\n", "block", "xgboost-malformed"),
    "a list longer than the file": (UBJ.replace(b"[$l#L\0\0\0\0\0\0\0\3", b"[$l#L\x7f\xff\xff\xff\xff\xff\xff\xff", 1), "incomplete", "xgboost-malformed"),
    "a list of nothing, without end": (UBJ.replace(b"[$l#L\0\0\0\0\0\0\0\3", b"[$Z#L\x7f\xff\xff\xff\xff\xff\xff\xff", 1), "incomplete", "xgboost-malformed"),
    "a negative length": (UBJ.replace(b"L\0\0\0\0\0\0\0\3", b"L\xff\xff\xff\xff\xff\xff\xff\xff", 1), "incomplete", "xgboost-malformed"),
    "a child outside, in UBJSON": (UBJ.replace(struct.pack(">3i", 1, -1, -1), struct.pack(">3i", 99, -1, -1), 1), "block", "xgboost-tree-bounds"),
    "many trees": (BIN[:177] + struct.pack("<i", 1 << 30) + BIN[181:], "block", "xgboost-tree-bounds"),
    "many nodes": (BIN[:341] + struct.pack("<i", 1 << 30) + BIN[345:], "block", "xgboost-tree-bounds"),
    "a child outside, in the binary format": (BIN[:489] + struct.pack("<i", 77) + BIN[493:], "block", "xgboost-tree-bounds"),
    "the binary format cut short": (BIN[:-5], "block", "xgboost-tree-bounds"),
    "bytes behind the binary format": (BIN + b"hidden", "incomplete", "bytes-unexplained"),
    "a pickle under its name": (b"cos\nsystem\n(S'true'\ntR.", "block", "pickle-dangerous-call"),
}  # fmt: skip


def test_nodes_that_were_pruned_split_by_nothing() -> None:
    tree = json.loads(JSON)
    nodes = tree["learner"]["gradient_booster"]["model"]["trees"][0]
    leaf = nodes["left_children"].index(-1)
    nodes["split_indices"][leaf] = 0x7FFFFFFF
    assert report_of(json.dumps(tree).encode(), "model.json").outcome is Outcome.PASS


def test_a_tree_that_is_too_large_to_be_followed_is_incomplete(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "MOST_NUMBERS", 2)
    monkeypatch.setattr(xgboost, "MOST_NUMBERS", 2)
    assert "xgboost-malformed" in rules_of(report_of(JSON.encode(), "model.json"))


@pytest.mark.parametrize(("data", "outcome", "rule"), XGBOOST.values(), ids=XGBOOST)
def test_xgboost(data: bytes, outcome: str, rule: str) -> None:
    report = report_of(data, "model")
    assert rule in rules_of(report), report.verdict.findings
    assert report.outcome.value == outcome, report.verdict.findings


def test_both_encodings_tell_the_same() -> None:
    told = []
    for read, data in ((json_events, JSON.encode()), (ubjson_events, UBJ)):
        found = read(BytesSource("m", data), Budget(ScanSettings()))
        told.append({(e.key, e.count, e.low, e.high) for e in found if e.kind is Kind.NUMBERS and "children" in e.key})
    assert told[0] == told[1] != set()


def test_lists_longer_than_a_window_are_one_event() -> None:
    data = b'{"learner": [' + b"1, " * 1_500_000 + b'7], "x": "' + b"y" * (3 << 20) + b'"}'
    found = list(json_events(BytesSource("m", data), Budget(ScanSettings())))
    assert [(e.kind, e.count, e.high) for e in found[1:2]] == [(Kind.NUMBERS, 1_500_001, 7)]
    assert [e.kind for e in found] == [Kind.OBJECT, Kind.NUMBERS, Kind.TEXT, Kind.END]


@pytest.mark.parametrize("text", ['{"a": }', '{"a"}', "[1, 2", '{"a": 1]', '["a"', "{1: 2}", '{"a": "b', "[" * 1000])
def test_what_is_no_json_ends_the_events(text: str) -> None:
    with pytest.raises(Broken):
        list(json_events(BytesSource("m", text.encode()), Budget(ScanSettings())))


# ---------------------------------------------------------------- LightGBM
TEXT = fixture("boosters", "lightgbm-classifier", "model.txt").decode()


def line(key: str) -> str:
    """The first line of that key."""
    return next(one for one in TEXT.splitlines() if one.startswith(key + "="))


LIGHTGBM = {
    "a child outside": (TEXT.replace(line("left_child"), "left_child=" + "9" * (len(line("left_child")) - 11)), "block", "lightgbm-tree-bounds"),
    "a feature outside": (TEXT.replace(line("max_feature_idx"), "max_feature_idx=-1"), "block", "lightgbm-tree-bounds"),
    "sizes that do not fit": (TEXT.replace(line("tree_sizes"), "tree_sizes=1 2 3"), "block", "lightgbm-tree-bounds"),
    "a size beyond the text": (TEXT.replace(line("tree_sizes"), f"tree_sizes={1 << 62}"), "block", "lightgbm-tree-bounds"),
    "a key twice": (TEXT.replace("num_class=1\n", "num_class=1\nnum_class=2\n"), "incomplete", "lightgbm-malformed"),
    "a line of something else": (TEXT.replace("end of trees", "import os\nend of trees"), "review", "lightgbm-unknown-line"),
    "a number that is none": (TEXT.replace(line("tree_sizes"), "tree_sizes=x"), "incomplete", "lightgbm-malformed"),
    "cut short": (TEXT[:900], "block", "lightgbm-tree-bounds"),
    "a key in the parameters": (TEXT.replace("[num_gpu: 1]", f"[num_gpu: {AWS}]"), "review", "credential-in-model"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "outcome", "rule"), LIGHTGBM.values(), ids=LIGHTGBM)
def test_lightgbm(text: str, outcome: str, rule: str) -> None:
    report = report_of(text.encode(), "model.txt")
    assert rule in rules_of(report), report.verdict.findings
    assert report.outcome.value == outcome, report.verdict.findings


# ---------------------------------------------------------------- R
def r(item: bytes, version: int = 2) -> bytes:
    return b"X\n" + struct.pack(">3i", version, 0x40000, 0x20300) + item


def i(*numbers: int) -> bytes:
    return struct.pack(f">{len(numbers)}i", *numbers)


NIL = i(254)


def chars(text: str) -> bytes:
    return i(9, len(text.encode())) + text.encode()


def symbol(name: str) -> bytes:
    return i(1) + chars(name)


def call(head: bytes, *arguments: bytes) -> bytes:
    return i(6) + head + b"".join(i(2) + one for one in arguments) + NIL


def texts(*values: str) -> bytes:
    return i(16, len(values)) + b"".join(chars(value) for value in values)


def sum_of(count: int, first: bytes = symbol("x")) -> bytes:
    """One call within the other, as R parses a long sum."""
    begins = (i(6) + symbol("+") + i(2)) * count
    return begins + first + (i(2) + symbol("x") + NIL) * count


SYSTEM = call(symbol("system"), texts("true"))
ENVIRONMENT = i(4, 0) + NIL
CLOSURE = i(3 | 0x400) + NIL + NIL + SYSTEM
PROMISE = i(5 | 0x400) + NIL + i(252) + SYSTEM
DONE = i(5) + texts("value") + symbol("x")
R = {
    "a text": (texts("hello"), "pass", None),
    "a formula": (call(symbol("~"), symbol("y"), call(symbol("log"), symbol("x"))), "pass", None),
    "a call of the system": (SYSTEM, "block", "operator-runs-code"),
    "a call of the system in a formula": (call(symbol("~"), symbol("y"), SYSTEM), "block", "operator-runs-code"),
    "a call through a package": (call(call(symbol("::"), symbol("base"), symbol("system")), texts("true")), "block", "operator-runs-code"),
    "a call of something unknown": (call(symbol("frobnicate")), "review", "operator-unknown"),
    "a promise (CVE-2024-27322)": (PROMISE, "block", "r-promise"),
    "a promise in a list": (i(19, 1) + PROMISE, "block", "r-promise"),
    "a promise as an attribute": (i(13 | 0x200, 0) + i(2 | 0x400) + symbol("class") + PROMISE + NIL, "block", "r-promise"),
    "a promise of an environment": (ENVIRONMENT + i(2 | 0x400) + symbol("x") + PROMISE + NIL + NIL + NIL, "block", "operator-runs-code"),
    "a promise that has run": (ENVIRONMENT + i(2 | 0x400) + symbol("x") + DONE + NIL + NIL + NIL, "pass", None),
    "a function": (CLOSURE, "block", "operator-runs-code"),
    "a harmless function": (i(3 | 0x400) + NIL + NIL + i(254), "review", "code-in-model"),
    "byte code": (i(21, 0) + i(13, 0) + i(1, 16) + texts("x"), "review", "code-in-model"),
    "a call in byte code": (i(21, 1) + i(13, 0) + i(1, 6) + NIL + i(1) + symbol("system") + i(254) + NIL, "block", "operator-runs-code"),
    "a function of the machine": (i(8, 6) + b"system", "block", "operator-runs-code"),
    "an object elsewhere": (i(247, 0, 1) + chars("x"), "review", "r-outside-object"),
    "a file in memory": (i(238) + i(2) + symbol("mmap_real") + i(2) + symbol("simplemmap") + i(2) + i(13, 1, 14) + NIL + NIL + NIL, "review", "r-outside-object"),
    "a compact sequence": (i(238) + i(2) + symbol("compact_intseq") + i(2) + symbol("base") + i(2) + i(13, 1, 13) + NIL + i(14, 0) + NIL, "pass", None),
    "a name that R runs": (i(2 | 0x400) + symbol(".First") + texts("x") + NIL, "block", "r-startup"),
    "a key": (texts(AWS), "review", "credential-in-model"),
    "an unknown item": (i(99), "incomplete", "r-malformed"),
    "a vector without end": (i(14, 1 << 30), "incomplete", "r-malformed"),
    "a long vector without end": (i(14, -1, 1 << 30, 0), "incomplete", "r-malformed"),
    "a text of negative length": (i(9, -7), "incomplete", "r-malformed"),
    "a reference to nothing": (i(255 | 5 << 8), "incomplete", "r-malformed"),
    "nested without end": (i(19, 1) * 50_000, "incomplete", "r-malformed"),
    "a sum of many": (call(symbol("~"), symbol("y"), sum_of(1200)), "pass", None),
    "a sum of many, and the system": (call(symbol("~"), symbol("y"), sum_of(1200, SYSTEM)), "block", "operator-runs-code"),
    "a chain of many": (i(2) + texts("x") + (i(2) + texts("y")) * 3000 + NIL, "pass", None),
}  # fmt: skip


@pytest.mark.parametrize(("item", "outcome", "rule"), R.values(), ids=R)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])
def test_r(item: bytes, outcome: str, rule: str | None, packed: bool) -> None:
    data = gzip.compress(r(item)) if packed else r(item)
    report = report_of(data, "model.rds")
    assert rule is None or rule in rules_of(report), report.verdict.findings
    assert report.outcome.value == outcome, report.verdict.findings


def test_bytes_behind_an_r_object_are_no_pass() -> None:
    assert report_of(r(texts("x")) + b"more", "m.rds").outcome is Outcome.INCOMPLETE


@pytest.mark.parametrize("mark", [b"A", b"B"])
def test_a_promise_in_the_other_encodings(mark: bytes) -> None:
    numbers = [2, 1, 1, 5, 252, 6, 1, 9, 6]
    if mark == b"A":
        data = b"A\n" + b"".join(b"%d\n" % n for n in numbers) + b"sys\\164em\n254\n"
    else:
        data = b"B\n" + struct.pack("<9i", *numbers) + b"system" + struct.pack("<i", 254)
    assert {"r-promise", "operator-runs-code"} <= rules_of(report_of(data, "m.rds"))


# ---------------------------------------------------------------- TensorRT
PLAN = b"ftrt" + bytes(60) + b"kernel" * 20
EXPORTED = json.dumps({"task": "detect"}).encode()
TENSORRT = {
    "a plan": (PLAN, "review", "tensorrt-opaque"),
    "a plan with kernels": (PLAN + CUDA, "review", "tensorrt-opaque"),
    "a plan behind a header": (struct.pack("<I", len(EXPORTED)) + EXPORTED + PLAN, "review", "tensorrt-opaque"),
    "a plan with a library in it": (PLAN + ELF, "block", "executable-hidden"),
    "a plan that names a library": (PLAN + b"/opt/evil_plugin.so\0", "block", "tensorrt-library"),
    "a plan that names another library": (PLAN + b"C:\\evil.dll\0", "block", "tensorrt-library"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "outcome", "rule"), TENSORRT.values(), ids=TENSORRT)
def test_tensorrt(data: bytes, outcome: str, rule: str) -> None:
    report = report_of(data, "model.engine")
    assert report.outcome.value == outcome, report.verdict.findings
    assert rule in rules_of(report), report.verdict.findings


CUTS = {
    "json": JSON.encode(),
    "ubjson": UBJ,
    "binary": BIN,
    "text": TEXT[: TEXT.index("end of trees")].encode(),
    "r": r(i(19, 3) + texts("a", "b") * 3),
}


@pytest.mark.parametrize("data", CUTS.values(), ids=CUTS)
def test_a_cut_anywhere_is_never_a_pass(data: bytes) -> None:
    for at in range(0, len(data) - 2, max(1, len(data) // 60)):
        assert report_of(data[:at], "model").outcome is not Outcome.PASS, at
