"""The numbers of the arrays that a pickle holds: where they stand in the file, and what they are.

numpy writes an array as a call and a state, or from protocol 5 on as a call around a buffer; joblib puts the bytes behind the
instructions. Pickle writes bytes as they are, or, below protocol 3, as a text that is encoded again.

Misses: arrays that a stream computes, copies or takes from outside; they are not followed, and that is told.

Source: numpy 2.4, `array_reduce`, `array_setstate`, `array_reduce_ex_picklebuffer`; joblib 1.6.0, `numpy_pickle.py`.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any, Literal

import numpy as np

from fastness.core.sources import RandomAccess
from fastness.models.scan.bounds import WINDOW, NotFollowed, Numbers
from fastness.models.scan.budget import Budget
from fastness.models.scan.machine.arrays import DTYPES, WRAPPERS
from fastness.models.scan.machine.specials import ENCODER
from fastness.models.scan.machine.values import Global, Items, Made, Text

ARRAYS = frozenset(
    {"numpy.ndarray", "numpy.matrix", "numpy.matrixlib.defmatrix.matrix", "numpy.recarray", "numpy.rec.recarray"}
)
"""Makers of arrays that take their numbers by a state."""
FROM_BUFFER = frozenset({"numpy.core.numeric._frombuffer", "numpy._core.numeric._frombuffer"})
SCALARS = frozenset({"numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar"})
_COPIES = frozenset({"builtins.bytearray", "builtins.bytes"})
GIVEN = FROM_BUFFER | SCALARS | _COPIES
"""What they were called with is what they hold."""
_SPARSE = "scipy.sparse."
_ORDERS: dict[object, Literal["<", ">", "=", "|"]] = {"": "=", "<": "<", ">": ">", "=": "=", "|": "|"}
_LATIN = frozenset({"latin1", "latin-1"})
_COPIED = 4
_LINE = 8 << 20
_DIMENSIONS = 64
_FIELDS = 64
_PAID = 1024
_LETTERS = frozenset("?bBhHiIlLqQuefdgcFDGSUV")


@dataclass(frozen=True, slots=True)
class Place:
    """Bytes of the file that are a part of what is made."""

    at: int
    size: int


def parts(value: object, kind: str, least: int = 0) -> Sequence[object]:
    """The items of a container of that kind, all of which are known; of a dict, keys and values in turn.

    Raises:
        NotFollowed: it is none.
    """
    if not isinstance(value, Items) or value.kind != kind or value.count != len(value.kept) or value.count < least:
        raise NotFollowed(f"a {kind} is not written as one")
    return value.kept


def texts(value: object) -> dict[str, object]:
    """A dict whose keys are texts.

    Raises:
        NotFollowed: it is none.
    """
    items = parts(value, "dict")
    return {key: one for key, one in zip(items[::2], items[1::2], strict=False) if isinstance(key, str)}


def unwrapped(value: object) -> object:
    """An array of objects, which joblib writes as a stream of its own behind a wrapper."""
    is_wrapper = isinstance(value, Made) and value.maker in WRAPPERS and isinstance(value.args, Made)
    return value.args if isinstance(value, Made) and is_wrapper else value


class Contents:
    """What stands in one file.

    Args:
        budget: a field is spent for each KiB that is read.
    """

    def __init__(self, source: RandomAccess, budget: Budget) -> None:
        self._source = source
        self._budget = budget

    def whole(self, value: object) -> int:
        """A whole number, also where it is one of numpy's.

        Raises:
            NotFollowed: it is none.
        """
        if type(value) is int:
            return value
        if isinstance(value, Made) and value.maker in SCALARS:
            dtype, data = (*parts(value.args, "tuple", 2),)[:2]
            kind = element_type(dtype)
            raw = b"".join(self._bytes(data))
            if kind.kind in "iu" and len(raw) == kind.itemsize:
                return int(np.frombuffer(raw, kind)[0])
        raise NotFollowed("a whole number is not written as one")

    def number(self, value: object) -> int | None:
        """The same; None for what is none."""
        try:
            return self.whole(value)
        except NotFollowed:
            return None

    def wholes(self, value: object) -> tuple[int, ...]:
        """A tuple of whole numbers.

        Raises:
            NotFollowed: it is none.
        """
        return tuple(self.whole(one) for one in parts(value, "tuple"))

    def numbers(self, value: object) -> Numbers:
        """The array that `value` stands for.

        Raises:
            NotFollowed: its numbers do not stand in the file.
        """
        value = unwrapped(value)
        if not isinstance(value, Made):
            raise NotFollowed("an array is not written as one")
        if value.maker in WRAPPERS:
            return self._wrapped(value)
        if value.maker in FROM_BUFFER:
            data, dtype, shape, order = (*parts(value.args, "tuple", 4),)[:4]
            return self._array(dtype, shape, data, fortran=order == "F")
        if value.maker in ARRAYS and value.state is not None:
            state = parts(value.state, "tuple", 4)
            shape, dtype, fortran, data = state[-4:]
            return self._array(dtype, shape, data, fortran=bool(fortran))
        raise NotFollowed("an array's numbers are not in the file")

    def shape(self, value: object) -> tuple[int, ...]:
        """The lengths of the array that `value` stands for, whatever it holds.

        Raises:
            NotFollowed: they do not stand in the file.
        """
        value = unwrapped(value)
        if isinstance(value, Made) and value.maker in WRAPPERS:
            return self.wholes(texts(value.state).get("shape"))
        if isinstance(value, Made) and value.maker in ARRAYS and value.state is not None:
            return self.wholes(parts(value.state, "tuple", 4)[-4])
        return self.numbers(value).shape

    def attributes(self, state: object) -> dict[str, object]:
        """The attributes that a state becomes: a dict, or a pair of one and of those that are set by name.

        Raises:
            NotFollowed: it is none.
        """
        if isinstance(state, Items) and state.kind == "tuple" and state.count == 2:
            pair = [texts(one) for one in state.kept if one is not None]
            return {key: value for given in pair for key, value in given.items()}
        return texts(state)

    def rows(self, value: object) -> int:
        """How many rows an array or a sparse matrix has.

        Raises:
            NotFollowed: that does not stand in the file.
        """
        if isinstance(value, Made) and value.maker.startswith(_SPARSE):
            return (*self.wholes(self.attributes(value.state).get("_shape")), 0)[0]
        return (*self.shape(value), 0)[0]

    def held(self, value: object) -> int:
        """How many numbers an array or a sparse matrix holds.

        Raises:
            NotFollowed: that does not stand in the file.
        """
        if isinstance(value, Made) and value.maker.startswith(_SPARSE):
            return prod(self.shape(self.attributes(value.state).get("data")))
        return prod(self.shape(value))

    def _wrapped(self, value: Made) -> Numbers:
        state, place = texts(value.state), value.args
        subclass = state.get("subclass")
        if not isinstance(place, Place) or not isinstance(subclass, Global) or subclass.path not in ARRAYS:
            raise NotFollowed("an array's numbers are not in the file")
        return self._array(state.get("dtype"), state.get("shape"), place, fortran=state.get("order") == "F")

    def _array(self, dtype: object, shape: object, data: object, *, fortran: bool) -> Numbers:
        kind, lengths = element_type(dtype), self.wholes(shape)
        if len(lengths) > _DIMENSIONS or any(not 0 <= length < 1 << 48 for length in lengths):
            raise NotFollowed("an array's shape is not one of numpy's")
        size = _size(_uncopied(data))
        if size is not None and size != kind.itemsize * prod(lengths):
            raise NotFollowed("an array's shape does not fit its numbers")
        return Numbers(kind, lengths, partial(self._bytes, data), fortran)

    def _bytes(self, data: object) -> Iterator[bytes]:
        """The bytes that a value stands for, some at a time.

        Raises:
            NotFollowed: they do not stand in the file.
        """
        data = _uncopied(data)
        if isinstance(data, bytes):
            yield data
        elif isinstance(data, str):
            yield _latin(data)
        elif isinstance(data, Place):
            yield from self._window(data.at, data.size)
        elif isinstance(data, Text) and data.at >= 0:
            yield from self._long(data)
        else:
            raise NotFollowed("an array's numbers are not in the file")

    def _long(self, data: Text) -> Iterator[bytes]:
        if isinstance(data.head, bytes) or data.form == "latin-1":
            yield from self._window(data.at, data.size)
        elif data.form:
            if data.size > _LINE:
                raise NotFollowed("an array's numbers are too long a line")
            yield _unquoted(b"".join(self._window(data.at, data.size)), data.form)
        else:
            decoder = codecs.getincrementaldecoder("utf-8")("replace")
            for piece in self._window(data.at, data.size):
                yield _latin(decoder.decode(piece))

    def _window(self, at: int, size: int) -> Iterator[bytes]:
        for start in range(at, at + size, WINDOW):
            length = min(WINDOW, at + size - start)
            self._budget.spend("fields", 1 + length // _PAID)
            yield self._source.read_at(start, length)


def _uncopied(data: object) -> object:
    """What copies of bytes, and texts that are encoded to them, are made of."""
    for _ in range(_COPIED):
        if not isinstance(data, Made) or not (data.maker in _COPIES or data.maker == ENCODER):
            break
        args = parts(data.args, "tuple")
        if not args and data.maker in _COPIES:
            return b""
        if args[1:] and args[1] not in _LATIN:
            raise NotFollowed("an array's numbers are encoded otherwise")
        data = args[0]
    return data


def _latin(text: str) -> bytes:
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError as error:
        raise NotFollowed("an array's numbers are a text that is no bytes") from error


def _unquoted(line: bytes, form: str) -> bytes:
    """The bytes that a line of text stands for, which the machine has read before."""
    if form == "quoted":
        return codecs.escape_decode(line.strip()[1:-1])[0]
    return _latin(line.decode(form))


def _size(data: object) -> int | None:
    """How many bytes they are, where that is known without reading them."""
    if isinstance(data, bytes | str):
        return len(data)
    if isinstance(data, Text):
        return data.length if isinstance(data.head, bytes) or data.form else None
    return data.size if isinstance(data, Place) else None


def element_type(value: object) -> np.dtype[Any]:
    """The element type that `value` stands for; of a structure, one whose fields are numbers.

    Raises:
        NotFollowed: it is none, or holds objects.
    """
    if not isinstance(value, Made) or value.maker not in DTYPES:
        raise NotFollowed("an element type is not written as one")
    args = parts(value.args, "tuple", 1)
    state = None if value.state is None else parts(value.state, "tuple", 6)
    order = "" if state is None else state[1]
    if state is not None and state[4] is not None:
        return _structure(state)
    letter = args[0]
    if (
        not isinstance(letter, str)
        or letter.lstrip("<>=|")[:1] not in _LETTERS
        or order not in {"", "<", ">", "=", "|"}
    ):
        raise NotFollowed("an element type is not one of numbers")
    return _made(lambda: np.dtype(letter).newbyteorder(_ORDERS[str(order)]))


def _structure(state: Sequence[object]) -> np.dtype[Any]:
    names, fields, width = parts(state[3], "tuple"), texts(state[4]), state[5]
    if len(names) > _FIELDS or type(width) is not int or not 0 < width < 1 << 20:
        raise NotFollowed("a structure is not one of numbers")
    found: list[tuple[str, np.dtype[Any], int]] = []
    for name in names:
        kind, offset = (*parts(fields.get(str(name)), "tuple", 2),)[:2]
        if type(offset) is not int or not isinstance(kind, Made) or kind.args is None or _is_structure(kind):
            raise NotFollowed("a structure is not one of numbers")
        found.append((str(name), element_type(kind), offset))
    ways, kinds, offsets = (list(column) for column in zip(*found, strict=True)) if found else ([], [], [])
    return _made(lambda: np.dtype({"names": ways, "formats": kinds, "offsets": offsets, "itemsize": width}))


def _is_structure(kind: Made) -> bool:
    return isinstance(kind.state, Items) and kind.state.count > 4 and kind.state.kept[4] is not None


def _made(make: Callable[[], np.dtype[Any]]) -> np.dtype[Any]:
    try:
        made = make()
    except (TypeError, ValueError, OverflowError) as error:
        raise NotFollowed("an element type is not one of numpy's") from error
    if made.hasobject:
        raise NotFollowed("an array holds objects")
    return made
