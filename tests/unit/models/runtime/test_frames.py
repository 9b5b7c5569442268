"""Tensors survive the frame bit by bit; whatever else is sent is refused as a FrameError and as nothing else."""

from __future__ import annotations

import struct
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastness.core.signature import Datatype
from fastness.foundation.sandbox import HEAD_BYTES, read_head
from fastness.models.runtime.frames import (
    DTYPES,
    FrameError,
    Kind,
    Message,
    Problem,
    datatype_of,
    decode,
    encode,
    encode_text,
)


def back(frame: bytes) -> Message:
    assert read_head(frame, 1 << 30) == len(frame) - HEAD_BYTES
    return decode(memoryview(frame)[HEAD_BYTES:])


ARRAYS = [
    np.array([[True, False]]),
    np.arange(5, dtype=np.uint8),
    np.arange(6, dtype=np.int16).reshape(2, 3),
    np.array(7, np.int64),
    np.array([1.5, np.nan, np.inf, -0.0], np.float16),
    np.linspace(0, 1, 24, dtype=np.float32).reshape(2, 3, 4),
    np.array([[1e-300]]),
    np.array([b"", b"a\0b", "grün".encode()], object).reshape(3, 1),
    np.arange(12, dtype=np.float32).reshape(3, 4)[:, ::2],
    np.asfortranarray(np.arange(12.0).reshape(3, 4)),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda a: f"{a.dtype}{a.shape}")
def test_a_tensor_comes_back_as_it_was(array: np.ndarray) -> None:
    message = back(encode(Kind.RUN, 7, 99, {"first": array, "second": np.array([1.0])}))
    assert (message.kind, message.id, message.deadline_ns) == (Kind.RUN, 7, 99)
    found = message.tensors["first"]
    assert (found.shape, found.dtype) == (array.shape, array.dtype)
    if array.dtype == object:
        assert found.tolist() == array.tolist()
    else:
        assert found.tobytes() == array.tobytes()
        assert found.flags.aligned


def test_texts_of_any_kind_become_bytes() -> None:
    for array in (np.array(["a", "bc"]), np.array([b"a", b"bc"]), np.array(["a", b"bc"], object)):
        assert back(encode(Kind.RUN, 1, 0, {"t": array})).tensors["t"].tolist() == [b"a", b"bc"]


def test_every_type_of_the_protocol_has_a_code() -> None:
    assert set(DTYPES) == {str(datatype) for datatype in Datatype}
    for name, dtype in DTYPES.items():
        assert datatype_of(np.zeros(1, dtype)) == name
    assert datatype_of(np.zeros(1, np.complex64)) == ""


@pytest.mark.parametrize(
    "tensors",
    [
        {},
        {"e": np.zeros((0, 4))},
        {"c": np.zeros(1, np.complex64)},
        {"t": np.array([object()])},
        {"n" * 257: np.zeros(1)},
        {"r": np.zeros((1,) * 9)},
        {f"t{i}": np.zeros(1) for i in range(65)},
        {"d": np.array(["2020-01-01"], "datetime64[s]")},
    ],
)
def test_what_no_frame_holds_is_refused(tensors: dict[str, np.ndarray]) -> None:
    with pytest.raises(FrameError):
        encode(Kind.RUN, 1, 0, tensors)


def test_an_error_carries_its_reason_and_no_more_than_512_bytes() -> None:
    message = back(encode_text(Kind.ERROR, 3, b"x" * 10_000, Problem.FAILED))
    assert (message.kind, message.id, message.problem, len(message.text)) == (Kind.ERROR, 3, Problem.FAILED, 512)


def body(count: int = 1, kind: int = Kind.RUN, zero: int = 0, reserved: int = 0) -> bytes:
    return struct.pack("<BBHIQQ", kind, zero, count, reserved, 1, 0)


def tensor(
    label: bytes = b"x", code: int = 10, shape: tuple[int, ...] = (2,), size: int = 8, raw: bytes = bytes(8)
) -> bytes:
    head = struct.pack(f"<HBBI{len(shape)}I", len(label), code, len(shape), size, *shape) + label
    return head + bytes(-len(head) & 7) + raw


@pytest.mark.parametrize(
    "payload",
    {
        "empty": b"",
        "short": body()[:-1],
        "kind": body(kind=99),
        "zero": body(zero=1) + tensor(),
        "reserved": body(reserved=1) + tensor(),
        "no tensors": body(0),
        "too many": body(65) + tensor() * 65,
        "missing": body(2) + tensor(),
        "twice": body(2) + tensor() * 2,
        "rest": body() + tensor() + bytes(8),
        "type": body() + tensor(code=200),
        "rank": body() + tensor(shape=(1,) * 9, size=4),
        "long name": body() + tensor(label=b"n" * 300),
        "name not utf-8": body() + tensor(label=b"\xff"),
        "size above": body() + tensor(size=16),
        "size below": body() + tensor(size=4),
        "shape above": body() + tensor(shape=(3,)),
        "huge shape": body() + tensor(shape=(0xFFFFFFFF,) * 8),
        "zero times huge": body() + tensor(shape=(0, 0xFFFFFFFF), size=8),
        "size beyond": body() + tensor(size=0xFFFFFFFF),
        "truth of 2": body() + tensor(code=0, shape=(8,), raw=b"\2" * 8),
        "text beyond": body() + tensor(code=12, shape=(1,), raw=struct.pack("<I", 100) + b"abcd"),
        "texts missing": body() + tensor(code=12, shape=(1 << 30,)),
        "texts over": body() + tensor(code=12, shape=(1,)),
    }.items(),
    ids=lambda case: case[0],
)
def test_what_is_malformed_is_refused(payload: tuple[str, bytes]) -> None:
    with pytest.raises(FrameError):
        decode(memoryview(payload[1]))


def test_the_cases_above_begin_with_one_that_is_well_formed() -> None:
    assert decode(memoryview(body() + tensor())).tensors["x"].tolist() == [0.0, 0.0]


@given(st.binary(max_size=200))
def test_any_bytes_raise_nothing_but_a_frame_error(data: bytes) -> None:
    for payload in (data, body() + data, body(2) + tensor() + data):
        with suppress(FrameError):
            decode(memoryview(payload))


@given(st.data())
def test_one_changed_byte_raises_nothing_but_a_frame_error(data: st.DataObject) -> None:
    frame = bytearray(encode(Kind.ANSWER, 5, 0, {"a": np.arange(3.0), "b": np.array([b"x", b"yz"], object)}))
    frame[data.draw(st.integers(HEAD_BYTES, len(frame) - 1))] = data.draw(st.integers(0, 255))
    with suppress(FrameError):
        decode(memoryview(frame)[HEAD_BYTES:])
