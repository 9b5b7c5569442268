"""Numbers by which compiled code finds its way, held against what they lead into: children of trees, indices of matrices.

The libraries follow such numbers without asking. One that leads out of its array makes them read, or write, what is not
theirs; one that leads back makes them go round for ever. What is looked at is read once, in windows, so that memory does not
grow with the arrays (but for a byte for each node of a tree).

Source: scikit-learn 1.9, `tree/_tree.pyx`, `ensemble/_hist_gradient_boosting/_predictor.pyx`,
`neighbors/_binary_tree.pxi.tp`; scipy 1.17, `sparse/sparsetools/csr.h`, `coo.h`, `bsr.h`, `dia.h`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

WINDOW = 1 << 20
MOST_NODES = 16_000_000
MOST_ROWS = 64
_LEAF = -1


class NotFollowed(Exception):
    """The numbers do not stand in the file, or not in a form that is known."""


class LeadsOut(Exception):
    """Some number leads out of what it is an index of, or back."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """An array that stands in a file.

    Attributes:
        pieces: gives its bytes from the first on, in parts of any length.
        fortran: whether the first index moves fastest.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    pieces: Callable[[], Iterator[bytes]]
    fortran: bool = False

    @property
    def count(self) -> int:
        """How many elements."""
        return prod(self.shape)

    def windows(self, most: int | None = None) -> Iterator[NDArray[Any]]:
        """The elements in the order in which they stand, `most` at most, some at a time.

        Raises:
            NotFollowed: there are fewer.
        """
        width, left = self.dtype.itemsize, self.count if most is None else min(most, self.count)
        held = b""
        for piece in self.pieces() if left and width else ():
            held += piece
            ready = min(left, len(held) // width)
            if ready:
                yield np.frombuffer(held, self.dtype, ready)
            held, left = held[ready * width :], left - ready
            if not left:
                return
        if left:
            raise NotFollowed("an array is shorter than its shape")

    def rows(self) -> list[Numbers]:
        """The rows of a table, each an array of its own.

        Raises:
            NotFollowed: it is no table of few rows.
        """
        if len(self.shape) != 2 or self.shape[0] > MOST_ROWS:
            raise NotFollowed("an array is no table of few rows")
        height, width = self.shape
        step = height if self.fortran else 1
        starts = [row if self.fortran else row * width for row in range(height)]
        return [Numbers(self.dtype, (width,), partial(self._every, start, step, width)) for start in starts]

    def _every(self, first: int, step: int, count: int) -> Iterator[bytes]:
        """The bytes of each `step`-th element from `first` on."""
        start = 0
        for window in self.windows():
            begin = first - start if first >= start else (first - start) % step
            chosen = window[begin : max(begin, first + (count - 1) * step + 1 - start) : step] if count else window[:0]
            yield chosen.tobytes()
            start += window.size


@dataclass(frozen=True, slots=True)
class Extent:
    """The whole numbers of an array, summed up.

    Attributes:
        rising: whether none is below the one before it.
    """

    low: int = 0
    high: int = -1
    first: int = 0
    last: int = 0
    rising: bool = True


def whole_numbers(numbers: Numbers) -> tuple[int, ...]:
    """The numbers themselves, of an array of few.

    Raises:
        NotFollowed: they are many, or no whole numbers.
    """
    if numbers.dtype.kind not in "iu" or len(numbers.shape) != 1 or numbers.count > MOST_ROWS:
        raise NotFollowed("an array is not one of few whole numbers")
    return tuple(int(one) for window in numbers.windows() for one in window)


def extent(numbers: Numbers, most: int | None = None) -> Extent:
    """Least and greatest of the first `most` numbers; of none, a range that holds nothing.

    Raises:
        NotFollowed: they are no whole numbers, or do not stand there.
    """
    if numbers.dtype.kind not in "iu":
        raise NotFollowed("an array of indices is not made of whole numbers")
    found: Extent | None = None
    for window in numbers.windows(most):
        low, high, first, last = int(window.min()), int(window.max()), int(window[0]), int(window[-1])
        rising = bool((window[1:] >= window[:-1]).all())
        if found is None:
            found = Extent(low, high, first, last, rising)
        else:
            rising = rising and found.rising and first >= found.last
            found = Extent(min(low, found.low), max(high, found.high), found.first, last, rising)
    return found or Extent()


def within(numbers: Extent, size: int, what: str) -> None:
    """Return if all of the numbers are indices of something of `size`.

    Raises:
        LeadsOut: one is not.
    """
    if numbers.low < 0 or numbers.high >= size:
        worst = numbers.low if numbers.low < 0 else numbers.high
        raise LeadsOut(f"{what} is {worst}, of {size}")


def _known(nodes: Numbers, *names: str) -> None:
    """Return if nodes are a row of structures with these fields, each a whole number."""
    fields = nodes.dtype.fields
    if (
        fields is None
        or len(nodes.shape) != 1
        or any(name not in fields or fields[name][0].kind not in "iub" for name in names)
    ):
        raise NotFollowed("the nodes of a tree have other fields")


def columns_of(nodes: Numbers, used: int, names: tuple[str, str, str], leaf: str = "") -> int:
    """How many columns of data a tree reads: one more than its greatest feature.

    Every node is led to by one that stands before it, and by no other, as all builders of trees write them; so that a walk
    ends, and passes each node once.

    Args:
        used: nodes that count, from the first on.
        names: of the fields: left child, right child, feature.
        leaf: the field that is not 0 in leaves; without one, leaves have no left child.

    Raises:
        LeadsOut: a child or feature is none, or leads back.
        NotFollowed: the nodes are not in a known form, or too many.
    """
    _known(nodes, *names, *([leaf] if leaf else []))
    if not 0 < used <= nodes.count:
        raise LeadsOut(f"a tree of {nodes.count} nodes says that it has {used}")
    if used > MOST_NODES:
        raise NotFollowed(f"a tree has more than {MOST_NODES} nodes")
    led, start, columns = np.zeros(used, np.bool_), 0, 0
    for window in nodes.windows(used):
        inner = np.nonzero(window[leaf] == 0 if leaf else window[names[0]] != _LEAF)[0]
        _lead(led, inner + start, [window[name][inner].astype(np.int64) for name in names[:2]])
        start += window.size
        if inner.size:
            features = window[names[2]][inner]
            if int(features.min()) < 0:
                raise LeadsOut(f"a node of a tree asks for feature {int(features.min())}")
            columns = max(columns, int(features.max()) + 1)
    return columns


def _lead(led: NDArray[np.bool_], nodes: NDArray[np.int64], sides: list[NDArray[np.int64]]) -> None:
    """Take note of which nodes these nodes lead to, by their children on both sides."""
    for side in sides:
        _onward(side, nodes, led.size)
    children = np.concatenate(sides)
    if led[children].any() or np.unique(children).size != children.size:
        raise LeadsOut("two nodes of a tree lead to the same child")
    led[children] = True


def _onward(children: NDArray[np.int64], nodes: NDArray[np.int64], used: int) -> None:
    out = (children < 0) | (children >= used)
    if out.any():
        raise LeadsOut(f"a node of a tree leads to node {int(children[out][0])}, of {used}")
    back = children <= nodes
    if back.any():
        raise LeadsOut(f"node {int(nodes[back][0])} of a tree leads back to node {int(children[back][0])}")


def categories(nodes: Numbers, rows: int) -> bool:
    """Whether any node of a tree of histogram boosting goes by categories; each of those has its row of bits.

    Raises:
        LeadsOut: a row is none.
        NotFollowed: the nodes are not in a known form.
    """
    _known(nodes, "is_categorical", "bitset_idx")
    some = False
    for window in nodes.windows():
        chosen = window["bitset_idx"][window["is_categorical"] != 0]
        if chosen.size:
            some = True
            within(Extent(int(chosen.min()), int(chosen.max())), rows, "the row of bits of a node")
    return some


def ranges(nodes: Numbers, points: int) -> None:
    """Return if every node of a ball tree or k-d tree holds a range of the points, and every inner one has its two children.

    Raises:
        LeadsOut: one does not.
        NotFollowed: the nodes are not in a known form.
    """
    _known(nodes, "idx_start", "idx_end", "is_leaf")
    start = 0
    for window in nodes.windows():
        first, behind = window["idx_start"], window["idx_end"]
        if int(first.min()) < 0 or (behind < first).any() or int(behind.max()) > points:
            raise LeadsOut(f"a node holds the points {int(first.min())} to {int(behind.max())}, of {points}")
        inner = np.nonzero(window["is_leaf"] == 0)[0]
        if inner.size and 2 * (start + int(inner[-1])) + 2 >= nodes.count:
            raise LeadsOut(f"a node beyond the {nodes.count} of a tree of points is asked for")
        start += window.size


def compressed(starts: Numbers, indices: Numbers, values: int, lines: int, width: int) -> None:
    """Return if the rows (or columns) of a compressed matrix stay within it.

    Args:
        starts: where each line begins among the indices, and where the last one ends.
        values: how many stand beside the indices.
        lines: rows, of a matrix that is compressed by rows.
        width: columns of such a matrix.

    Raises:
        LeadsOut: they do not.
        NotFollowed: the arrays are not in a known form.
    """
    if len(starts.shape) != 1 or len(indices.shape) != 1:
        raise NotFollowed("the indices of a matrix are no rows of numbers")
    if starts.count != lines + 1:
        raise LeadsOut(f"a matrix of {lines} lines says where {starts.count - 1} begin")
    found = extent(starts)
    if found.first < 0 or not found.rising or found.last > min(indices.count, values):
        raise LeadsOut(
            f"the lines of a matrix begin between {found.low} and {found.high}, of {min(indices.count, values)}"
        )
    within(extent(indices, found.last), width, "an index of a matrix")


def coordinates(axes: list[Numbers], values: int, shape: tuple[int, ...]) -> None:
    """Return if the places of the values of a matrix are within it.

    Raises:
        LeadsOut: they are not.
        NotFollowed: the arrays are not in a known form.
    """
    if len(axes) != len(shape):
        raise LeadsOut(f"a matrix of {len(shape)} dimensions has places in {len(axes)}")
    for axis, size in zip(axes, shape, strict=True):
        if axis.count != values:
            raise LeadsOut(f"a matrix has {axis.count} places for {values} values")
        within(extent(axis), size, "an index of a matrix")
