"""What numpy's element types come to: how many raw bytes follow a joblib array wrapper, and whether a state is honest.

numpy checks neither the flags nor the offsets that a pickle gives to an element type. One that hides that its elements
are objects makes numpy take an array's bytes for pointers; one whose fields reach beyond it reads what lies behind.

Source: joblib 1.6.0, `numpy_pickle.NumpyArrayWrapper.read_array`; numpy 2.4, `arraydescr_setstate`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from fastness.models.scan.budget import Budget
from fastness.models.scan.machine.values import Global, Items, Made, container

WRAPPERS = frozenset({
    "joblib.numpy_pickle.NumpyArrayWrapper",
    "sklearn.externals.joblib.numpy_pickle.NumpyArrayWrapper",
})  # fmt: skip
DTYPES = frozenset({"numpy.dtype"})
_DESCR = re.compile(r"[<>=|]?([?bBhHiIlLqQefdgFDGucSUVOmM])(\d{0,9})(?:\[.{1,20}\])?")
_FIXED = {"?": 1, "b": 1, "B": 1, "h": 2, "H": 2, "e": 2, "q": 8, "Q": 8, "c": 1, "d": 8, "D": 16, "M": 8, "m": 8}


_REFERENCE_COUNTED, _LIST_PICKLE, _POINTER = 1, 2, 4
_OBJECT_BITS = _REFERENCE_COUNTED | _LIST_PICKLE | _POINTER
_STRUCTURE_BITS = _REFERENCE_COUNTED | _LIST_PICKLE
_POINTER_BYTES = 8


class NotUnderstood(Exception):
    """The state does not say how many bytes follow, or is not one that numpy writes."""


class HiddenObjects(Exception):
    """The state of an element type hides pointers, or reaches beyond its elements."""


@dataclass(frozen=True, slots=True)
class RawArray:
    """What follows: `size` bytes behind the padding, or another pickle where it holds objects."""

    size: int
    padded: bool
    objects: bool


def raw_array(wrapper: Made, budget: Budget) -> RawArray:
    """What stands behind the wrapper in the stream.

    Raises:
        TooLarge: the element type has more parts than the budget has instructions.
        NotUnderstood: a part of its state is missing or odd.
    """
    state = _whole(wrapper.state, "dict", "the array's description")
    alignment = state.get("numpy_array_alignment_bytes")
    if alignment is not None and not isinstance(alignment, int):
        raise NotUnderstood("the array's alignment is not a whole number")
    width = _width(state.get("dtype"), 4, budget)
    count = _count(_whole(state.get("shape"), "tuple", "the array's shape"))
    return RawArray(count * (width or 0), alignment is not None, width is None)


def _whole(value: object, kind: str, what: str) -> Items:
    """`value` as a container of that kind, all of which is known."""
    if not isinstance(value, Items) or value.kind != kind or value.count != len(value.kept):
        raise NotUnderstood(f"{what} is not a plain {kind}")
    return value


def _count(shape: Items) -> int:
    count = 1
    for length in shape.kept:
        if not isinstance(length, int) or not 0 <= length < 1 << 62:
            raise NotUnderstood("the array's shape is not made of whole numbers")
        count *= length
    return count


def _width(dtype: object, depth: int, budget: Budget) -> int | None:
    """Bytes an element, or None where it holds objects."""
    budget.spend("opcodes")
    if not isinstance(dtype, Made) or dtype.maker not in DTYPES or depth < 0:
        raise NotUnderstood("the array's element type is not a numpy.dtype")
    letter, digits = _letter(dtype)
    if letter == "O":
        return None
    if letter in "SUV":
        return _flexible(dtype, int(digits or 0) * (4 if letter == "U" else 1), depth, budget)
    width = int(digits) if letter in "biufc" and digits else _FIXED.get(letter)
    if width is None:
        raise NotUnderstood(f"the width of element type {letter} depends on the machine")
    return width


def _letter(dtype: Made) -> tuple[str, str]:
    args = _whole(dtype.args, "tuple", "the element type's description")
    match = _DESCR.fullmatch(str(args.kept[0])) if args.kept else None
    if match is None:
        raise NotUnderstood("the array's element type is not a known one")
    return match[1], match[2]


def _flexible(dtype: Made, named: int, depth: int, budget: Budget) -> int | None:
    """The width of a text, raw or structured type, which its state may set again."""
    if dtype.state is None:
        return named
    state = _whole(dtype.state, "tuple", "the element type's state")
    if len(state.kept) < 6 or state.kept[2] is not None:
        raise NotUnderstood("the element type is an array itself, or not a known one")
    fields, width = state.kept[4], state.kept[5]
    if fields is not None and _holds_objects(_whole(fields, "dict", "the element type's fields"), depth, budget):
        return None
    if not isinstance(width, int) or width < 0 or (named and width != named):
        raise NotUnderstood("the element type names two widths")
    return width


def _holds_objects(fields: Items, depth: int, budget: Budget) -> bool:
    inner = [_whole(value, "tuple", "a field").kept for value in fields.kept[1::2]]
    if not all(inner):
        raise NotUnderstood("a field of the element type is empty")
    return any(_width(parts[0], depth - 1, budget) is None for parts in inner)


def check_dtype(dtype: Made, state: object, budget: Budget) -> None:
    """Return if `state` is what numpy itself would write for `dtype`.

    Raises:
        HiddenObjects: flags or offsets contradict the fields.
        NotUnderstood: it is not such a state.
        TooLarge: the budget is spent.
    """
    said = _state(state)
    letter, named = _named(dtype)
    if letter != "V" and (said.base, said.fields) != (None, None):
        raise HiddenObjects("an element type that is no structure has fields")
    if named and letter in "SUV" and said.width != named:
        raise HiddenObjects("the element type names two widths")
    needed = _OBJECT_BITS if letter == "O" else _STRUCTURE_BITS if _inner_objects(said, budget) else 0
    if said.flags & (needed or _OBJECT_BITS) != needed:
        raise HiddenObjects("the flags of the element type contradict its fields")


def _inner_objects(said: _State, budget: Budget) -> bool:
    """Whether objects stand anywhere within."""
    objects = False
    for inner, offset, count in said.parts:
        width, inner_objects = _extent(inner, 4, budget)
        if not isinstance(offset, int) or offset < 0 or offset + width * count > said.width:
            raise HiddenObjects("a field reaches beyond its element")
        objects = objects or inner_objects
    return objects


@dataclass(frozen=True, slots=True)
class _State:
    """What a pickle gives to an element type.

    Attributes:
        base: type and shape, where it is an array of another type.
        fields: name to type and offset, where it is a structure.
        parts: the types within either, each with its offset and how often it stands there.
    """

    base: object
    fields: object
    width: int
    flags: int

    @property
    def parts(self) -> list[tuple[object, object, int]]:
        found: list[tuple[object, object, int]] = []
        if self.base is not None:
            inner, shape = (*_whole(self.base, "tuple", "a type of arrays").kept, None, None)[:2]
            shapes = shape if isinstance(shape, Items) else container("tuple", [shape])
            found.append((inner, 0, _count(_whole(shapes, "tuple", "a shape"))))
        if self.fields is not None:
            for value in _whole(self.fields, "dict", "the element type's fields").kept[1::2]:
                inner, offset = (*_whole(value, "tuple", "a field").kept, None, None)[:2]
                found.append((inner, offset, 1))
        return found


def _state(state: object) -> _State:
    parts = _whole(state, "tuple", "the element type's state").kept
    if len(parts) not in {8, 9} or parts[0] not in {3, 4}:
        raise NotUnderstood("the element type's state is of no known version")
    base, _, fields, width, _, flags = parts[2:8]
    if type(width) is not int or type(flags) is not int:
        raise NotUnderstood("the element type's width or flags are no whole numbers")
    return _State(base, fields, width, flags)


def _named(dtype: Made) -> tuple[str, int]:
    """Letter and width, in bytes or 0, by which a type was made."""
    args = _whole(dtype.args, "tuple", "the element type's description")
    if args.kept and isinstance(args.kept[0], Global):
        return "V", 0  # numpy.void, numpy.record
    letter, digits = _letter(dtype)
    return letter, int(digits or 0) * (4 if letter == "U" else 1)


def _extent(dtype: object, depth: int, budget: Budget) -> tuple[int, bool]:
    """Bytes an element, and whether it holds objects; the state of a type within was checked when it was given."""
    budget.spend("opcodes")
    if not isinstance(dtype, Made) or dtype.maker not in DTYPES or depth < 0:
        raise NotUnderstood("a field's element type is not a numpy.dtype")
    letter, named = _named(dtype)
    if letter == "O":
        return _POINTER_BYTES, True
    if letter not in "SUV":
        width = named if letter in "biufcmM" and named else _FIXED.get(letter)
        if width is None:
            raise NotUnderstood(f"the width of element type {letter} depends on the machine")
        return width, False
    if dtype.state is None:
        return named, False
    said = _state(dtype.state)
    return said.width, any(_extent(inner, depth - 1, budget)[1] for inner, _, _ in said.parts)
