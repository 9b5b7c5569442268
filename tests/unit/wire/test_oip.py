from __future__ import annotations

import json

import numpy as np
import pytest

from fastness.core.errors import Invalid
from fastness.core.signature import Datatype, ModelSignature, TensorSpec
from fastness.wire import oip

EVERY = {
    "BOOL": np.array([[True, False]]),
    "UINT8": np.array([[0, 255]], np.uint8),
    "UINT16": np.array([[0, 65535]], np.uint16),
    "UINT32": np.array([[0, 2**32 - 1]], np.uint32),
    "UINT64": np.array([[0, 2**64 - 1]], np.uint64),
    "INT8": np.array([[-128, 127]], np.int8),
    "INT16": np.array([[-(2**15), 2**15 - 1]], np.int16),
    "INT32": np.array([[-(2**31), 2**31 - 1]], np.int32),
    "INT64": np.array([[-(2**63), 2**63 - 1]], np.int64),
    "FP16": np.array([[0.5, -65504]], np.float16),
    "FP32": np.array([[0.1, 3.4e38]], np.float32),
    "FP64": np.array([[0.1, 1.7e308]], np.float64),
    "BYTES": np.array([["é".encode(), b""]], object),
}


def body(**changes: object) -> bytes:
    tensor = {"name": "X", "shape": [2, 2], "datatype": "FP32", "data": [0, 1, 2, 3]} | changes
    return json.dumps({"inputs": [{k: v for k, v in tensor.items() if v is not ...}]}).encode()


@pytest.mark.parametrize("datatype", list(Datatype))
@pytest.mark.parametrize("binary", [True, False])
def test_every_datatype_travels_both_ways(datatype: Datatype, binary: bool) -> None:
    array = EVERY[datatype]
    assert oip.datatype_of(array) is datatype
    if datatype is Datatype.FP16 and not binary:
        with pytest.raises(Invalid) as refused:
            oip.encode_request({"X": array}, binary=False)
        assert refused.value.code == "tensor-datatype"
        return
    data, headers = oip.encode_request({"X": array}, binary=binary)
    length = oip.parse_length(headers.get(oip.LENGTH_HEADER))
    assert (length is not None) == binary
    request = oip.decode_request(data, length)
    assert request.inputs["X"].dtype == oip.dtype_of(datatype)
    assert np.array_equal(request.inputs["X"], array)
    reply, reply_length = oip.encode_response(oip.InferResponse("m", "1", {"Y": array}), request)
    answer = oip.decode_response(reply, None if reply_length is None else str(reply_length))
    assert np.array_equal(answer.outputs["Y"], array)
    assert (answer.model_name, answer.model_version) == ("m", "1")


@pytest.mark.parametrize(
    ("shape", "data"),
    [([2, 2], [0, 1, 2, 3]), ([2, 2], [[0, 1], [2, 3]]), ([4], [0, 1, 2, 3]), ([1, 2, 2], [[[0, 1], [2, 3]]])],
)
def test_flat_and_nested_data_are_the_same(shape: list[int], data: list[object]) -> None:
    array = oip.decode_request(body(shape=shape, data=data)).inputs["X"]
    assert array.shape == tuple(shape)
    assert array.ravel().tolist() == [0, 1, 2, 3]


def test_nested_texts() -> None:
    array = oip.decode_request(body(datatype="BYTES", data=[["a", "b"], ["c", "é"]])).inputs["X"]
    assert array.tolist() == [[b"a", b"b"], [b"c", "é".encode()]]


def test_a_scalar_and_an_empty_tensor() -> None:
    assert oip.decode_request(body(shape=[], data=[1])).inputs["X"].shape == ()
    assert oip.decode_request(body(shape=[0, 4], data=[])).inputs["X"].shape == (0, 4)


REFUSED = {
    "not json": (b"{", "json-malformed"),
    "empty": (b"", "json-malformed"),
    "two objects": (body() + body(), "json-malformed"),
    "not an object": (b"[]", "request-malformed"),
    "not utf-8": (b'{"inputs":[{"name":"\xff","shape":[1],"datatype":"FP32","data":[1]}]}', "json-malformed"),
    "nan": (body().replace(b"[0, 1, 2, 3]", b"[NaN, 1, 2, 3]"), "json-malformed"),
    "infinity": (body().replace(b"[0, 1, 2, 3]", b"[-Infinity, 1, 2, 3]"), "json-malformed"),
    "null": (body(data=[None, 1, 2, 3]), "tensor-data"),
    "lists for objects": (b'{"inputs":' + b"[" * 100_000, "request-malformed"),
    "deep where nothing is expected": (b'{"parameters":{"x":' + b"[" * 100_000, "json-malformed"),
    "deep data": (body(data=...)[:-3] + b', "data": ' + b"[" * 100_000, "json-malformed"),
    "no inputs": (b'{"inputs":[]}', "tensor-count"),
    "inputs missing": (b"{}", "request-malformed"),
    "65 inputs": (json.dumps({"inputs": json.loads(body())["inputs"] * 65}).encode(), "tensor-count"),
    "a name twice": (json.dumps({"inputs": json.loads(body())["inputs"] * 2}).encode(), "tensor-name"),
    "no name": (body(name=...), "request-malformed"),
    "empty name": (body(name=""), "tensor-name"),
    "long name": (body(name="x" * 257), "tensor-name"),
    "unknown datatype": (body(datatype="COMPLEX64"), "tensor-datatype"),
    "fp16 in json": (body(datatype="FP16"), "tensor-datatype"),
    "rank 9": (body(shape=[1] * 9), "tensor-shape"),
    "negative length": (body(shape=[-2, -2]), "tensor-shape"),
    "a length that is no number": (body(shape=["2", 2]), "tensor-shape"),
    "a length of 2^100": (body(shape=[2**100]), "tensor-shape"),
    "lengths whose product overflows 64 bits": (body(shape=[2**33, 2**33]), "tensor-count"),
    "an empty tensor that no array can be": (body(shape=[0, 2**40, 2**40], data=[]), "tensor-shape"),
    "too few": (body(data=[0, 1, 2]), "tensor-count"),
    "too many": (body(data=[0, 1, 2, 3, 4]), "tensor-count"),
    "ragged": (body(data=[[0, 1], [2]]), "tensor-count"),
    "nested otherwise": (body(data=[[0], [1], [2], [3]]), "tensor-count"),
    "ragged texts": (body(datatype="BYTES", data=[["a", "b", "c"], ["d"]]), "tensor-count"),
    "nested deeper": (body(data=[[[0, 1]], [[2, 3]]]), "tensor-data"),
    "nested unevenly": (body(data=[0, [1, 2, 3]]), "tensor-data"),
    "a text among numbers": (body(data=[0, 1, 2, "3"]), "tensor-data"),
    "a boolean among numbers": (body(data=[0, 1, 2, True]), "tensor-data"),
    "a fraction among whole numbers": (body(datatype="INT64", data=[0, 1, 2, 3.5]), "tensor-data"),
    "beyond int8": (body(datatype="INT8", data=[0, 1, 2, 128]), "tensor-data"),
    "beyond uint64": (body(datatype="UINT64", data=[0, 1, 2, 2**64]), "tensor-data"),
    "below uint64": (body(datatype="UINT64", data=[0, 1, 2, -1]), "tensor-data"),
    "beyond fp32": (body(data=[0, 1, 2, 1e39]), "tensor-data"),
    "beyond fp64": (body(datatype="FP64").replace(b"3]", b"1e999]"), "tensor-data"),
    "an object as data": (body(data={}), "tensor-data"),
    "no data": (body(data=...), "tensor-data"),
    "a field that is not the protocol's": (body(extra=1), "request-malformed"),
    "classification": (
        body()[:-1] + b',"outputs":[{"name":"Y","parameters":{"classification":3}}]}',
        "parameter-unsupported",
    ),
    "binary data announced and absent": (body(data=..., parameters={"binary_data_size": 16}), "binary-length"),
    "a negative size": (body(data=..., parameters={"binary_data_size": -1}), "request-malformed"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_a_request_is_refused_with_its_code(case: str) -> None:
    data, code = REFUSED[case]
    with pytest.raises(Invalid) as refused:
        oip.decode_request(data)
    assert refused.value.code == code
    assert refused.value.hint
    assert len(refused.value.message) < 600


def binary(parameters: dict[str, object], data: bytes, **changes: object) -> tuple[bytes, int]:
    head = body(data=..., parameters=parameters, **changes)
    return head + data, len(head)


BINARY_REFUSED = {
    "too short": (*binary({"binary_data_size": 16}, b"\0" * 15), "binary-length"),
    "too long": (*binary({"binary_data_size": 16}, b"\0" * 17), "binary-length"),
    "another size than the shape's": (*binary({"binary_data_size": 12}, b"\0" * 12), "tensor-count"),
    "the JSON longer than the body": (body(), 1000, "binary-length"),
    "the JSON cut": (body(), 10, "json-malformed"),
    "a boolean of 2": (*binary({"binary_data_size": 4}, b"\0\1\2\0", datatype="BOOL"), "tensor-data"),
    "bytes that end early": (
        *binary({"binary_data_size": 8}, b"\5\0\0\0abcd", datatype="BYTES", shape=[1]),
        "tensor-count",
    ),
    "a length of 4 GB": (
        *binary({"binary_data_size": 8}, b"\xff\xff\xff\xffabcd", datatype="BYTES", shape=[1]),
        "tensor-count",
    ),
    "2^40 texts": (*binary({"binary_data_size": 4}, b"\0\0\0\0", datatype="BYTES", shape=[2**40]), "tensor-count"),
    "both data and size": (
        (text := body(parameters={"binary_data_size": 16})) + b"\0" * 16,
        len(text),
        "tensor-data",
    ),
}


@pytest.mark.parametrize("case", BINARY_REFUSED)
def test_binary_data_that_does_not_agree_is_refused(case: str) -> None:
    data, length, code = BINARY_REFUSED[case]
    with pytest.raises(Invalid) as refused:
        oip.decode_request(data, length)
    assert refused.value.code == code


def test_binary_tensors_are_views_and_cannot_be_written() -> None:
    data, length = binary({"binary_data_size": 16}, np.arange(4, dtype="<f4").tobytes())
    held = bytearray(data)
    array = oip.decode_request(held, length).inputs["X"]
    held[-4:] = np.array([9], "<f4").tobytes()
    assert array[1, 1] == 9
    with pytest.raises(ValueError, match="read-only"):
        array[0, 0] = 1


def test_errors_do_not_quote_values() -> None:
    with pytest.raises(Invalid) as refused:
        oip.decode_request(body(data=[0, 1, 2, "4111 1111 1111 1111"]))
    assert "4111" not in str(refused.value)


@pytest.mark.parametrize("text", ["", "-1", "+1", "1.0", "0x10", "1" * 11, "²"])
def test_a_header_length_is_decimal_digits(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        oip.parse_length(text)
    assert refused.value.code == "binary-length"


def test_outputs_are_chosen_and_their_form_too() -> None:
    data = body()[:-1] + (
        b',"id":"mine","parameters":{"binary_data_output":true},'
        b'"outputs":[{"name":"B"},{"name":"A","parameters":{"binary_data":false}}]}'
    )
    request = oip.decode_request(data)
    response = oip.InferResponse("m", "1", {"A": np.ones(2, np.float32), "B": np.ones(3), "C": np.ones(4)}, request.id)
    reply, length = oip.encode_response(response, request)
    assert length is not None
    told = json.loads(reply[:length])
    assert told["id"] == "mine"
    assert [o["name"] for o in told["outputs"]] == ["B", "A"]
    assert told["outputs"][0]["parameters"] == {"binary_data_size": 24}
    assert told["outputs"][1]["data"] == [1.0, 1.0]


def test_an_output_that_does_not_exist_is_named() -> None:
    request = oip.decode_request(body()[:-1] + b',"outputs":[{"name":"nope"}]}')
    with pytest.raises(Invalid) as refused:
        oip.encode_response(oip.InferResponse("m", "1", {"A": np.ones(2)}), request)
    assert refused.value.code == "tensor-name"
    assert "A" in refused.value.hint


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_no_answer_turns_nan_into_null(value: float) -> None:
    request = oip.decode_request(body())
    with pytest.raises(Invalid) as refused:
        oip.encode_response(oip.InferResponse("m", "1", {"A": np.array([value])}), request)
    assert refused.value.code == "tensor-data"


def test_big_endian_and_strided_arrays_are_sent_right() -> None:
    array = np.arange(12, dtype=">f4").reshape(3, 4)[:, ::2]
    data, headers = oip.encode_request({"X": array})
    decoded = oip.decode_request(data, oip.parse_length(headers[oip.LENGTH_HEADER])).inputs["X"]
    assert decoded.tolist() == array.tolist()


def test_complex_numbers_are_not_sent() -> None:
    with pytest.raises(Invalid) as refused:
        oip.encode_request({"X": np.ones(2, np.complex128)})
    assert refused.value.code == "tensor-datatype"


def test_metadata_names_what_the_model_takes() -> None:
    signature = ModelSignature((TensorSpec("X", Datatype.FP32, (-1, 64)),), (TensorSpec("y", Datatype.INT64, (-1,)),))
    told = json.loads(oip.encode_metadata("digits", ["1"], signature))
    assert told["inputs"] == [{"name": "X", "datatype": "FP32", "shape": [-1, 64]}]
    assert told["versions"] == ["1"]
