"""Model files put together from bytes, for the tests of the scanner. Payloads are inert, and none is ever loaded."""

import json
import struct
from collections.abc import Callable

from fastness.core.sources import BytesSource
from fastness.models.scan import Report, ScanSettings, scan


class Reduces:
    """Pickles as a call of `function(*args)`."""

    def __init__(self, function: Callable[..., object], *args: object) -> None:
        self.function, self.args = function, args

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.function, self.args


def report_of(data: bytes, name: str = "model.pkl", **settings: int) -> Report:
    return scan(BytesSource(name, data), ScanSettings(**settings))


def rules_of(report: Report) -> set[str]:
    return {finding.rule for finding in report.verdict.findings}


# ---------------------------------------------------------------- pickle
def text(value: str) -> bytes:
    return b"\x8c" + bytes([len(value.encode())]) + value.encode()


def global_(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def stack_global(module: str, name: str) -> bytes:
    return text(module) + text(name) + b"\x93"


def call(module: str, name: str, *args: bytes) -> bytes:
    return stack_global(module, name) + b"(" + b"".join(args) + b"tR"


def stream(body: bytes, protocol: int = 4) -> bytes:
    return b"\x80" + bytes([protocol]) + body + b"."


SYSTEM = call("os", "system", text("true"))
EVIL = stream(SYSTEM)


# ---------------------------------------------------------------- npy, safetensors
def npy(descr: str, shape: str, body: bytes, version: bytes = b"\x01\x00") -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    length = struct.pack("<H" if version == b"\x01\x00" else "<I", len(header))
    return b"\x93NUMPY" + version + length + header + body


def safetensors(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(head) if length is None else length) + head + data


def tensor(start: int = 0, end: int = 16, dtype: str = "F32", shape: tuple[int, ...] = (4,)) -> dict[str, object]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}


# ---------------------------------------------------------------- protobuf and ONNX
def varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def proto(field: int, value: int | str | bytes) -> bytes:
    if isinstance(value, int):
        return varint(field << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(field << 3 | 2) + varint(len(data)) + data


def entry(key: str, value: str) -> bytes:
    return proto(1, key) + proto(2, value)


def onnx_tensor(location: str | None = None, raw: bytes = b"\0" * 16, dims: int = 4) -> bytes:
    head = proto(1, dims) + proto(2, 1) + proto(8, "w")
    return head + (proto(9, raw) if location is None else proto(13, entry("location", location)) + proto(14, 1))


def onnx_node(op: str = "Add", domain: str = "", attributes: bytes = b"") -> bytes:
    return proto(1, "x") + proto(2, "y") + proto(4, op) + (proto(7, domain) if domain else b"") + attributes


def onnx_graph(node: bytes = b"", extra: bytes = b"") -> bytes:
    return proto(1, node or onnx_node()) + proto(2, "g") + extra


def onnx_model(graph: bytes = b"", extra: bytes = b"") -> bytes:
    return (
        proto(1, 8)
        + proto(2, "tests")
        + proto(7, graph or onnx_graph())
        + proto(8, proto(1, "") + proto(2, 17))
        + extra
    )
