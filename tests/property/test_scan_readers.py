"""Whatever the bytes: a report within the budget, the same twice, and a pass only with every byte explained."""

import io
import pickle
import pickletools
import zlib
from contextlib import suppress

from hypothesis import example, given, settings
from hypothesis import strategies as st

from fastness.core.sources import BytesSource
from fastness.models.scan import Outcome
from fastness.models.scan.budget import Budget, ScanSettings
from fastness.models.scan.cursor import Cursor
from fastness.models.scan.literals import NotALiteral, parse_literal
from fastness.models.scan.machine import run
from tests.unit.models.scan.artifacts import EVIL, SYSTEM, npy, onnx_model, report_of, rules_of, safetensors, tensor

SMALL = {"opcodes": 50_000, "stack": 10_000, "inflated_bytes": 1 << 20, "header_bytes": 1 << 16, "fields": 10_000}
SEEDS = [
    pickle.dumps({"a": [1, (2.5, None)], "b": "x" * 300, "c": {1, 2}}, 4),
    pickle.dumps([b"y" * 300, {"k": "v"}], 0),
    EVIL,
    npy("'<f4'", "(4,)", bytes(16)),
    npy("'|O'", "(1,)", EVIL),
    safetensors({"w": tensor()}, bytes(16)),
    onnx_model(),
    zlib.compress(EVIL),
]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=300)
    | st.binary(max_size=300),
    lambda inner: (
        st.lists(inner, max_size=4) | st.tuples(inner, inner) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=20,
)


def check(data: bytes, name: str) -> None:
    report = report_of(data, name, **SMALL)
    assert report == report_of(data, name, **SMALL)
    assert "reader-failed" not in rules_of(report), report.verdict.findings
    assert 0 <= report.explained_bytes <= report.size
    assert report.outcome is not Outcome.PASS or report.explained_bytes == report.size


@given(st.binary(max_size=400), st.sampled_from(["x", "m.pkl", "m.onnx", "m.safetensors", "m.npy"]))
@example(b"", "m.pkl")
def test_any_bytes_give_a_report(data: bytes, name: str) -> None:
    check(data, name)


@given(st.sampled_from(SEEDS), st.data(), st.sampled_from(["x", "m.onnx", "m.safetensors"]))
@settings(max_examples=4 * settings().max_examples)
def test_damaged_files_give_a_report(seed: bytes, data: st.DataObject, name: str) -> None:
    damaged = bytearray(seed)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(damaged)))
        damaged[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
    check(bytes(damaged), name)


@given(
    st.lists(
        st.sampled_from([bytes([n]) for n in range(256)] + [b"os", b"\x8c\x02os", b"\x8c\x06system", b"\n"]),
        max_size=60,
    )
)
@settings(max_examples=4 * settings().max_examples)
def test_instructions_in_any_order_give_a_report(parts: list[bytes]) -> None:
    check(b"\x80\x04" + b"".join(parts), "m.pkl")


@given(st.binary(max_size=60).filter(lambda b: b"\x80" not in b), VALUES)
def test_a_payload_in_front_is_seen_whatever_follows(tail: bytes, value: object) -> None:
    data = b"\x80\x04" + SYSTEM + b"0" + pickle.dumps(value, 4)[2:] + tail
    assert "pickle-dangerous-call" in rules_of(report_of(data, **SMALL))


@given(VALUES, st.integers(0, 5))
def test_plain_values_pass(value: object, protocol: int) -> None:
    data = pickle.dumps(value, protocol)
    report = report_of(data, **SMALL)
    assert report.outcome is Outcome.PASS, report.verdict.findings


@given(VALUES, st.integers(0, 5))
def test_streams_end_where_python_says(value: object, protocol: int) -> None:
    data = pickle.dumps(value, protocol)
    wanted = [position for _, _, position in pickletools.genops(io.BytesIO(data))]
    cursor = Cursor(BytesSource("", data + b"rest"))
    trace = run(cursor, Budget(ScanSettings()))
    assert trace.stopped
    assert trace.end == wanted[-1] + 1 == len(data)


@given(st.text(alphabet="()[]{},:'ab10LTrue-\n \\", max_size=40))
def test_the_literal_parser_raises_only_its_own_error(text: str) -> None:
    with suppress(NotALiteral):
        parse_literal(text)
