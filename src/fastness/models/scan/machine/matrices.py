"""Sparse matrices of scipy within a pickle: their indices against their shape.

They are plain classes whose state becomes their attributes; what checks the indices when a matrix is made does not run.

Misses: matrices of lists (`lil`) with more lists or items than the machine keeps, which are not followed, and that is told.
Matrices of dictionaries (`dok`) are checked by scipy itself when they are used.

Source: scipy 1.17, `sparse/_compressed.py`, `_bsr.py`, `_coo.py`, `_dia.py`, `_lil.py`.
"""

from __future__ import annotations

from collections.abc import Mapping

from fastness.models.scan.bounds import Extent, LeadsOut, NotFollowed, compressed, coordinates, within
from fastness.models.scan.machine.contents import ARRAYS, Contents, parts, unwrapped
from fastness.models.scan.machine.values import Items, Made, noted

Attributes = Mapping[str, object]


def _shape(contents: Contents, state: Attributes) -> tuple[int, ...]:
    shape = contents.wholes(state.get("_shape"))
    if not shape or any(length < 0 for length in shape):
        raise LeadsOut(f"a matrix has the shape {shape}")
    return shape


def by_rows(contents: Contents, made: Made, state: Attributes) -> None:
    """A matrix that is compressed by rows; of one dimension, it is a row."""
    del made
    shape = _shape(contents, state)
    lines, width = shape if len(shape) == 2 else (1, shape[-1])
    _compressed(contents, state, lines, width)


def by_columns(contents: Contents, made: Made, state: Attributes) -> None:
    """A matrix that is compressed by columns."""
    del made
    shape = _shape(contents, state)
    if len(shape) != 2:
        raise NotFollowed("a matrix has other dimensions")
    _compressed(contents, state, shape[1], shape[0])


def _compressed(contents: Contents, state: Attributes, lines: int, width: int) -> None:
    starts, indices = contents.numbers(state.get("indptr")), contents.numbers(state.get("indices"))
    values = contents.shape(state.get("data"))
    if len(values) != 1:
        raise NotFollowed("the values of a matrix are no row")
    compressed(starts, indices, values[0], lines, width)


def in_blocks(contents: Contents, made: Made, state: Attributes) -> None:
    """A matrix of blocks, compressed by rows of them."""
    del made
    shape, blocks = _shape(contents, state), contents.shape(state.get("data"))
    if len(blocks) != 3 or len(shape) != 2 or not blocks[1] or not blocks[2]:
        raise NotFollowed("the blocks of a matrix are not written as such")
    if shape[0] % blocks[1] or shape[1] % blocks[2]:
        raise LeadsOut(f"a matrix of {shape} has blocks of {blocks[1:]}")
    starts, indices = contents.numbers(state.get("indptr")), contents.numbers(state.get("indices"))
    compressed(starts, indices, blocks[0], shape[0] // blocks[1], shape[1] // blocks[2])


def by_places(contents: Contents, made: Made, state: Attributes) -> None:
    """A matrix of values with their places."""
    del made
    values = contents.shape(state.get("data"))
    axes = parts(state["coords"], "tuple") if "coords" in state else [state.get("row"), state.get("col")]
    if len(values) != 1:
        raise NotFollowed("the values of a matrix are no row")
    coordinates([contents.numbers(axis) for axis in axes], values[0], _shape(contents, state))


def by_diagonals(contents: Contents, made: Made, state: Attributes) -> None:
    """A matrix of diagonals, each of which has its row of values."""
    del made
    values, offsets = contents.shape(state.get("data")), contents.shape(state.get("offsets"))
    if len(values) != 2 or offsets != (values[0],):
        raise LeadsOut(f"a matrix has diagonals of {values} for {offsets}")


def by_lists(contents: Contents, made: Made, state: Attributes) -> None:
    """A matrix of two arrays of lists: columns and values of each row."""
    del made
    shape = _shape(contents, state)
    rows, data = (_lists(state.get(name)) for name in ("rows", "data"))
    if len(shape) != 2 or not len(rows) == len(data) == shape[0]:
        raise LeadsOut(f"a matrix of {shape} has {len(rows)} lists of columns and {len(data)} of values")
    for row, values in zip(rows, data, strict=True):
        columns = [contents.whole(one) for one in parts(row, "list")]
        if not isinstance(row, Items) or not isinstance(values, Items) or values.count != len(columns):
            raise LeadsOut("a row of a matrix has other columns than values")
        for one in (row, values):
            noted(one).followed = True
        if columns:
            within(Extent(min(columns), max(columns)), shape[1], "an index of a matrix")


def _lists(value: object) -> list[object]:
    value = unwrapped(value)
    if not isinstance(value, Made) or value.maker not in ARRAYS or value.state is None:
        raise NotFollowed("the lists of a matrix are not in the file")
    return list(parts(parts(value.state, "tuple", 4)[-1], "list"))
