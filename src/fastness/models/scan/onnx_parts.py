"""What ONNX tensors, their outside data and functions must keep to; the walk itself stands in the reader.

Source: onnx 1.23.2, `onnx-ml.proto` (TensorProto, FunctionProto) and `docs/ExternalData.md`; CVE-2026-34445 for keys that
an older library sets as attributes of its own objects.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

BITS = {
    1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 14: 64, 15: 128, 16: 16,
    17: 8, 18: 8, 19: 8, 20: 8, 21: 4, 22: 4, 23: 4, 24: 8, 25: 2, 26: 2,
}  # fmt: skip
"""Bits of an element, by type."""
MAX_DIMS = 64
STRING = 8
"""The element type of texts, which have no fixed width."""
_HOLDERS: Mapping[int, tuple[int, ...]] = {
    4: (1, 14), 5: (2, 3, 4, 5, 6, 9, 10, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26), 6: (8,), 7: (7,), 10: (11, 15),
    11: (12, 13),
}  # fmt: skip
"""The element types that stand in a field of typed data."""
FLOATS, INTS, TEXTS, LONGS, DOUBLES, UNSIGNED = 4, 5, 6, 7, 10, 11
_KEYS = frozenset({"location", "offset", "length", "checksum", "basepath"})
_MEMORY = "_ORT_MEM_ADDR_"
_WHOLE = re.compile(r"[0-9]{1,19}\Z")
_CODE = re.compile(
    r"__(?:import__|builtins__|globals__|subclasses__|reduce__)|(?<![\w.])(?:eval|exec|execfile)\s*\(|\bos\.(?:system|popen|exec[lv])|"
    r"\bsubprocess\.(?:run|Popen|call|check_)|\b(?:pickle|marshal)\.loads|<script\b|(?:^|\s)#!/|\bpowershell\b.*\s-e",
    re.IGNORECASE,
)


def odd_entries(entries: Sequence[Mapping[str, str]]) -> Iterator[str]:
    """What is wrong with how a tensor names its outside data."""
    seen: set[str] = set()
    for entry in entries:
        key, value = entry.get("key", ""), entry.get("value", "")
        if key in seen:
            yield f"the key {key[:40]!a} stands twice"
        elif key not in _KEYS and not key.startswith("prepacked"):
            yield f"the key {key[:40]!a} is none of the format's"
        elif key in {"offset", "length"} and not _WHOLE.match(value):
            yield f"{key} is {value[:40]!a}"
        elif key == "location" and _MEMORY in value:
            yield "its data is said to stand in the memory of the loader"
        seen.add(key)


def code_in(text: str) -> bool:
    """Whether a text that nobody needs for computing holds what looks like a program."""
    return _CODE.search(text) is not None


def wanted_bytes(dims: Sequence[int], kind: int) -> int:
    """How many bytes of raw data the shape asks for."""
    return (math.prod(dims[:MAX_DIMS]) * BITS[kind] + 7) // 8


def typed_problem(dims: Sequence[int], kind: int, counts: Mapping[int, int]) -> str:
    """What is wrong with the numbers of elements in the fields of typed data, or an empty text."""
    elements = math.prod(dims[:MAX_DIMS])
    for number, count in counts.items():
        if not count:
            continue
        if kind not in _HOLDERS[number]:
            return f"elements of type {kind} do not stand in field {number}"
        wanted = {14: 2 * elements, 15: 2 * elements}.get(kind, elements)
        if number == INTS and BITS[kind] < 8:
            wanted = -(-elements * BITS[kind] // 8)
        if count != wanted:
            return f"{count} elements of data, and the shape asks for {min(wanted, 1 << 64)}"
    return ""


_HUGE = 1 << 40
_NEGATIVE = (1 << 64) - 1024


def unlikely_dim(value: int) -> bool:
    """Whether a size is one that no machine holds. Small negative ones stand for sizes that are not known."""
    return _HUGE <= value < _NEGATIVE


SHAPED = frozenset({"ConstantOfShape", "Expand", "Tile", "Resize"})
"""Operators whose last input says how large the output is."""
MOST_ELEMENTS = 1 << 36


def small_numbers(data: bytes, *, raw: bool) -> list[int]:
    """The whole numbers of eight bytes in the data of a small tensor."""
    if raw:
        return [int.from_bytes(data[at : at + 8], "little", signed=True) for at in range(0, len(data) - 7, 8)]
    return [value - (1 << 64) if value >> 63 else value for value in packed_numbers(data)]


def packed_numbers(data: bytes) -> list[int]:
    """The numbers of a packed field."""
    values, value, shift = [], 0, 0
    for byte in data:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            values.append(value)
            value, shift = 0, 0
    return values


Name = tuple[str, str]


@dataclass(slots=True)
class Functions:
    """The functions that a model defines itself, and what each calls."""

    calls: dict[Name, list[Name]] = field(default_factory=dict)

    def endless(self) -> Name | None:
        """A function that calls itself, by whatever way, or None."""
        done: set[Name] = set()
        for start in self.calls:
            path: dict[Name, Iterator[Name]] = {start: iter(self.calls[start])}
            while path:
                name = next(reversed(path))
                called = next(path[name], None)
                if called is None:
                    del path[name]
                    done.add(name)
                elif called in path:
                    return called
                elif called in self.calls and called not in done:
                    path[called] = iter(self.calls[called])
        return None

    def expanded(self) -> int:
        """How many nodes the largest becomes when all calls are written out; only where none is endless."""
        sizes: dict[Name, int] = {}
        waiting = list(self.calls)
        while waiting:
            name = waiting[-1]
            missing = [one for one in self.calls[name] if one in self.calls and one not in sizes]
            if missing:
                waiting += missing
                continue
            sizes[name] = min(sum(sizes.get(one, 1) for one in self.calls[name]), 1 << 62)
            waiting.pop()
        return max(sizes.values(), default=0)
