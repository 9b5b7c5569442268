"""The guest that converts one model: it imports what it will need, locks itself in, and only then looks at the bytes.

It answers one frame, JSON that says what is wanted, with one frame: JSON that says what was done, a zero byte, and the
converted model.
"""

from __future__ import annotations

import json
import os
import pkgutil
import socket
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module

import numpy as np

from fastness.foundation.sandbox import Channel, ChannelError, Guest, LockError
from fastness.models.convert.restore import Names, Tensor, Unrestorable, restore, tensors_of

_READ_AT_ONCE = 1 << 26
_GENERATED_ROWS = 256
# What a method gives, and what skl2onnx calls that output, by what it means.
_OUTPUTS: dict[str, tuple[str, ...]] = {
    "predict": ("label", "output_label", "variable"),
    "predict_proba": ("probabilities", "output_probability"),
    "decision_function": ("scores", "probabilities", "output_probability"),
    "transform": ("variable", "transformed_column"),
}
_NEEDED = ("predict", "predict_proba")
_SKIPPED = ("tests", "conftest", "__main__", "_build_utils", "datasets")


@dataclass(frozen=True)
class Wanted:
    """What is asked for.

    Attributes:
        target: onnx, skops or safetensors.
        rows: inputs to compare the predictions on, None to generate some.
    """

    target: str
    allowed: Names
    rows: list[list[float]] | None


def main(guest: Guest) -> None:
    """Convert once; returns when the answer is sent."""
    warnings.simplefilter("ignore")
    channel = Channel(socket.socket(fileno=guest.control), guest.frame_bytes)
    (file,) = guest.files.values()
    try:
        wanted = _wanted(channel.receive())
        _prepare(wanted)
        guest.lock_down()
        answer = _converted(_whole(file), wanted)
    except ChannelError:
        return
    except LockError as error:
        answer = _problem("sandbox-layer-missing", str(error))
    except Unrestorable as error:
        answer = _problem("convert-unknown", str(error))
    except Exception as error:  # the libraries' own; the parent says that it could not be done
        answer = _problem("convert-failed", f"{type(error).__name__}: {error}")
    channel.send(answer)


def _wanted(frame: bytearray) -> Wanted:
    given = json.loads(frame)
    return Wanted(given["target"], frozenset((module, name) for module, name in given["allowed"]), given["rows"])


def _problem(code: str, text: str) -> bytes:
    return json.dumps({"problem": code, "text": " ".join(text.split())[:600]}).encode() + b"\0"


def _whole(file: int) -> bytes:
    pieces = []
    at = 0
    while piece := os.pread(file, _READ_AT_ONCE, at):
        pieces.append(piece)
        at += len(piece)
    return b"".join(pieces)


def _prepare(wanted: Wanted) -> None:
    """Import all that the names which the file may look up need, and run the conversion once: no file can be opened afterwards."""
    if wanted.target == "safetensors":
        import_module("joblib.numpy_pickle")
        import_module("safetensors").serialize({})
        return
    for module in sorted({module for module, _ in wanted.allowed} | set(_modules_of("sklearn"))):
        _import(module)
    from sklearn.linear_model import LogisticRegression

    with suppress(
        ImportError, AttributeError
    ):  # asks once which libraries are loaded, by a file; what clusters needs it
        import_module("sklearn.utils.parallel")._get_threadpool_controller()  # noqa: SLF001 - it has no other name
    own = LogisticRegression().fit(np.array([[0.0], [1.0]]), [0, 1])
    rows = np.zeros((2, 1), np.float32)
    if wanted.target == "onnx":
        _predicted_onnx(_onnx(own, rows), rows)
    else:
        _restored_skops(_skops(own))


def _modules_of(package: str) -> Iterator[str]:
    for info in pkgutil.walk_packages(import_module(package).__path__, f"{package}.", onerror=lambda _: None):
        if not any(part in _SKIPPED or part.startswith("test") for part in info.name.split(".")):
            yield info.name


def _import(module: str) -> None:
    """A module, as far as it can be imported here."""
    with suppress(Exception):  # one for another system, or of a library that is not installed
        import_module(module)


def _converted(data: bytes, wanted: Wanted) -> bytes:
    model = restore(data, wanted.allowed)
    if wanted.target == "safetensors":
        return _as_safetensors(model)
    if not hasattr(model, "predict") and not hasattr(model, "transform"):
        raise Unrestorable(f"a {type(model).__name__} is no estimator: it neither predicts nor transforms")
    _sequential(model)
    rows = _rows(model, wanted.rows)
    made = _onnx(model, rows) if wanted.target == "onnx" else _skops(model)
    before = _predicted(model, rows)
    after = _predicted_onnx(made, rows) if wanted.target == "onnx" else _predicted(_restored_skops(made), rows)
    compared, beside = _matched(before, after)
    said = {
        "estimator": f"{type(model).__module__}.{type(model).__qualname__}",
        "rows": len(rows),
        "generated": wanted.rows is None,
        "compared": compared,
        "left_out": beside,
    }
    return json.dumps(said).encode() + b"\0" + made


def _as_safetensors(model: object) -> bytes:
    from safetensors import TensorSpec, deserialize, serialize

    tensors, others = tensors_of(model)
    if not tensors:
        raise Unrestorable(f"a {type(model).__name__} holds no tensors by name")
    buffers = {
        name: np.frombuffer(tensor.data, np.uint8) for name, tensor in tensors.items()
    }  # kept while it serializes
    specs = {
        name: TensorSpec(
            dtype=_long(tensors[name]),
            shape=list(tensors[name].shape),
            data_ptr=buffer.ctypes.data,
            data_len=buffer.nbytes,
        )
        for name, buffer in buffers.items()
    }
    made = bytes(serialize(specs))
    found: list[tuple[str, dict[str, bytes]]] = deserialize(made)  # type: ignore[no-untyped-call]
    same = sum(_same(one, tensors.get(name)) for name, one in found)
    compared = {"output": "tensors", "equal": same, "count": len(tensors), "largest_difference": 0.0}
    said = {
        "estimator": "tensors",
        "rows": len(tensors),
        "generated": False,
        "compared": [compared],
        "left_out": others[:50],
    }
    return json.dumps(said).encode() + b"\0" + made


def _same(one: Mapping[str, object], tensor: Tensor | None) -> bool:
    """Whether a tensor that was read back is the one that was written."""
    return tensor is not None and (one["dtype"], tuple(one["shape"]), bytes(one["data"])) == (  # type: ignore[arg-type, call-overload]  # as safetensors gives them
        tensor.dtype, tensor.shape, tensor.data,
    )  # fmt: skip


def _long(tensor: Tensor) -> str:
    """Python's names for the types of safetensors."""
    letter, bits = tensor.dtype.rstrip("0123456789"), tensor.dtype.lstrip("BFIUOL")
    return {"F": "float", "I": "int", "U": "uint", "BF": "bfloat", "BOOL": "bool"}[letter] + bits


def _sequential(model: object) -> None:
    """No threads can be made here."""
    params: dict[str, object] = getattr(model, "get_params", dict)()
    names = [name for name in params if name == "n_jobs" or name.endswith("__n_jobs")]
    if names:
        model.set_params(**dict.fromkeys(names))  # type: ignore[attr-defined]  # what has get_params has it too


def _rows(model: object, given: list[list[float]] | None) -> np.ndarray:
    """Inputs to compare on: float32, as ONNX takes them."""
    if given is not None:
        return np.array(given, np.float32)
    width = int(getattr(model, "n_features_in_", 0))
    if not width:
        raise Unrestorable("the estimator does not say how many features it takes: give --rows")
    random = np.random.default_rng(0)
    normal = random.normal(size=(_GENERATED_ROWS // 2, width))
    wide = random.uniform(0, 16, size=(_GENERATED_ROWS - len(normal), width)).round()
    return np.concatenate([normal, wide]).astype(np.float32)


def _predicted(model: object, rows: np.ndarray) -> dict[str, np.ndarray]:
    """What each method says of the rows, as 64-bit numbers; one for each output where a method has several."""
    named: dict[str, np.ndarray] = {}
    wide = rows.astype(np.float64)
    for name in _OUTPUTS:
        with suppress(
            *(() if name in _NEEDED else (Exception,))
        ):  # what is only compared beside may need more than rows
            found = getattr(model, name)(wide) if hasattr(model, name) else []
            if isinstance(found, list):
                named |= {f"{name}_{number}": np.asarray(one) for number, one in enumerate(found)}
            else:
                named[name] = np.asarray(found.todense() if hasattr(found, "todense") else found)
    return named


def _matched(
    before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray]
) -> tuple[list[dict[str, object]], list[str]]:
    """The comparisons of what means the same, and the outputs of the new model that mean nothing that was compared.

    Raises:
        Unrestorable: what the model is there for has no counterpart.
    """
    compared: list[dict[str, object]] = []
    beside = dict.fromkeys(after)
    needed = [name for name in _NEEDED if name in before] or ["transform"]
    for name, one in before.items():
        other = next((two for two in (name, *_OUTPUTS.get(name, ())) if two in beside), "")
        if not other:
            if name in needed:
                raise Unrestorable(f"the converted model has no output that is its {name}")
            continue
        found = _compared(name, one, after[other])
        if name in needed or found["equal"] == found["count"]:
            compared.append(found)
            del beside[other]
    return compared, [f"{name} (an output that was not compared)" for name in beside]


def _onnx(model: object, rows: np.ndarray) -> bytes:
    from skl2onnx import to_onnx

    try:
        made = to_onnx(model, rows[:1], options={id(model): {"zipmap": False}})
    except NameError:  # its converter has no such option: only those of classifiers make maps
        made = to_onnx(model, rows[:1])
    return bytes(made.SerializeToString())


def _predicted_onnx(made: bytes, rows: np.ndarray) -> dict[str, np.ndarray]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(made, options, providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_outputs()]
    said = session.run(None, {session.get_inputs()[0].name: rows})
    plain = (one if isinstance(one, np.ndarray) else np.empty(0) for one in said)  # what is a list is not compared
    return dict(zip(names, plain, strict=True))


def _skops(model: object) -> bytes:
    from skops.io import dumps

    return bytes(dumps(model))


def _restored_skops(made: bytes) -> object:
    from skops.io import get_untrusted_types, loads

    return loads(made, trusted=get_untrusted_types(data=made))  # our own bytes, made a moment ago from reviewed types


def _compared(name: str, one: np.ndarray, two: np.ndarray) -> dict[str, object]:
    """How far two predictions for the same rows agree: equal rows, and the largest difference relative to the size."""
    count = len(one)
    if not count or len(two) != count or one.size != two.size:  # no broadcasting: one column is not the same as three
        return {"output": name, "equal": 0, "count": max(count, 1), "largest_difference": 1e300}
    one, two = one.reshape(count, -1), two.reshape(count, -1)
    if one.dtype.kind in "OUS" or two.dtype.kind in "OUS":
        equal = (one.astype(str) == two.astype(str)).all(axis=1)
        return {"output": name, "equal": int(equal.sum()), "count": len(one), "largest_difference": 0.0}
    whole = one.dtype.kind in "iub"
    one, two = one.astype(float), two.astype(float)
    alike = (one == two) | (np.isnan(one) & np.isnan(two))
    with np.errstate(all="ignore"):  # infinities
        gap = np.where(alike, 0.0, np.abs(one - two) / np.maximum(1.0, np.abs(one)))
    equal = (gap == 0).all(axis=1) if whole else (gap <= 1e-4).all(axis=1)
    largest = 0.0 if whole else float(np.nan_to_num(gap, nan=np.inf).max(initial=0.0))
    return {"output": name, "equal": int(equal.sum()), "count": len(one), "largest_difference": min(largest, 1e300)}
