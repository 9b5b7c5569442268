"""Open Inference Protocol v2, both directions, with JSON and binary tensors, straight into numpy arrays.

What is bounded: rank, number of tensors, names, every length; a count of elements is computed with whole numbers of any
size and compared with what came, so nothing overflows. A tensor's bytes are not copied: an array decoded from binary data
is a read-only view of the body. What is checked here is that the message is what it says; whether it is what the *model*
wants (names, ranges) is for the guard.

Deviations: FP16 travels only as binary data (JSON numbers would be widened and narrowed again); NaN and infinity too, for
JSON has none. `classification` and shared memory, extensions of some servers, are refused and not ignored.
Cost: JSON of 64 FP32 values about 3 us, of 78,400 about 3.5 ms; binary data about 1 us, whatever its size.

Source: Open Inference Protocol, "HTTP/REST" (kserve/open-inference-protocol, inference_rest.md) and its "Binary Tensor Data
Extension".
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

import msgspec
import numpy as np
from msgspec import Meta

from fastness.core.errors import Invalid
from fastness.core.signature import Datatype, ModelSignature, TensorSpec

MAX_RANK = 8
MAX_TENSORS = 64
MAX_NAME = 256
LENGTH_HEADER = "inference-header-content-length"
JSON_TYPE = "application/json"
BINARY_TYPE = "application/octet-stream"

Buffer = bytes | bytearray | memoryview
Tensors = dict[str, np.ndarray]
T = TypeVar("T")

Name = Annotated[str, Meta(min_length=1, max_length=MAX_NAME)]
Shape = Annotated[tuple[Annotated[int, Meta(ge=0, le=1 << 40)], ...], Meta(max_length=MAX_RANK)]
Size = Annotated[int, Meta(ge=0, le=1 << 40)]

# Tables are by the text of a datatype: the hash of an enum's member is computed in Python.
_DTYPES: dict[str, np.dtype] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype("<u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("<i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "BYTES": np.dtype(object),
}
# By numpy's number of a type: whatever the byte order, and cheaper than the hash of a dtype.
_DATATYPES = {dtype.num: Datatype(name) for name, dtype in _DTYPES.items()}
# C has two names for some widths, such as long and long long.
_TWINS = {(dtype.kind, dtype.itemsize): Datatype(name) for name, dtype in _DTYPES.items()}
Element = Literal[
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64", "BYTES"
]  # fmt: skip


def _elements(datatype: str) -> object:
    """The type that msgspec reads one element of JSON data as, its range with it; 64-bit ranges are checked by numpy."""
    dtype = _DTYPES[datatype]
    if datatype == "BOOL":
        return bool
    if datatype == "BYTES":
        return str
    if dtype.kind == "f":
        if dtype.itemsize == 8:
            return float
        highest = float(np.finfo(dtype).max)
        return Annotated[float, Meta(ge=-highest, le=highest)]
    if dtype.itemsize == 8:
        return int
    return Annotated[int, Meta(ge=int(np.iinfo(dtype).min), le=int(np.iinfo(dtype).max))]


def _nested(element: object, rank: int) -> object:
    for _ in range(max(rank, 1)):
        element = list[element]  # type: ignore[valid-type]  # built at run time, read by msgspec only
    return element


# One decoder for each datatype and rank, made once: 13 x 8 small objects.
_DATA = {
    datatype: [msgspec.json.Decoder(_nested(_elements(datatype), rank)) for rank in range(1, MAX_RANK + 1)]
    for datatype in _DTYPES
}


_NO_DATA = msgspec.Raw()


class _InputParameters(msgspec.Struct, gc=False):
    binary_data_size: Size | None = None
    shared_memory_region: str | None = None


class _OutputParameters(msgspec.Struct, gc=False):
    binary_data: bool | None = None
    binary_data_size: Size | None = None
    classification: int | None = None
    shared_memory_region: str | None = None


class _RequestParameters(msgspec.Struct, gc=False):
    binary_data_output: bool = False


class _Tensor(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    name: Name
    shape: Shape
    datatype: Element
    parameters: _InputParameters | None = None
    data: msgspec.Raw = _NO_DATA


class _Wanted(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    name: Name
    parameters: _OutputParameters | None = None


class _Request(msgspec.Struct, forbid_unknown_fields=True):
    inputs: Annotated[list[_Tensor], Meta(min_length=1, max_length=MAX_TENSORS)]
    id: Annotated[str, Meta(max_length=MAX_NAME)] = ""
    parameters: _RequestParameters | None = None
    outputs: Annotated[list[_Wanted], Meta(max_length=MAX_TENSORS)] | None = None


class _Response(msgspec.Struct):
    model_name: str
    outputs: Annotated[list[_Tensor], Meta(max_length=MAX_TENSORS)]
    model_version: str = ""
    id: str = ""


class InferRequest(msgspec.Struct):
    """A decoded request.

    Attributes:
        inputs: arrays by name.
        id: the caller's own name for the request; echoed, and otherwise not used.
        outputs: the outputs asked for, each with whether it is to be binary; None asks for all.
        binary: whether outputs not named in `outputs` are to be binary.
    """

    inputs: Tensors
    id: str = ""
    outputs: dict[str, bool] | None = None
    binary: bool = False


class InferResponse(msgspec.Struct):
    """A response; `outputs` are arrays by name, in the order of the model."""

    model_name: str
    model_version: str
    outputs: Tensors
    id: str = ""


_REQUEST = msgspec.json.Decoder(_Request)
_RESPONSE = msgspec.json.Decoder(_Response)
_ENCODER = msgspec.json.Encoder()


def datatype_of(array: np.ndarray) -> Datatype:
    """The protocol's name for the element type of `array`; texts and bytes are BYTES.

    Raises:
        Invalid: the protocol has no such type.
    """
    found = _DATATYPES.get(array.dtype.num)
    if found is not None:
        return found
    if array.dtype.kind in "SU":
        return Datatype.BYTES
    twin = _TWINS.get((array.dtype.kind, array.dtype.itemsize))
    if twin is None:
        known = ", ".join(str(dtype) for dtype in _DTYPES.values())
        raise Invalid("tensor-datatype", f"an array of {array.dtype} cannot be sent", f"Convert it to one of {known}.")
    return twin


def dtype_of(datatype: Datatype) -> np.dtype:
    """The numpy element type of `datatype`; BYTES are objects."""
    return _DTYPES[datatype._value_]


def parse_length(text: str | bytes | None) -> int | None:
    """The value of an `Inference-Header-Content-Length` header; None where there is none.

    Raises:
        Invalid: not a whole number of at most 10 digits.
    """
    if text is None:
        return None
    if not text.isdigit() or len(text) > 10 or not text.isascii():
        raise Invalid("binary-length", "Inference-Header-Content-Length is not a length", "Send it in decimal digits.")
    return int(text)


# --- decoding ---------------------------------------------------------------------------------------------------------
def decode_request(body: Buffer, json_length: int | None = None) -> InferRequest:
    """The request in `body`.

    Args:
        json_length: length of the JSON part where binary tensors follow it; None: all of it is JSON.

    Raises:
        Invalid: the message is not what it says; the code and hint name the field and what was expected.
    """
    request = _json(_REQUEST, body, json_length)
    inputs = _tensors(request.inputs, body, json_length, "inputs")
    binary = request.parameters.binary_data_output if request.parameters is not None else False
    if request.outputs is None:
        return InferRequest(inputs, request.id, None, binary)
    return InferRequest(inputs, request.id, {w.name: _wants_binary(w, binary) for w in request.outputs}, binary)


def decode_response(body: Buffer, json_length: str | bytes | None = None) -> InferResponse:
    """The response in `body`.

    Args:
        json_length: the value of the `Inference-Header-Content-Length` header, if there was one.

    Raises:
        Invalid: the message is not what it says.
    """
    length = parse_length(json_length)
    response = _json(_RESPONSE, body, length)
    outputs = _tensors(response.outputs, body, length, "outputs")
    return InferResponse(response.model_name, response.model_version, outputs, response.id)


def _json(decoder: msgspec.json.Decoder[T], body: Buffer, length: int | None) -> T:
    if length is not None and length > len(body):
        raise Invalid(
            "binary-length",
            f"Inference-Header-Content-Length is {length}, the body has {len(body)} bytes",
            "Send the length of the JSON part alone.",
        )
    part = body if length is None else memoryview(body)[:length]
    try:
        return decoder.decode(part)
    except msgspec.ValidationError as error:
        raise _invalid(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _malformed(bytes(part), error) from error
    except RecursionError as error:
        raise Invalid(
            "json-malformed", "the JSON is nested too deeply", "A request nests its data once a rank."
        ) from error


_FIELDS = {"name": "tensor-name", "shape": "tensor-shape", "datatype": "tensor-datatype", "data": "tensor-data"}


def _invalid(message: str) -> Invalid:
    """A complaint of msgspec as ours. It names the place and the types, and a value only of an unknown datatype."""
    text, _, path = message.partition(" - at ")
    place = path.strip("`").removeprefix("$.") or "the request"
    field = place.split("[")[0] if place.startswith("parameters") else place.rsplit(".", 1)[-1].split("[")[0]
    if field == "datatype":
        return Invalid("tensor-datatype", f"{place} is not a datatype", f"Use one of {', '.join(Datatype)}.")
    if place in {"inputs", "outputs"} and "length" in text:
        return Invalid("tensor-count", f"{place}: {text[:200]}", f"Send 1 to {MAX_TENSORS} tensors.")
    return Invalid(_FIELDS.get(field, "request-malformed"), f"{place[:200]}: {text[:200]}", _hint(field))


def _hint(field: str) -> str:
    if field == "shape":
        return f"A shape is a list of at most {MAX_RANK} whole numbers of at least 0."
    if field == "name":
        return f"A name is a text of 1 to {MAX_NAME} characters."
    return "Send the fields of the Open Inference Protocol v2: inputs with name, shape, datatype and data."


def _malformed(part: bytes, error: Exception) -> Invalid:
    if b"NaN" in part or b"Infinity" in part:
        return Invalid(
            "json-malformed",
            f"not JSON, which has neither NaN nor infinity: {error}",
            "Remove the value, or send the tensor as binary data where the model takes such values.",
        )
    return Invalid("json-malformed", f"not JSON: {str(error)[:200]}", "Send one complete JSON object.")


def _tensors(items: list[_Tensor], body: Buffer, length: int | None, side: str) -> Tensors:
    found: Tensors = {}
    offset = len(body) if length is None else length
    for place, item in enumerate(items):
        where = f"{side}[{place}]"
        if item.name in found:
            raise Invalid("tensor-name", f"{where}: two tensors share a name", "Give each tensor a name of its own.")
        size = item.parameters.binary_data_size if item.parameters is not None else None
        if size is None:
            found[item.name] = _from_json(item, where)
            continue
        found[item.name] = _from_binary(item, where, memoryview(body)[offset : offset + size])
        offset += size
    if offset != len(body):
        raise Invalid(
            "binary-length",
            f"the body has {len(body)} bytes, its tensors end at {offset}",
            "Send binary_data_size for each binary tensor and nothing after the last.",
        )
    return found


def _from_json(item: _Tensor, where: str) -> np.ndarray:
    if item.data is _NO_DATA:
        raise Invalid(
            "tensor-data", f"{where}: no data", "Send `data`, or parameters.binary_data_size and binary data."
        )
    if item.datatype == "FP16":
        raise Invalid("tensor-datatype", f"{where}: FP16 is not sent as JSON", "Send it as binary data, or as FP32.")
    count = math.prod(item.shape)
    values, flat = _values(item, where)
    if flat and len(values) != count:
        raise _miscounted(where, item.shape, count, f"{len(values)} elements")
    try:
        array = np.array(values, _DTYPES[item.datatype])
    except OverflowError as error:
        raise Invalid(
            "tensor-data", f"{where}.data: a number does not fit {item.datatype}", "Use a wider type."
        ) from error
    except ValueError as error:
        raise _miscounted(where, item.shape, count, "lists of unequal length") from error
    if not flat and array.shape != item.shape:
        raise _miscounted(where, item.shape, count, f"lists nested as {list(array.shape)}")
    return _shaped(_encoded(array) if item.datatype == "BYTES" else array, item.shape, where)


def _values(item: _Tensor, where: str) -> tuple[list[object], bool]:
    """The data as lists and whether they are flat: tried as such first, nested by rank where a list was met inside."""
    decoders = _DATA[item.datatype]
    try:
        return decoders[0].decode(item.data), True
    except msgspec.ValidationError as error:
        if len(item.shape) < 2 or "got `array`" not in str(error):
            raise _wrong_element(item, where, error) from error
    try:
        return decoders[len(item.shape) - 1].decode(item.data), False
    except msgspec.ValidationError as error:
        raise _wrong_element(item, where, error) from error


def _wrong_element(item: _Tensor, where: str, error: msgspec.ValidationError) -> Invalid:
    text, _, path = str(error).partition(" - at ")
    return Invalid(
        "tensor-data",
        f"{where}.data{path.strip('`').removeprefix('$')}: {text}",
        f"Send {item.datatype} elements, flat or nested as the shape {list(item.shape)}.",
    )


def _miscounted(where: str, shape: tuple[int, ...], count: int, seen: str) -> Invalid:
    return Invalid(
        "tensor-count",
        f"{where}: shape {list(shape)} holds {count} elements, the data {seen}",
        "Let shape and data agree.",
    )


def _encoded(texts: np.ndarray) -> np.ndarray:
    array = np.empty(texts.size, object)
    array[:] = [str(text).encode() for text in texts.ravel().tolist()]
    return array


def _shaped(array: np.ndarray, shape: tuple[int, ...], where: str) -> np.ndarray:
    try:
        return array.reshape(shape)
    except ValueError as error:  # no elements, and the other lengths overflow all the same
        raise Invalid(
            "tensor-shape", f"{where}: no array can have the shape {list(shape)}", "Send real lengths."
        ) from error


def _from_binary(item: _Tensor, where: str, data: memoryview) -> np.ndarray:
    size = item.parameters.binary_data_size if item.parameters is not None else 0
    if len(data) != size:
        raise Invalid(
            "binary-length",
            f"{where}: binary_data_size is {size}, {len(data)} bytes of the body are left",
            "Send all binary data, in the order of the tensors.",
        )
    if item.data is not _NO_DATA:
        raise Invalid("tensor-data", f"{where}: both data and binary_data_size", "Send one of the two.")
    count = math.prod(item.shape)
    if item.datatype == "BYTES":
        return _unpack(data, count, item.shape, where)
    dtype = _DTYPES[item.datatype]
    if len(data) != count * dtype.itemsize:
        raise _miscounted(where, item.shape, count, f"{len(data)} bytes of {item.datatype} ({dtype.itemsize} each)")
    array = _shaped(np.frombuffer(data, dtype), item.shape, where)
    if item.datatype == "BOOL" and array.size and int(array.view(np.uint8).max()) > 1:
        raise Invalid("tensor-data", f"{where}: a BOOL is the byte 0 or 1", "Send booleans.")
    array.flags.writeable = False
    return array


def _unpack(data: memoryview, count: int, shape: tuple[int, ...], where: str) -> np.ndarray:
    """BYTES elements: each a length (u32, little endian) and that many bytes."""
    found: list[bytes] = []
    offset = 0
    while offset + 4 <= len(data) and len(found) < count:
        end = offset + 4 + int.from_bytes(data[offset : offset + 4], "little")
        if end > len(data):
            break
        found.append(bytes(data[offset + 4 : end]))
        offset = end
    if len(found) != count or offset != len(data):
        raise _miscounted(where, shape, count, f"{len(found)} whole elements in {len(data)} bytes")
    array = np.empty(count, object)
    array[:] = found
    return _shaped(array, shape, where)


def _wants_binary(wanted: _Wanted, otherwise: bool) -> bool:  # noqa: FBT001 - the request's own default
    given = wanted.parameters
    if given is None:
        return otherwise
    if given.classification is not None or given.shared_memory_region is not None:
        raise Invalid(
            "parameter-unsupported",
            f"output {wanted.name[:80]!r}: classification and shared memory are not supported",
            "Ask for the tensor itself.",
        )
    return otherwise if given.binary_data is None else given.binary_data


# --- encoding ---------------------------------------------------------------------------------------------------------
class _Out(msgspec.Struct, gc=False, omit_defaults=True):
    name: str
    shape: tuple[int, ...]
    datatype: str
    parameters: dict[str, int] | None = None
    data: list[object] | None = None


class _ResponseOut(msgspec.Struct, gc=False, omit_defaults=True):
    model_name: str
    model_version: str
    outputs: list[_Out]
    id: str = ""


class _RequestOut(msgspec.Struct, gc=False, omit_defaults=True):
    inputs: list[_Out]
    parameters: dict[str, bool] | None = None
    id: str = ""


def encode_response(response: InferResponse, request: InferRequest) -> tuple[bytes, int | None]:
    """The body that answers `request`, and the length of its JSON part where binary tensors follow.

    Raises:
        Invalid: an output that was asked for does not exist, or cannot be told in JSON (NaN, infinity, FP16, bytes that are
            not UTF-8).
    """
    wanted = request.outputs
    chosen: dict[str, bool] = wanted if wanted is not None else dict.fromkeys(response.outputs, request.binary)
    chunks: list[bytes] = []
    outputs: list[_Out] = []
    for name, binary in chosen.items():
        array = response.outputs.get(name)
        if array is None:
            known = ", ".join(response.outputs)
            raise Invalid("tensor-name", f"the model has no output {name[:80]!r}", f"Ask for some of: {known}.")
        outputs.append(_out(name, array, chunks if binary else None))
    head = _ENCODER.encode(_ResponseOut(response.model_name, response.model_version, outputs, response.id))
    return _joined(head, chunks)


def encode_request(
    inputs: Mapping[str, np.ndarray], *, binary: bool = True, request_id: str = ""
) -> tuple[bytes, dict[str, str]]:
    """The body and headers of a request for `inputs`.

    Args:
        binary: tensors, asked and answered, as raw bytes.

    Raises:
        Invalid: an array cannot be sent (so).
    """
    chunks: list[bytes] = []
    items = [_out(name, np.asarray(array), chunks if binary else None) for name, array in inputs.items()]
    body, length = _joined(
        _ENCODER.encode(_RequestOut(items, {"binary_data_output": True} if binary else None, request_id)), chunks
    )
    if length is None:
        return body, {"content-type": JSON_TYPE}
    return body, {"content-type": BINARY_TYPE, LENGTH_HEADER: str(length)}


def _joined(head: bytes, chunks: list[bytes]) -> tuple[bytes, int | None]:
    return (b"".join((head, *chunks)), len(head)) if chunks else (head, None)


def _out(name: str, array: np.ndarray, chunks: list[bytes] | None) -> _Out:
    datatype = datatype_of(array)
    if chunks is None:
        return _Out(name, array.shape, datatype._value_, None, _listed(name, array, datatype))
    data = (
        _packed(array) if datatype is Datatype.BYTES else array.astype(_DTYPES[datatype._value_], copy=False).tobytes()
    )
    chunks.append(data)
    return _Out(name, array.shape, datatype._value_, {"binary_data_size": len(data)})


def _listed(name: str, array: np.ndarray, datatype: Datatype) -> list[object]:
    if datatype is Datatype.FP16:
        raise Invalid("tensor-datatype", f"{name}: FP16 is not sent as JSON", "Use binary tensors.")
    if datatype is Datatype.BYTES:
        return [_text(name, value) for value in array.ravel().tolist()]
    values: list[object] = array.ravel().tolist()
    if array.dtype.kind == "f" and not _finite(array, values):
        raise Invalid("tensor-data", f"{name}: JSON has neither NaN nor infinity", "Use binary tensors.")
    return values


def _finite(array: np.ndarray, values: list[Any]) -> bool:
    # A sum is finite only of finite values; for few of them it is had five times faster than numpy's answer.
    return (len(values) <= 64 and math.isfinite(sum(values))) or bool(np.isfinite(array).all())


def _text(name: str, value: object) -> str:
    if isinstance(value, str):
        return value
    try:
        return bytes(value).decode() if isinstance(value, bytes | bytearray) else str(value)
    except UnicodeDecodeError as error:
        raise Invalid("tensor-data", f"{name}: bytes that are not UTF-8", "Use binary tensors.") from error


def _packed(array: np.ndarray) -> bytes:
    parts: list[bytes] = []
    for value in array.ravel().tolist():
        data = bytes(value) if isinstance(value, bytes | bytearray) else str(value).encode()
        parts += (len(data).to_bytes(4, "little"), data)
    return b"".join(parts)


# --- metadata ---------------------------------------------------------------------------------------------------------
def encode_metadata(name: str, versions: list[str], signature: ModelSignature) -> bytes:
    """The answer to `GET /v2/models/NAME`: names, types and shapes of what the model takes and gives."""
    return _ENCODER.encode(
        {
            "name": name,
            "versions": versions,
            "platform": "onnx",
            "inputs": [_described(spec) for spec in signature.inputs],
            "outputs": [_described(spec) for spec in signature.outputs],
        }
    )


def _described(spec: TensorSpec) -> dict[str, object]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": spec.shape}
