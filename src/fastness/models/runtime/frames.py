"""Tensors in frames, between gateway and worker. Both sides read them with the same care; neither trusts the other.

After the channel's head (u32 length, u32 version): u8 kind, u8 0, u16 count, u32 0, u64 request id, u64 deadline in
nanoseconds of the machine's monotonic clock (0: none). Then, in a request and in an answer, `count` tensors: u16 length
of the name, u8 type, u8 rank, u32 bytes, u32 length of each axis, the name; then, from the next multiple of 8, the raw
little-endian elements, row by row, up to the next multiple of 8. Texts (BYTES) are u32 length and bytes each. In an error
`count` is its code and the rest a text.

This module runs inside the sandbox too: it needs numpy and the standard library alone.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from fastness.foundation.sandbox import pack_head

Tensors = dict[str, np.ndarray]

_BODY = struct.Struct("<BBHIQQ")
_TENSOR = struct.Struct("<HBBI")
_LENGTH = struct.Struct("<I")
MOST_TENSORS, MOST_RANK, MOST_NAME = 64, 8, 256
_MOST_TEXT = 512
_PADS = tuple(bytes(n) for n in range(8))
_SHAPES = tuple(struct.Struct(f"<{rank}I") for rank in range(MOST_RANK + 1))
_HEADS = tuple(struct.Struct(f"<HBBI{rank}I") for rank in range(MOST_RANK + 1))


class Kind(IntEnum):
    """What a frame is."""

    RUN = 1
    DESCRIBE = 2
    CHECK = 3
    ANSWER = 16
    TEXT = 17
    ERROR = 18


class Problem(IntEnum):
    """Why there is no answer."""

    MALFORMED = 1
    UNFIT = 2
    FAILED = 3
    LATE = 4
    UNLOADABLE = 5
    UNLOCKED = 6


DTYPES: dict[str, np.dtype] = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "BYTES": np.dtype("O"),
}
_NAMES = tuple(DTYPES)
_BY_CODE = tuple(DTYPES.values())
_CODES = {dtype: code for code, dtype in enumerate(_BY_CODE)}
_BYTES, _BOOL = _NAMES.index("BYTES"), _NAMES.index("BOOL")


_WITH_TENSORS = frozenset({int(Kind.RUN), int(Kind.ANSWER)})


class FrameError(ValueError):
    """A frame does not hold what it announces, or cannot hold what it is given."""


@dataclass(slots=True)  # made for each frame, and frozen ones take a microsecond more
class Message:
    """A frame that was understood.

    Attributes:
        problem: of an error; 0 in all others.
        deadline_ns: of the monotonic clock; 0 is none.
        text: of an error, a description or a self-test.
    """

    kind: int
    id: int
    deadline_ns: int
    tensors: Tensors
    problem: int = 0
    text: bytes = b""


def encode(kind: Kind, request: int, deadline_ns: int, tensors: Mapping[str, np.ndarray]) -> bytes:
    """The whole frame, with its head; a multiple of 8 bytes long.

    Raises:
        FrameError: a type that no frame holds, no tensor or too many, too many axes, or a request for nothing.
    """
    parts: list[bytes] = [b""]
    size = _BODY.size
    for name, array in tensors.items():
        raw, code = _raw(name, array)
        label = name.encode()
        if kind == Kind.RUN and not array.size:
            raise FrameError(f"{name[:80]}: an axis of length 0")
        if len(label) > MOST_NAME or array.ndim > MOST_RANK:
            raise FrameError(f"{name[:80]}: at most {MOST_RANK} axes, and {MOST_NAME} bytes of name")
        head = _HEADS[array.ndim].pack(len(label), code, array.ndim, len(raw), *array.shape) + label
        parts += (head, _PADS[-len(head) & 7], raw, _PADS[-len(raw) & 7])
        size += (len(head) + 7 & ~7) + (len(raw) + 7 & ~7)
    if not 1 <= len(tensors) <= MOST_TENSORS or size >= 1 << 32:
        raise FrameError(f"1 to {MOST_TENSORS} tensors, and less than 4 GiB")
    parts[0] = pack_head(size) + _BODY.pack(kind, 0, len(tensors), 0, request, deadline_ns)
    return b"".join(parts)


def encode_text(kind: Kind, request: int, text: bytes, problem: int = 0) -> bytes:
    """The whole frame of a description, a self-test or an error, whose text is cut to what an error may hold."""
    text = text[:_MOST_TEXT] if kind == Kind.ERROR else text
    text += _PADS[-len(text) & 7].replace(b"\0", b" ")
    return pack_head(_BODY.size + len(text)) + _BODY.pack(kind, 0, problem, 0, request, 0) + text


def decode(payload: memoryview) -> Message:
    """The message in a frame without its head. Tensors are views of `payload`.

    Raises:
        FrameError: it does not hold what it announces.
    """
    if len(payload) < _BODY.size:
        raise FrameError("shorter than its own head")
    kind, zero, count, reserved, request, deadline_ns = _BODY.unpack_from(payload)
    if zero or reserved:
        raise FrameError("reserved bytes are not zero")
    if kind in _WITH_TENSORS:
        return Message(kind, request, deadline_ns, _tensors(payload, count))
    if kind in {Kind.DESCRIBE, Kind.CHECK, Kind.TEXT}:
        return Message(kind, request, deadline_ns, {}, 0, bytes(payload[_BODY.size :]))
    if kind == Kind.ERROR:
        return Message(kind, request, deadline_ns, {}, count, bytes(payload[_BODY.size : _BODY.size + _MOST_TEXT]))
    raise FrameError(f"no frame is of kind {kind}")


def datatype_of(array: np.ndarray) -> str:
    """The name of the element type, as in the Open Inference Protocol; empty where it has none."""
    code = _CODES.get(array.dtype)
    return _NAMES[code] if code is not None else ""


def _raw(name: str, array: np.ndarray) -> tuple[bytes, int]:
    code = _CODES.get(array.dtype)
    if code is None:
        if array.dtype.kind not in "SU":
            raise FrameError(f"{name[:80]}: no frame holds elements of type {array.dtype}")
        code = _BYTES
    if code != _BYTES:
        return array.tobytes(), code
    pieces: list[bytes] = []
    for item in array.ravel().tolist():
        text = item.encode() if isinstance(item, str) else item
        if not isinstance(text, bytes):
            raise FrameError(f"{name[:80]}: its elements are not texts")
        pieces += (_LENGTH.pack(len(text)), text)
    return b"".join(pieces), code


def _tensors(payload: memoryview, count: int) -> Tensors:
    if not 1 <= count <= MOST_TENSORS:
        raise FrameError(f"{count} tensors")
    tensors: Tensors = {}
    at = _BODY.size
    for _ in range(count):
        try:
            name, array, at = _tensor(payload, at)
        except (struct.error, UnicodeDecodeError) as error:
            raise FrameError("ends within a tensor's head") from error
        if name in tensors:
            raise FrameError("two tensors of one name")
        tensors[name] = array
    if at != len(payload):
        raise FrameError("longer than its tensors")
    return tensors


def _tensor(payload: memoryview, at: int) -> tuple[str, np.ndarray, int]:
    label, code, rank, size = _TENSOR.unpack_from(payload, at)
    if code >= len(_BY_CODE) or rank > MOST_RANK or label > MOST_NAME:
        raise FrameError("no such type, too many axes, or too long a name")
    at += _TENSOR.size
    shape = _SHAPES[rank].unpack_from(payload, at)
    at += 4 * rank
    name = str(payload[at : at + label], "utf-8")
    start = at + label + 7 & ~7
    end = start + size
    if end + 7 & ~7 > len(payload):
        raise FrameError("ends within a tensor")
    elements = math.prod(shape)
    if code == _BYTES:
        array = _texts(payload[start:end], elements)
    elif elements * _BY_CODE[code].itemsize != size:
        raise FrameError("shape and size do not agree")
    else:
        array = np.frombuffer(payload, _BY_CODE[code], elements, start)
        if code == _BOOL and elements and array.view(np.uint8).max() > 1:
            raise FrameError("a truth value that is neither 0 nor 1")
    return name, array.reshape(shape), end + 7 & ~7


def _texts(raw: memoryview, elements: int) -> np.ndarray:
    if elements * _LENGTH.size > len(raw):
        raise FrameError("fewer texts than its shape says")
    found: list[bytes] = []
    at = 0
    for _ in range(elements):
        if at + _LENGTH.size > len(raw):
            raise FrameError("ends within a text")
        (length,) = _LENGTH.unpack_from(raw, at)
        at += _LENGTH.size
        if at + length > len(raw):
            raise FrameError("ends within a text")
        found.append(bytes(raw[at : at + length]))
        at += length
    if at != len(raw):
        raise FrameError("more texts than its shape says")
    array = np.empty(elements, object)
    array[:] = found
    return array
