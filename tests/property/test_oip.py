from __future__ import annotations

import contextlib
import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fastness.core.errors import FastnessError, Invalid
from fastness.wire import frames, oip, problems

DTYPES = st.sampled_from(["?", "<u1", "<u2", "<u4", "<u8", "<i1", "<i2", "<i4", "<i8", "<f2", "<f4", "<f8"])
ARRAYS = DTYPES.flatmap(
    lambda dtype: hnp.arrays(np.dtype(dtype), hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
)
TENSORS = st.dictionaries(st.text(min_size=1, max_size=20), ARRAYS, min_size=1, max_size=4)


@given(TENSORS)
def test_binary_tensors_round_trip_bit_by_bit(tensors: dict[str, np.ndarray]) -> None:
    body, headers = oip.encode_request(tensors)
    back = oip.decode_request(body, oip.parse_length(headers.get(oip.LENGTH_HEADER))).inputs
    assert list(back) == list(tensors)
    for name, tensor in tensors.items():
        assert back[name].dtype == tensor.dtype
        assert back[name].shape == tensor.shape
        assert back[name].tobytes() == tensor.tobytes()


@given(TENSORS)
def test_json_tensors_round_trip_or_are_refused(tensors: dict[str, np.ndarray]) -> None:
    untold = any(t.dtype == np.float16 or (t.dtype.kind == "f" and not np.isfinite(t).all()) for t in tensors.values())
    try:
        body, _ = oip.encode_request(tensors, binary=False)
    except Invalid:
        assert untold
        return
    assert not untold
    back = oip.decode_request(body).inputs
    for name, tensor in tensors.items():
        assert back[name].dtype == tensor.dtype
        assert np.array_equal(back[name], tensor)


@given(st.lists(st.binary(max_size=30), max_size=6))
def test_bytes_round_trip(values: list[bytes]) -> None:
    array = np.empty(len(values), object)
    array[:] = values
    body, headers = oip.encode_request({"X": array})
    back = oip.decode_request(body, oip.parse_length(headers[oip.LENGTH_HEADER])).inputs["X"]
    assert back.tolist() == values


@given(st.binary(max_size=300), st.none() | st.integers(0, 300))
def test_any_bytes_are_a_request_or_refused(body: bytes, length: int | None) -> None:
    with contextlib.suppress(Invalid):
        oip.decode_request(body, length)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)
TENSOR = st.fixed_dictionaries(
    {},
    optional={
        "name": st.just("X") | JSON,
        "shape": st.lists(st.integers(-1, 2**70), max_size=9) | st.just([2, 2]) | JSON,
        "datatype": st.sampled_from(["FP32", "INT8", "UINT64", "BOOL", "BYTES", "FP16", "FP64"]) | JSON,
        "data": st.just([1, 2, 3, 4]) | st.just([[1, 2], [3, 4]]) | JSON,
        "parameters": st.just({"binary_data_size": 4}) | JSON,
    },
)


@given(st.lists(TENSOR, max_size=3), st.binary(max_size=20))
def test_any_json_is_a_request_or_refused(tensors: list[object], tail: bytes) -> None:
    head = json.dumps({"inputs": tensors}).encode()
    for body, length in ((head, None), (head + tail, len(head))):
        with contextlib.suppress(Invalid):
            assert len(oip.decode_request(body, length).inputs) == len(tensors)


@given(TENSORS, st.data())
def test_a_cut_body_is_refused(tensors: dict[str, np.ndarray], data: st.DataObject) -> None:
    body, headers = oip.encode_request(tensors)
    cut = data.draw(st.integers(0, len(body) - 1))
    try:
        oip.decode_request(body[:cut], oip.parse_length(headers.get(oip.LENGTH_HEADER)))
    except Invalid:
        return
    raise AssertionError("a cut body was taken for whole")


@given(st.integers(400, 599), st.binary(max_size=200))
def test_any_answer_is_an_error_of_ours(status: int, body: bytes) -> None:
    assert isinstance(problems.decode(status, body, {}), FastnessError)


@given(st.binary(max_size=200))
def test_any_bytes_are_frames_or_corrupt(data: bytes) -> None:
    with contextlib.suppress(FastnessError):
        list(frames.FrameReader(max_bytes=1000).feed(data))
