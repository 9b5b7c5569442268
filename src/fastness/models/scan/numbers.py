"""Weights that are odd: values that are no numbers, and low bits that hold something.

Looks at a sample of each tensor, first and bounded windows of it, so that a file of any size costs the same few megabytes.
The low bits of trained weights are as good as random, or zero where the weights came from a narrower type; text or a
program in them is none of these. Honest weights do not reach the limits: of 2,048 random bytes, 37 % are printable, with a
deviation of 1.1 %, and 95 % are asked for.

Misses: what is encrypted or compressed before it is hidden (nothing tells it from trained weights), what begins far into a
tensor, and hiding that spreads bits by a key. Source: Wang, Liu, Cui, "EvilModel 2.0", Computers & Security 2022 (bytes and
halves of weights replaced); Gilkarov, Dubin, "Steganalysis of AI Models LSB Attacks", IEEE TIFS 2024.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastness.core.sources import BytesSource, RandomAccess
from fastness.models.scan.budget import Budget, ScanSettings
from fastness.models.scan.facts import Fact, FactKind
from fastness.models.scan.payloads import search_payloads

SAMPLED = 16_384
"""Elements of a window."""
_LEAST = 4096
_MOST_BYTES = 16 << 20
_PRINTABLE = 0.95
_DISTINCT = 12
_VARIED = 256
_WIDE = 1 << 20
# Type: bytes, mask of the exponent, which is all ones where a value is no number.
_FLOATS = {"F16": (2, 0x7C00), "BF16": (2, 0x7F80), "F32": (4, 0x7F80_0000), "F64": (8, 0x7FF0_0000_0000_0000)}


@dataclass(frozen=True, slots=True)
class Tensor:
    """Where the elements of a tensor stand.

    Attributes:
        dtype: as safetensors names types: F16, BF16, F32, F64, …
        start: byte offset of the first element, low byte first.
        size: bytes.
    """

    name: str
    dtype: str
    start: int
    size: int


def odd_weights(source: RandomAccess, tensors: list[Tensor]) -> Iterator[Fact]:
    """WEIGHTS facts for tensors that are odd, and EXECUTABLE facts for programs in low bits."""
    left = _MOST_BYTES
    for tensor in tensors:
        if tensor.dtype in {"F64", "C64"} and tensor.size >= _WIDE:
            yield _fact(source, tensor, "wide", tensor.dtype)
        width, exponent = _FLOATS.get(tensor.dtype, (0, 0))
        if not width or tensor.size < width or left <= 0:
            continue
        window = source.read_at(tensor.start, min(tensor.size, SAMPLED * width) // width * width)
        middle = tensor.start + tensor.size // 2 // width * width
        more = source.read_at(middle, min(tensor.start + tensor.size - middle, SAMPLED * width) // width * width)
        left -= len(window) + len(more)
        first, second = (np.frombuffer(part, f"<u{width}") for part in (window, more))
        bad = sum(int(np.count_nonzero((part & part.dtype.type(exponent)) == exponent)) for part in (first, second))
        if bad:
            yield _fact(source, tensor, "not-numbers", str(bad))
        if first.size >= _LEAST:
            yield from _hidden(source, tensor, first)


def _hidden(source: RandomAccess, tensor: Tensor, words: NDArray[np.unsignedinteger]) -> Iterator[Fact]:
    """What the low bits of the first elements hold, by how many bits of each were taken and in which order."""
    for bits in (1, 2, 4, 8, 16):
        if bits >= 8 * words.dtype.itemsize - 8:
            break
        for order, stream in _streams(words, bits):
            programs = [
                fact
                for fact in search_payloads(BytesSource(source.name, stream), 0, len(stream), Budget(ScanSettings()))
                if fact.kind is FactKind.EXECUTABLE
            ]
            if programs:
                name = f"{programs[0].name}, in the low {bits} bits of {tensor.name[:60]}"
                yield Fact(FactKind.EXECUTABLE, source.name, tensor.start, name, programs[0].detail)
                return
            if _is_text(stream) and _varied(words, bits):
                yield _fact(source, tensor, "low-bits", f"text in the low {bits} bits, the {order} one first")
                return


def _varied(words: NDArray[np.unsignedinteger], bits: int) -> bool:
    """Where the weights hardly differ, their low bits follow from that, and may look like text."""
    return np.unique(words[:_LEAST] >> words.dtype.type(bits)).size >= _VARIED


def _streams(words: NDArray[np.unsignedinteger], bits: int) -> Iterator[tuple[str, bytes]]:
    low = words & words.dtype.type((1 << bits) - 1)
    if bits >= 8:
        yield "low", low.astype(f"<u{bits // 8}").tobytes()
        yield "high", low.astype(f">u{bits // 8}").tobytes()
        return
    planes = ((low[:, None] >> np.arange(bits - 1, -1, -1, dtype=words.dtype)) & words.dtype.type(1)).astype(np.uint8)
    yield "high", np.packbits(planes.reshape(-1)).tobytes()
    groups = low[: low.size // (8 // bits) * (8 // bits)].astype(np.uint8).reshape(-1, 8 // bits)
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    yield "low", np.bitwise_or.reduce(groups << shifts, axis=1).astype(np.uint8).tobytes()


def _is_text(stream: bytes) -> bool:
    """Whether nearly all of the first bytes are printable, and of several kinds."""
    head = np.frombuffer(stream[:2048], np.uint8)
    if head.size < 512:
        return False
    printable = ((head >= 0x20) & (head < 0x7F)) | (head == 0x0A) | (head == 0x0D) | (head == 0x09)
    return float(printable.mean()) >= _PRINTABLE and np.unique(head).size >= _DISTINCT


def _fact(source: RandomAccess, tensor: Tensor, odd: str, about: str) -> Fact:
    return Fact(FactKind.WEIGHTS, source.name, tensor.start, tensor.name[:120], {"odd": odd, "about": about})
