"""Strict settings: file < environment < flags; an unknown key, wrong type or bad range stops the start.

A settings tree is nested frozen dataclasses with defaults. Fields hold bool, int, float, str, tuples of str, a `SecretRef` or
none, or another settings dataclass; ranges are checked by the dataclass's own `__post_init__`.
"""

from __future__ import annotations

import dataclasses
import math
import tomllib
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from fastness.core.errors import FastnessError, Invalid
from fastness.core.secrets import SecretRef

T = TypeVar("T")
Scalar = bool | int | float | str
PREFIX = "FASTNESS_"


class InvalidSetting(Invalid):
    """A setting is unknown, of the wrong type or out of range; the message names its key."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__("setting-invalid", f"setting {key}: {problem}")


def load(root: type[T], file: Path | None, environment: Mapping[str, str], flags: Mapping[str, str]) -> T:
    """Read the settings once.

    Args:
        root: the dataclass of the whole tree.
        file: TOML; None, or a missing file, is an empty one.
        environment: only names that begin with FASTNESS_ count; `FASTNESS_GATEWAY__PORT` is `gateway.port`.
        flags: dotted keys to text, such as {"gateway.port": "8443"}.

    Raises:
        InvalidSetting: anything in it is not understood.
    """
    tree = _read(file) if file is not None else {}
    for name, value in environment.items():
        if name.startswith(PREFIX):
            _put(tree, name.removeprefix(PREFIX).lower().split("__"), value)
    for key, value in flags.items():
        _put(tree, key.split("."), value)
    return _build(root, tree, "")


def _read(file: Path) -> dict[str, object]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise InvalidSetting(file.name, f"cannot be read: {error.strerror}") from error
    except ValueError as error:  # not TOML, not UTF-8, or a number of thousands of digits
        raise InvalidSetting(file.name, f"not TOML: {error}") from error


def _put(tree: dict[str, object], path: list[str], value: str) -> None:
    for part in path[:-1]:
        below = tree.setdefault(part, {})
        if not isinstance(below, dict):
            raise InvalidSetting(".".join(path), "is a value and a table at once")
        tree = below
    tree[path[-1]] = value


def _build(kind: type[T], tree: Mapping[str, object], at: str) -> T:
    hints = typing.get_type_hints(kind)
    names = {f.name for f in dataclasses.fields(kind)}  # type: ignore[arg-type]  # T is a dataclass by contract
    values: dict[str, object] = {}
    for name, value in tree.items():
        key = f"{at}{name}"
        if name not in names:
            raise InvalidSetting(key, "no such setting")
        values[name] = _value(hints[name], value, key)
    try:
        return kind(**values)
    except FastnessError as error:
        if isinstance(error, InvalidSetting):
            raise
        raise InvalidSetting(at.rstrip("."), error.message) from error


def _value(hint: object, value: object, key: str) -> object:
    if hint in (SecretRef, SecretRef | None):
        return _reference(value, key)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, dict):
            raise InvalidSetting(key, "is a table")
        return _build(hint, value, f"{key}.")
    if typing.get_origin(hint) is tuple:
        return _texts(value, key)
    if hint not in (bool, int, float, str):
        raise TypeError(
            f"setting {key}: fields hold bool, int, float, str, tuple[str, ...], SecretRef or a dataclass, not {hint}"
        )
    return _scalar(hint, value, key)


def _reference(value: object, key: str) -> SecretRef:
    """A reference; what is none is not shown, for somebody may have written the secret itself."""
    try:
        return SecretRef.parse(value if isinstance(value, str) else "")
    except Invalid as error:
        raise InvalidSetting(key, f"{error.message}. {error.hint}") from None


def _texts(value: object, key: str) -> tuple[str, ...]:
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, list) or not all(isinstance(i, str) for i in items):
        raise InvalidSetting(key, "is a list of texts")
    return tuple(i.strip() for i in items if i.strip())


def _scalar(kind: type[Scalar], value: object, key: str) -> Scalar:
    """`value` as a `kind`; text is parsed, a whole number may stand for a fraction, nothing else is converted."""
    if (isinstance(value, str) and kind is not str) or (kind is float and type(value) is int):
        value = _parse(kind, str(value), key)
    if type(value) is not kind:
        raise InvalidSetting(key, f"is a {kind.__name__}, not a {type(value).__name__}")
    if isinstance(value, float) and math.isnan(value):  # no range check would ever refuse it
        raise InvalidSetting(key, "is a number, not nan")
    return value


def _parse(kind: type[Scalar], text: str, key: str) -> Scalar:
    if kind is bool:
        if text.lower() in ("true", "1", "yes", "on"):
            return True
        if text.lower() in ("false", "0", "no", "off"):
            return False
        raise InvalidSetting(key, "is true or false")
    try:
        return kind(text)
    except ValueError as error:
        raise InvalidSetting(key, f"is a {kind.__name__}, not {text[:80]!r}") from error
