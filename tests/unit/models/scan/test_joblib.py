"""joblib files: raw arrays between instructions, objects within arrays, every codec, and what hides in array bytes."""

import bz2
import gzip
import io
import lzma
import os
import pickle
import zlib

import joblib
import numpy as np
import pytest

from fastness.models.scan import Outcome
from tests.unit.models.scan.artifacts import EVIL, SYSTEM, Reduces, global_, report_of, rules_of, stream, text


def dumped(value: object, compress: int | tuple[str, int] = 0) -> bytes:
    out = io.BytesIO()
    joblib.dump(value, out, compress=compress)
    return out.getvalue()


ARRAYS = {
    "floats": np.arange(1000.0),
    "big-endian": np.arange(10, dtype=">i4"),
    "columns first": np.asfortranarray(np.ones((3, 4))),
    "no elements": np.zeros((0, 3)),
    "no axes": np.array(1.5),
    "texts": np.array(["a", "bcd"]),
    "bytes": np.array([b"a", b"bcd"]),
    "booleans": np.array([True, False]),
    "complex": np.array([1j]),
    "dates": np.array(["2024-01-01"], dtype="M8[D]"),
    "records": np.zeros(3, dtype=[("a", "i4"), ("b", "f8")]),
    "objects": np.array([{"a": 1}, None], dtype=object),
    "two": [np.arange(3), {"b": np.ones(2)}],
}


@pytest.mark.parametrize("value", ARRAYS.values(), ids=ARRAYS)
@pytest.mark.parametrize("compress", [0, 3, ("gzip", 3), ("bz2", 3), ("xz", 3), ("lzma", 3)], ids=str)
def test_arrays_pass_with_every_byte_explained(value: object, compress: int | tuple[str, int]) -> None:
    report = report_of(dumped(value, compress), "model.joblib")
    assert report.outcome is Outcome.PASS, report.verdict.findings
    assert report.explained_bytes == report.size


def test_a_call_behind_an_array_is_seen() -> None:
    report = report_of(dumped([np.arange(100.0), Reduces(os.system, "true")]), "model.joblib")
    assert "pickle-dangerous-call" in rules_of(report)


def test_a_call_among_the_objects_of_an_array_is_seen() -> None:
    report = report_of(dumped(np.array([Reduces(os.system, "true")], dtype=object)), "model.joblib")
    assert "pickle-dangerous-call" in rules_of(report)


def test_instructions_in_the_bytes_of_an_array_are_seen_as_pickle_would_run_them() -> None:
    # joblib steps over the array's bytes; pickle.load runs them.
    raw = b"0" + SYSTEM + b"."
    dtype = global_("numpy", "dtype") + text("u1") + b"\x89\x88\x87R"
    state = {
        "subclass": global_("numpy", "ndarray"),
        "shape": b"K" + bytes([len(raw)]) + b"\x85",
        "order": text("C"),
        "dtype": dtype,
    }
    items = b"".join(text(key) + value for key, value in state.items())
    wrapper = global_("joblib.numpy_pickle", "NumpyArrayWrapper") + b")\x81}(" + items + b"ub"
    honest = report_of(stream(wrapper + bytes(len(raw))))
    assert honest.outcome is Outcome.PASS, honest.verdict.findings
    assert "pickle-dangerous-call" in rules_of(report_of(stream(wrapper + raw)))


CODECS = {"zlib": zlib.compress, "gzip": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_a_payload_is_seen_through_each_codec(codec) -> None:  # noqa: ANN001 - four functions of four signatures
    report = report_of(codec(EVIL), "model.joblib")
    assert report.outcome is Outcome.BLOCK
    assert {"compressed", "pickle"} <= set(report.formats)


CASES = {
    "lz4": (b"\x04\x22\x4d\x18" + b"\0" * 20, "compressed-broken"),
    "zstandard": (b"\x28\xb5\x2f\xfd" + b"\0" * 20, "compressed-broken"),
    "cut off": (zlib.compress(pickle.dumps(list(range(500))))[:-40], "compressed-broken"),
    "wrong checksum": (gzip.compress(EVIL)[:-8] + b"\0" * 8, "compressed-broken"),
    "something behind": (zlib.compress(pickle.dumps([1])) + b"more", "compressed-trailing-bytes"),
    "nothing inside": (zlib.compress(b""), "file-empty"),
}


@pytest.mark.parametrize(("data", "rule"), CASES.values(), ids=CASES)
def test_what_cannot_be_opened_whole_is_incomplete(data: bytes, rule: str) -> None:
    report = report_of(data, "model.joblib")
    assert report.outcome is not Outcome.PASS
    assert rule in rules_of(report)


def test_streams_behind_each_other_are_read_as_one() -> None:
    data = pickle.dumps(list(range(100)))
    report = report_of(gzip.compress(data[:50]) + gzip.compress(data[50:]))
    assert report.outcome is Outcome.PASS, report.verdict.findings


def test_inflation_is_bounded() -> None:
    report = report_of(gzip.compress(bytes(1 << 20)), inflated_bytes=1 << 16)
    assert rules_of(report) == {"budget-spent"}


def test_a_long_inflated_stream_is_read_in_pieces() -> None:
    value = [bytes([i % 256]) * (1 << 20) for i in range(12)]
    report = report_of(zlib.compress(pickle.dumps([*value, Reduces(os.system, "true")]), 1))
    assert rules_of(report) == {"pickle-dangerous-call"}


def test_nesting_is_bounded() -> None:
    data = EVIL
    for _ in range(12):
        data = zlib.compress(data)
    assert report_of(data).outcome is Outcome.INCOMPLETE


def test_an_array_that_claims_more_than_the_file_holds_is_refused() -> None:
    data = dumped(np.arange(100.0))
    report = report_of(data[:-8], "model.joblib")
    assert report.outcome is Outcome.INCOMPLETE
    assert "pickle-truncated" in rules_of(report)
