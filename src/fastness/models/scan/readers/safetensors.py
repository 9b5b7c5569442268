"""safetensors: a JSON header whose offsets must cover the data exactly. Holds no code.

Source: the format's description and `safetensors` 0.5 (`tensor.rs`): no holes, no overlap, nothing behind. Cost: the
header, and one pass over the data, which is searched for programs.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import ClassVar, TypeGuard

from fastness.core.findings import Rule, Severity
from fastness.core.sources import RandomAccess
from fastness.models.scan.budget import Budget
from fastness.models.scan.credentials import credential_in
from fastness.models.scan.facts import Fact, FactKind, Look, Told, found, span
from fastness.models.scan.free_texts import tell_free_text
from fastness.models.scan.numbers import Tensor, odd_weights
from fastness.models.scan.payloads import search_payloads
from fastness.models.scan.rules import MAPS, undecided

MALFORMED = undecided(
    "safetensors-malformed", "A safetensors file whose header is not understood",
    "What cannot be parsed cannot be vouched for.", "Fetch the file again, or save it again with safetensors.",
)  # fmt: skip
DUPLICATE = Rule(
    "safetensors-duplicate-key", "A name that stands twice in the header", Severity.HIGH,
    "Readers differ in which of the two they take: one sees another model than the next.",
    "No honest library writes this. Save the file again with safetensors.", {**MAPS, "cwe": "CWE-694"},
)  # fmt: skip
OFFSETS = Rule(
    "safetensors-offsets", "Offsets that do not cover the data", Severity.HIGH,
    "Tensors that overlap, leave holes or end outside of the file hide data or read what is not theirs.",
    "No honest library writes this; a file that was cut short looks the same. Fetch it again.", {**MAPS, "cwe": "CWE-1284"},
)  # fmt: skip
DTYPE = undecided(
    "safetensors-dtype", "An element type that is not known",
    "Its width is not known, so that the offsets cannot be checked.", "Save the tensors in a standard type.",
)  # fmt: skip

RULES: tuple[Rule, ...] = (MALFORMED, DUPLICATE, OFFSETS, DTYPE)

BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "C64": 64, "F64": 64, "I64": 64,
    "U64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip
_METADATA = "__metadata__"
_FIELDS = {"dtype", "shape", "data_offsets"}


class _Wrong(Exception):
    """The header is wrong in a way that ends the reading."""

    def __init__(self, rule: Rule, problem: str) -> None:
        super().__init__(problem)
        self.rule = rule


@dataclass(frozen=True)
class SafetensorsReader:
    """Reads .safetensors files."""

    name: ClassVar[str] = "safetensors"
    suffixes: ClassVar[tuple[str, ...]] = (".safetensors",)

    def claims(self, look: Look) -> bool:
        """By a JSON object behind eight bytes of length, or by the name: the format has no magic."""
        return (look.head[8:9] == b"{" and look.head[6:8] == b"\0\0") or look.named(".safetensors")

    def read(self, source: RandomAccess, budget: Budget) -> Iterator[Told]:
        """The header's faults, credentials in its metadata, and the spans.

        Raises:
            TooLarge: the header is longer than the budget allows.
        """
        try:
            start, header = _header(source, budget)
            metadata = _metadata(header)
            tensors = [_tensor(name, header.pop(name), start) for name in list(header)]
            tensors.sort(key=lambda one: (one.start, one.size))
            _cover(tensors, start, source.size)
        except _Wrong as wrong:
            yield found(wrong.rule, source.name, 8, str(wrong))
            return
        for key, value in metadata.items():
            if kind := credential_in(key):
                yield Fact(FactKind.CREDENTIAL, source.name, 8, kind)
            for item in tell_free_text(source.name, key, value, 8):
                budget.spend("facts")
                yield item
        yield span(source.name, 0, source.size)
        yield from search_payloads(source, start, source.size, budget)
        yield from odd_weights(source, tensors)


def _header(source: RandomAccess, budget: Budget) -> tuple[int, dict[str, object]]:
    length = int.from_bytes(source.read_at(0, 8), "little")
    if source.size < 8 or length > source.size - 8:
        begun = source.read_at(0, 9)[8:] == b"{"  # else it only has the name
        raise _Wrong(OFFSETS if begun else MALFORMED, f"the header of {length} bytes is longer than the file")
    budget.require("header_bytes", length)
    text = source.read_at(8, length)
    if text[:1] != b"{":
        raise _Wrong(MALFORMED, "the header does not begin with a brace")
    try:
        header = json.loads(text.decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise _Wrong(MALFORMED, f"the header is not JSON: {type(error).__name__}") from error
    return 8 + length, header


def _unique(pairs: list[tuple[str, object]]) -> object:
    """An object of the header. What describes a tensor is made small at once: a header may name a hundred thousand."""
    made = dict(pairs)
    if len(made) != len(pairs):
        raise _Wrong(DUPLICATE, "a name stands twice")
    return _described(made) if made.keys() == _FIELDS else made


def _described(made: dict[str, object]) -> object:
    """Type, elements, first byte and end; the object as it is where it is wrong, which is told when its name is known."""
    kind, shape, offsets = made["dtype"], made["shape"], made["data_offsets"]
    if not isinstance(kind, str) or not _whole(shape) or not _whole(offsets) or len(offsets) != 2:
        return made
    return sys.intern(kind), math.prod(shape), *offsets


def _metadata(header: dict[str, object]) -> dict[str, str]:
    """The free texts, taken out of the header."""
    value = header.pop(_METADATA, {})
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise _Wrong(MALFORMED, "the metadata is not made of texts")
    return value


def _tensor(name: str, value: object, data: int) -> Tensor:
    """Where a tensor's bytes stand in the file, whose data begin at byte `data`; they must fit its shape."""
    if isinstance(value, dict) and value.keys() == _FIELDS:
        raise _Wrong(MALFORMED, f"tensor {name[:80]!a} has a type, shape or offsets that are none")
    if not isinstance(value, tuple):
        raise _Wrong(MALFORMED, f"tensor {name[:80]!a} is not dtype, shape and data_offsets")
    kind, elements, start, end = value
    if kind not in BITS:
        raise _Wrong(DTYPE, f"tensor {name[:80]!a} is of an unknown type")
    if (end - start) * 8 != elements * BITS[kind]:
        raise _Wrong(OFFSETS, f"tensor {name[:80]!a} has {end - start} bytes, and its shape asks for others")
    return Tensor(name, kind, data + start, end - start)


def _whole(value: object) -> TypeGuard[list[int]]:
    return isinstance(value, list) and len(value) <= 64 and all(type(n) is int and 0 <= n < 1 << 63 for n in value)


def _cover(tensors: list[Tensor], data: int, size: int) -> None:
    """Check that the tensors stand side by side from the first data byte to the last."""
    at = data
    for start, end in chain(((one.start, one.start + one.size) for one in tensors), ((size, size),)):
        if start != at:
            what = "overlap" if start < at else "leave a hole or bytes behind them"
            raise _Wrong(OFFSETS, f"the tensors {what} at data byte {min(start, at) - data}")
        at = end


READER = SafetensorsReader
