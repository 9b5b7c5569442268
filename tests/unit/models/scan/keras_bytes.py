"""HDF5, Keras, TensorFlow and MessagePack files put together from bytes. Payloads are inert, and none is ever loaded."""

import base64
import io
import json
import marshal
import struct
import zipfile
from types import CodeType

from tests.unit.models.scan.artifacts import proto

UNDEFINED = b"\xff" * 8
FIXED_TEXT, TEXT_OF_ANY_LENGTH, BYTE, FLOAT = "fixed", "any", "byte", "float"
Json = dict[str, object]


# ---------------------------------------------------------------- HDF5, with object headers of version 2
def message(kind: int, body: bytes, flags: int = 0) -> bytes:
    return struct.pack("<BHB", kind, len(body), flags) + body


def header(*messages: bytes) -> bytes:
    body = b"".join(messages)
    return b"OHDR\x02\x02" + struct.pack("<I", len(body)) + body + bytes(4)


def hdf5(*messages: bytes, behind: bytes = b"", end: int | None = None) -> bytes:
    """A file whose root group has these messages; `behind` begins at `48 + len(header(*messages))`."""
    root = header(*messages)
    size = 48 + len(root) + len(behind)
    head = b"\x89HDF\r\n\x1a\n\x02\x08\x08\x00" + struct.pack("<Q", 0) + UNDEFINED
    return head + struct.pack("<QQ", size if end is None else end, 48) + bytes(4) + root + behind


def link(name: str, target: int) -> bytes:
    return message(6, b"\x01\x00" + bytes([len(name)]) + name.encode() + struct.pack("<Q", target))


def other_link(name: str, kind: int, value: bytes) -> bytes:
    return message(6, b"\x01\x08" + bytes([kind, len(name)]) + name.encode() + struct.pack("<H", len(value)) + value)


def datatype(kind: str, size: int) -> bytes:
    letters = {FIXED_TEXT: b"\x13\0\0\0", BYTE: b"\x10\0\0\0", FLOAT: b"\x11\x20\x3f\0"}
    rest = {FIXED_TEXT: b"", BYTE: bytes(4), FLOAT: bytes(12)}
    return letters[kind] + struct.pack("<I", size) + rest[kind]


def attribute(name: str, value: bytes) -> bytes:
    kind, space, label = datatype(FIXED_TEXT, len(value)), b"\x02\0\0\0", name.encode() + b"\0"
    lengths = struct.pack("<HHH", len(label), len(kind), len(space))
    return message(0xC, b"\x03\x00" + lengths + b"\x00" + label + kind + space + value)


def dataset(layout: bytes, *more: bytes, kind: str = FLOAT, size: int = 4, count: int = 4) -> bytes:
    space = b"\x02\x01\x00\x01" + struct.pack("<Q", count)
    return header(message(1, space), message(3, datatype(kind, size)), message(8, layout), *more)


def contiguous(address: int, length: int) -> bytes:
    return b"\x03\x01" + struct.pack("<QQ", address, length)


def filters(*numbers: int) -> bytes:
    return message(0xB, b"\x02" + bytes([len(numbers)]) + b"".join(_filter(number) for number in numbers))


def _filter(number: int) -> bytes:
    return struct.pack("<HHHH", number, 0, 0, 0) if number >= 256 else struct.pack("<HHH", number, 0, 0)


def with_dataset(layout: bytes, *more: bytes, behind: bytes = b"", kind: str = FLOAT, size: int = 4) -> bytes:
    """A file with one dataset; its header is followed by `behind`, which begins at `place_behind(...)`."""
    found = dataset(layout, *more, kind=kind, size=size)
    return hdf5(link("w", 48 + len(header(link("w", 0)))), behind=found + behind)


def place_behind(layout_length: int, *more: bytes, kind: str = FLOAT) -> int:
    """Where the bytes behind the dataset's header begin."""
    return 48 + len(header(link("w", 0))) + len(dataset(bytes(layout_length), *more, kind=kind))


# ---------------------------------------------------------------- Keras
def layer(module: str | None, kind: str, config: object = None, **more: object) -> Json:
    return {"module": module, "class_name": kind, "config": {} if config is None else config, **more}


def sequential(*layers: Json) -> Json:
    first = layer("keras.layers", "InputLayer", {"batch_shape": [None, 2], "dtype": "float32", "name": "i"})
    return layer("keras", "Sequential", {"name": "s", "layers": [first, *layers]}, registered_name=None)


def keras_zip(config: Json | str, weights: bytes = b"", **files: bytes) -> bytes:
    out = io.BytesIO()
    text = config if isinstance(config, str) else json.dumps(config)
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("metadata.json", '{"keras_version": "3.5.0", "date_saved": "2024-01-01@00:00:00"}')
        archive.writestr("config.json", text)
        archive.writestr("model.weights.h5", weights or hdf5(attribute("a", b"b")))
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def code_of(source: str) -> CodeType:
    """The code object of the first lambda in `source`, which is compiled and never run."""
    outer = compile(source, "model.py", "exec")
    return next(one for one in outer.co_consts if isinstance(one, CodeType))


def marshalled(source: str) -> str:
    return base64.b64encode(marshal.dumps(code_of(source))).decode()


def lambda_layer(source: str) -> Json:
    config = {"code": marshalled(source), "defaults": None, "closure": None}
    return layer("keras.layers", "Lambda", {"name": "l", "function": {"class_name": "__lambda__", "config": config}})


# ---------------------------------------------------------------- TensorFlow
def attr(key: str, value: bytes) -> bytes:
    return proto(5, proto(1, key) + proto(2, value))


def node(name: str, op: str, *inputs: str, attrs: bytes = b"") -> bytes:
    return proto(1, name) + proto(2, op) + b"".join(proto(3, one) for one in inputs) + attrs


def text_constant(name: str, text: str) -> bytes:
    return node(name, "Const", attrs=attr("value", proto(8, proto(1, 7) + proto(8, text))))


def graph_def(*nodes: bytes, functions: bytes = b"") -> bytes:
    library = proto(2, functions) if functions else b""
    return b"".join(proto(1, one) for one in nodes) + library


def function(name: str, *nodes: bytes) -> bytes:
    return proto(1, proto(1, proto(1, name)) + b"".join(proto(3, one) for one in nodes))


def saved_model(graph: bytes, *more: bytes) -> bytes:
    return proto(1, 1) + proto(2, proto(1, proto(4, "serve")) + proto(2, graph) + b"".join(more))


COMPUTES = (node("x", "Placeholder"), node("y", "MatMul", "x", "x"))


# ---------------------------------------------------------------- MessagePack
def pack(value: object) -> bytes:
    """The few kinds of value that the tests need; extensions are pairs of code and bytes, wrapped in a tuple."""
    if value is None or isinstance(value, bool):
        return b"\xc0" if value is None else bytes([0xC2 + value])
    if isinstance(value, int):
        return bytes([value]) if 0 <= value < 128 else b"\xcf" + struct.pack(">Q", value)
    if isinstance(value, str):
        return b"\xdb" + struct.pack(">I", len(value.encode())) + value.encode()
    if isinstance(value, bytes):
        return b"\xc6" + struct.pack(">I", len(value)) + value
    if isinstance(value, tuple):
        code, data = value
        assert isinstance(data, bytes)
        return b"\xc9" + struct.pack(">IB", len(data), code) + data
    if isinstance(value, dict):
        return b"\xdf" + struct.pack(">I", len(value)) + b"".join(pack(k) + pack(v) for k, v in value.items())
    assert isinstance(value, list)
    return b"\xdd" + struct.pack(">I", len(value)) + b"".join(map(pack, value))


def flax_array(dtype: str = "float32", data: bytes = bytes(16), shape: tuple[int, ...] = (4,)) -> tuple[int, bytes]:
    return 1, pack([list(shape), dtype, data])
