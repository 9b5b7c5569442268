"""What comes from a worker, looked at as what it is: bytes of someone who may lie."""

from __future__ import annotations

import json

from fastness.core.errors import FastnessError, Invalid, Unavailable
from fastness.core.signature import Datatype, ModelSignature, TensorSpec
from fastness.models.runtime.frames import MOST_NAME, MOST_RANK, MOST_TENSORS, Problem, Tensors, datatype_of

_MOST_LENGTH = 1 << 31
_MOST_SHOWN = 200


class Untrue(Exception):
    """The worker said what cannot be true; nothing else that it said is believed."""


def signature_in(text: bytes) -> ModelSignature:
    """The signature in a worker's description of its model.

    Raises:
        Untrue: it is no description, or describes what cannot be.
    """
    try:
        found = json.loads(text)
        inputs, outputs = (tuple(_spec(item) for item in _items(found[side])) for side in ("inputs", "outputs"))
        return ModelSignature(inputs, outputs)
    except (ValueError, KeyError, TypeError, RecursionError, FastnessError) as error:
        raise Untrue("its description cannot be read") from error


def check_outputs(tensors: Tensors, signature: ModelSignature, rows: int) -> None:
    """See that an answer is of the shape that was agreed on.

    Args:
        rows: first axis of every output that has one of any length; 0 where the model takes no batches.

    Raises:
        Untrue: it has other names, types, axes or rows.
    """
    if len(tensors) != len(signature.outputs):
        raise Untrue("it gives other outputs")
    for spec in signature.outputs:
        array = tensors.get(spec.name)
        if array is None or datatype_of(array) != spec.datatype or array.ndim != len(spec.shape):
            raise Untrue(f"{spec.name}: another type or other axes")
        for axis, (length, wanted) in enumerate(zip(array.shape, spec.shape, strict=True)):
            expected = rows if axis == 0 and wanted == -1 and rows else wanted
            if expected not in {-1, length}:
                raise Untrue(f"{spec.name}: axis {axis} is {length}, not {expected}")


def takes_batches(signature: ModelSignature) -> bool:
    """Whether rows of several requests may be run together: every first axis is of any length."""
    return all(spec.shape[:1] == (-1,) for spec in (*signature.inputs, *signature.outputs))


def rows_of(tensors: Tensors) -> int:
    """The common length of the first axes; 0 where they differ or are missing."""
    lengths = {array.shape[0] if array.ndim else 0 for array in tensors.values()}
    return lengths.pop() if len(lengths) == 1 else 0


def refusal(problem: int, text: bytes) -> FastnessError:
    """The error for a worker's ERROR frame."""
    shown = plain(text)
    if problem == Problem.LATE:
        return Unavailable("worker-timeout", "the request was too old when the worker came to it", "Try again later.")
    if problem == Problem.UNLOADABLE:
        return Invalid("model-not-loadable", f"the model cannot be loaded: {shown}", "Export it again as plain ONNX.")
    if problem == Problem.UNLOCKED:
        return Unavailable(
            "sandbox-layer-missing", f"the worker could not lock itself in: {shown}", "See `fastness doctor`."
        )
    if problem == Problem.UNFIT:
        return Invalid(
            "input-unfit", f"the model does not take this input: {shown}", "Compare it with the model's signature."
        )
    return Invalid("model-failed", f"the model failed on this input: {shown}", "Change the input, or the model.")


def plain(text: bytes) -> str:
    """Printable ASCII of what a worker wrote, cut short."""
    decoded = text.decode("ascii", "replace").replace("\N{REPLACEMENT CHARACTER}", "?")
    return "".join(c if c.isprintable() else " " for c in decoded).strip()[:_MOST_SHOWN]


def _items(value: object) -> list[dict[str, object]]:
    if not isinstance(value, list) or not 1 <= len(value) <= MOST_TENSORS:
        raise TypeError
    return value


def _spec(item: dict[str, object]) -> TensorSpec:
    name, datatype, shape = item["name"], item["datatype"], item["shape"]
    if not isinstance(name, str) or not 1 <= len(name.encode()) <= MOST_NAME or not name.isprintable():
        raise ValueError
    if not isinstance(shape, list) or len(shape) > MOST_RANK:
        raise ValueError
    if any(type(length) is not int or not -1 <= length < _MOST_LENGTH for length in shape):
        raise ValueError
    return TensorSpec(name, Datatype(str(datatype)), tuple(shape))
