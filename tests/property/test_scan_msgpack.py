"""Whatever stands in MessagePack, a TensorFlow graph or a checkpoint's index: a report, the same twice."""

import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from fastness.core.sources import BytesSource
from fastness.models.scan import Outcome
from fastness.models.scan.budget import Budget, ScanSettings
from fastness.models.scan.cursor import Cursor
from fastness.models.scan.msgpack import Kind, values
from tests.needs import ROOT
from tests.unit.models.scan.artifacts import proto, report_of, rules_of
from tests.unit.models.scan.keras_bytes import COMPUTES, flax_array, graph_def, node, pack, saved_model

FOLDER = ROOT / "tests/data/artifacts"
FILES = {
    "flax_model.msgpack": [path.read_bytes() for path in sorted((FOLDER / "flax").rglob("*.msgpack"))],
    "saved_model.pb": [path.read_bytes() for path in sorted((FOLDER / "tensorflow").rglob("saved_model.pb"))],
    "variables.index": [path.read_bytes() for path in sorted((FOLDER / "tensorflow").rglob("*.index"))],
    "frozen.pbtxt": [path.read_bytes() for path in sorted((FOLDER / "tensorflow").rglob("*.pbtxt"))],
}
SMALL = {"fields": 50_000, "facts": 500, "header_bytes": 1 << 20, "opcodes": 50_000}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 1 << 40) | st.text(max_size=20) | st.binary(max_size=20)
    | st.tuples(st.integers(0, 255), st.binary(max_size=30)) | st.just(flax_array()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


def check(data: bytes, name: str) -> None:
    report = report_of(data, name, **SMALL)
    assert report == report_of(data, name, **SMALL)
    assert "reader-failed" not in rules_of(report), report.verdict.findings
    assert report.outcome is not Outcome.PASS or report.explained_bytes == report.size


@given(VALUES)
def test_any_object_is_walked_to_its_end(value: object) -> None:
    data = pack(value)
    found = list(values(Cursor(BytesSource("m", data)), len(data), Budget(ScanSettings())))
    assert found[-1].end == len(data)
    assert sum(one.kind in {Kind.LIST, Kind.MAP} for one in found) == _containers(value)
    check(data, "flax_model.msgpack")


def _containers(value: object) -> int:
    if isinstance(value, dict):
        return 1 + sum(_containers(one) for one in value.values())
    return 1 + sum(map(_containers, value)) if isinstance(value, list) else 0


@given(
    st.lists(st.integers(0, 9), max_size=4),
    st.sampled_from(["float32", "int8", "object", "V4", "complex64", "O", "str"]),
    st.integers(0, 99),
)
def test_arrays_pass_only_where_their_bytes_fit(shape: list[int], dtype: str, length: int) -> None:
    data = pack({"w": flax_array(dtype, bytes(length), tuple(shape))})
    count = 1
    for one in shape:
        count *= one
    width = {"float32": 4, "int8": 1, "complex64": 8}.get(dtype)
    fits = width is not None and count * width == length
    assert (report_of(data, "m.msgpack").outcome is Outcome.PASS) == fits


@given(st.sampled_from(sorted(FILES)), st.data())
@settings(max_examples=2 * settings().max_examples)
def test_files_of_the_libraries_with_other_bytes_give_a_report(name: str, data: st.DataObject) -> None:
    seed = data.draw(st.sampled_from(FILES[name]))
    at = data.draw(st.integers(0, len(seed) - 1))
    put = data.draw(
        st.binary(min_size=1, max_size=10) | st.sampled_from([b"\xff" * 9 + b"\x7f", struct.pack("<Q", 1 << 63)])
    )
    check(seed[:at] + put + seed[at + data.draw(st.sampled_from([0, len(put)])) :], name)


@given(st.sampled_from(sorted(FILES)), st.data())
def test_files_of_the_libraries_cut_short_give_a_report(name: str, data: st.DataObject) -> None:
    seed = data.draw(st.sampled_from(FILES[name]))
    check(seed[: data.draw(st.integers(0, len(seed)))], name)


FIELDS = st.integers(1, 120)
MESSAGES = st.recursive(
    st.builds(proto, FIELDS, st.integers(0, (1 << 64) - 1) | st.text(max_size=8) | st.binary(max_size=12)),
    lambda inner: st.builds(lambda number, parts: proto(number, b"".join(parts)), FIELDS, st.lists(inner, max_size=3)),
    max_leaves=12,
)


@given(st.lists(MESSAGES, max_size=5))
def test_any_messages_give_a_report(parts: list[bytes]) -> None:
    check(b"".join(parts), "saved_model.pb")
    check(saved_model(graph_def(*COMPUTES) + b"".join(parts)), "model.pb")


@given(st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,30}", fullmatch=True), st.integers(0, 3))
def test_an_operator_that_is_not_listed_never_passes(op: str, depth: int) -> None:
    name = f"Zz{op}Q"
    graph = graph_def(*COMPUTES, node("n", name))
    for _ in range(depth):
        graph = graph_def(*COMPUTES) + proto(2, proto(1, proto(1, proto(1, "f")) + proto(3, node("n", name))))
    assert report_of(saved_model(graph), "saved_model.pb").outcome is Outcome.REVIEW
