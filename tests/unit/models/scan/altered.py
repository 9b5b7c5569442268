"""Honest objects, written by their libraries' own picklers with another state than they have."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from typing import Any

import joblib
from joblib.numpy_pickle import NumpyPickler

Change = Callable[[Any], Any]
WRITERS = ("pickle2", "pickle4", "pickle5", "joblib")


class _Altering:
    """Gives the state of every object of a kind to `change` first."""

    kind: type
    change: Change

    def reducer_override(self, value: object) -> Any:
        if type(value) is not self.kind:
            return NotImplemented
        parts = list(value.__reduce_ex__(4))
        parts[2] = self.change(parts[2])
        return tuple(parts)


class _Pickler(_Altering, pickle.Pickler):
    """Python's own."""


class _NumpyPickler(_Altering, NumpyPickler):  # type: ignore[misc]  # joblib has no types
    """joblib's own."""


def written(value: object, kind: type, change: Change, writer: str = "pickle4") -> bytes:
    """`value` as `writer` writes it, every state of a `kind` within it changed; `change` may alter what it is given."""
    target = io.BytesIO()
    pickler: Any = _NumpyPickler(target) if writer == "joblib" else _Pickler(target, int(writer.removeprefix("pickle")))
    pickler.kind, pickler.change = kind, change
    pickler.dump(value)
    return target.getvalue()


def honest(value: object, writer: str) -> bytes:
    """`value` as `writer` writes it."""
    target = io.BytesIO()
    if writer == "joblib":
        joblib.dump(value, target)
    else:
        pickle.dump(value, target, int(writer.removeprefix("pickle")))
    return target.getvalue()


def field(array: str, name: str, at: int, value: float) -> Change:
    """Sets a field of one element of a structured array of the state."""

    def change(state: Any) -> Any:
        given = {**state, array: state[array].copy()}
        given[array][name][at] = value
        return given

    return change


def item(key: Any, at: Any, value: float) -> Change:
    """Sets one element of an array of the state, which may be a tuple."""

    def change(state: Any) -> Any:
        given: Any = list(state) if isinstance(state, tuple) else dict(state)
        given[key] = given[key].copy()
        given[key][at] = value
        return tuple(given) if isinstance(state, tuple) else given

    return change


def put(key: Any, value: object) -> Change:
    """Sets one attribute, or one place of a tuple; a function is given what stood there."""

    def change(state: Any) -> Any:
        given: Any = list(state) if isinstance(state, tuple) else dict(state)
        old = given[key] if isinstance(given, list) else given.get(key)
        given[key] = value(old) if callable(value) else value
        return tuple(given) if isinstance(state, tuple) else given

    return change
