"""Torch's sparse tensors: their indices against their size, wherever the storages stand.

Torch makes them of what the file says and checks nothing, unless a program asks for it; multiplying then reads and writes by
the indices.

Source: torch 2.13, `torch/_utils.py` (`_rebuild_sparse_tensor`, `_validate_loaded_sparse_tensors`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from fastness.core.sources import RandomAccess
from fastness.models.scan.bounds import WINDOW, LeadsOut, NotFollowed, Numbers, compressed, coordinates
from fastness.models.scan.budget import Budget
from fastness.models.scan.machine.contents import parts
from fastness.models.scan.machine.persistent import MAKER, Storage
from fastness.models.scan.machine.values import Global, Items, Made

SPARSE = frozenset({"torch._utils._rebuild_sparse_tensor", "torch._utils._rebuild_sparse_csr_tensor"})
SPARSE_NAME = b"_rebuild_sparse"
_DENSE = frozenset(
    {"torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor_v3"}
)
_LAYOUT, _SIZE = "torch.serialization._get_layout", "torch.Size"
GIVEN = _DENSE | {_LAYOUT, _SIZE}
"""What they were called with is what they hold."""
_KINDS = {
    "torch.LongStorage": "<i8", "torch.IntStorage": "<i4", "torch.ShortStorage": "<i2", "torch.CharStorage": "<i1",
    "torch.ByteStorage": "<u1", "torch.int64": "<i8", "torch.int32": "<i4", "torch.int16": "<i2", "torch.int8": "<i1",
}  # fmt: skip
_BATCHES = 1024
Find = Callable[[Storage], tuple[RandomAccess, int, int] | None]
"""Where the bytes of a storage stand: in what, from where on, how many."""


def check_sparse(args: object, find: Find, budget: Budget) -> None:
    """Return if the indices of a tensor that is rebuilt of `args` stay within it.

    Raises:
        LeadsOut: they do not.
        NotFollowed: they do not stand in the file, or not in a known form.
        TooLarge: the budget is spent.
    """
    layout, data = parts(args, "tuple", 2)[:2]
    form, given = _layout(layout), parts(data, "tuple", 3)
    size = _size(given[2 if form == "coo" else -1])
    if form == "coo":
        _by_places(given[0], _lengths(given[1]), size, partial(_row, find=find, budget=budget))
    elif len(given) == 4:
        _by_lines(form, (given[0], given[1]), (_lengths(given[2]), size), partial(_row, find=find, budget=budget))
    else:
        raise NotFollowed("a sparse tensor has other parts")


Row = Callable[[object, tuple[int, ...]], Numbers]


def _by_places(indices: object, values: tuple[int, ...], size: tuple[int, ...], row: Row) -> None:
    lengths = _lengths(indices)
    if len(lengths) != 2 or not values or lengths[0] + len(values) - 1 != len(size):
        raise LeadsOut(f"a sparse tensor of {size} has indices of {lengths} for values of {values}")
    coordinates([row(indices, (axis,)) for axis in range(lengths[0])], values[0], size[: lengths[0]])


def _by_lines(
    form: str, indices: tuple[object, object], shapes: tuple[tuple[int, ...], tuple[int, ...]], row: Row
) -> None:
    starts, plain = indices
    values, size = shapes
    batch = _lengths(starts)[:-1]
    depth = len(batch)
    for lengths in (_lengths(plain)[:-1], values[:depth], size[:depth]):
        if lengths != batch:
            raise LeadsOut(f"a sparse tensor of {size} is made of batches of {batch} and of {lengths}")
    lines, width = _sides(form, values[depth:], size[depth:])
    for place in _places(batch):
        compressed(row(starts, place), row(plain, place), values[depth], lines, width)


def _sides(form: str, values: tuple[int, ...], size: tuple[int, ...]) -> tuple[int, int]:
    """How many lines, and how wide they are, in blocks where it is made of such."""
    blocks = form in {"bsr", "bsc"}
    if len(values) < (3 if blocks else 1) or len(size) < 2:
        raise LeadsOut(f"a sparse tensor of {size} has values of {values}")
    block = values[1:3] if blocks else (1, 1)
    if 0 in block or size[0] % block[0] or size[1] % block[1]:
        raise LeadsOut(f"a sparse tensor of {size} has blocks of {block}")
    lines, width = size[0] // block[0], size[1] // block[1]
    return (width, lines) if form in {"csc", "bsc"} else (lines, width)


def _places(batch: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    if int(np.prod(batch, dtype=object)) > _BATCHES:
        raise NotFollowed("a sparse tensor has too many batches")
    yield from np.ndindex(*batch)


def _layout(value: object) -> str:
    named = value.path if isinstance(value, Global) else None
    if isinstance(value, Made) and value.maker == _LAYOUT:
        named = str(parts(value.args, "tuple", 1)[0])
    form = (named or "").removeprefix("torch.sparse_")
    if form not in {"coo", "csr", "csc", "bsr", "bsc"}:
        raise NotFollowed("a sparse tensor is of no known layout")
    return form


def _size(value: object) -> tuple[int, ...]:
    if isinstance(value, Made) and value.maker == _SIZE:
        value = parts(value.args, "tuple", 1)[0]
    if not isinstance(value, Items) or value.count != len(value.kept):
        raise NotFollowed("the size of a tensor is not written as one")
    return tuple(_whole(one) for one in value.kept)


def _whole(value: object) -> int:
    if type(value) is not int or not 0 <= value < 1 << 62:
        raise NotFollowed("the size of a tensor is not made of whole numbers")
    return value


def _lengths(value: object) -> tuple[int, ...]:
    if not isinstance(value, Made) or value.maker not in _DENSE:
        raise NotFollowed("a part of a sparse tensor is not written as a tensor")
    return _size(parts(value.args, "tuple", 4)[2])


def _row(value: object, place: tuple[int, ...], find: Find, budget: Budget) -> Numbers:
    """The numbers of a tensor along its last axis, at a place of the axes before."""
    lengths = _lengths(value)
    args = parts(value.args if isinstance(value, Made) else None, "tuple", 4)
    storage = args[0].args if isinstance(args[0], Made) and args[0].maker == MAKER else None
    steps = _size(args[3])
    if not isinstance(storage, Storage) or len(lengths) != len(place) + 1 or len(steps) != len(lengths):
        raise NotFollowed("the indices of a tensor are in no storage")
    where, dtype = find(storage), _kind(storage, args)
    if where is None or (lengths[-1] > 1 and not steps[-1]):
        raise NotFollowed("the indices of a tensor are not in the file, or all the same one")
    first = _whole(args[1]) + sum(at * step for at, step in zip(place, steps, strict=False))
    return _line(where, dtype, (first, lengths[-1], max(1, steps[-1])), budget)


def _kind(storage: Storage, args: Sequence[object]) -> np.dtype[Any]:
    """The type of a tensor's elements, which later versions name beside an untyped storage."""
    typed = args[6] if len(args) > 6 else None
    name = storage.type if storage.type in _KINDS else typed.path if isinstance(typed, Global) else ""
    if name not in _KINDS:
        raise NotFollowed("the indices of a tensor are of no known type")
    return np.dtype(_KINDS[name])


def _line(
    where: tuple[RandomAccess, int, int], dtype: np.dtype[Any], run: tuple[int, int, int], budget: Budget
) -> Numbers:
    """Every so manieth number of a storage: the first, how many, and how far apart."""
    source, start, size = where
    first, count, step = run
    width = dtype.itemsize
    if count and (first + (count - 1) * step + 1) * width > size:
        raise LeadsOut("the indices of a tensor reach beyond their storage")

    def pieces() -> Iterator[bytes]:
        block = max(1, WINDOW // (width * step))
        for at in range(0, count, block):
            some = min(block, count - at)
            span = ((some - 1) * step + 1) * width
            budget.spend("fields", 1 + span // 1024)
            data = source.read_at(start + (first + at * step) * width, span)
            yield data if step == 1 else np.frombuffer(data, dtype, len(data) // width)[::step].tobytes()

    return Numbers(dtype, (count,), pieces)
