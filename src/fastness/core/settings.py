"""Strict settings: file < environment < flags; an unknown key, wrong type or bad range stops the start.

A settings tree is nested frozen dataclasses with defaults. Fields hold bool, int, float, str, tuples of str, or another
settings dataclass; ranges are checked by the dataclass's own `__post_init__`.
"""

from __future__ import annotations

import dataclasses
import tomllib
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from fastness.core.errors import FastnessError, Invalid

T = TypeVar("T")
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
    tree: dict[str, Any] = {}
    if file is not None and file.exists():
        try:
            tree = tomllib.loads(file.read_text("utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InvalidSetting(str(file.name), f"not TOML: {error}") from error
    for name, value in environment.items():
        if name.startswith(PREFIX):
            _put(tree, name.removeprefix(PREFIX).lower().split("__"), value)
    for key, value in flags.items():
        _put(tree, key.split("."), value)
    return _build(root, tree, "")


def _put(tree: dict[str, Any], path: list[str], value: str) -> None:
    for part in path[:-1]:
        tree = tree.setdefault(part, {})
        if not isinstance(tree, dict):
            raise InvalidSetting(".".join(path), "is a value and a table at once")
    tree[path[-1]] = value


def _build(kind: type[T], tree: Mapping[str, Any], at: str) -> T:
    hints = typing.get_type_hints(kind)
    names = {f.name for f in dataclasses.fields(kind)}  # type: ignore[arg-type]  # T is a dataclass by contract
    values: dict[str, Any] = {}
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


def _value(hint: Any, value: Any, key: str) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, dict):
            raise InvalidSetting(key, "is a table")
        return _build(hint, value, f"{key}.")
    if typing.get_origin(hint) is tuple:
        items = value.split(",") if isinstance(value, str) else value
        if not isinstance(items, list) or not all(isinstance(i, str) for i in items):
            raise InvalidSetting(key, "is a list of texts")
        return tuple(i.strip() for i in items if i.strip())
    if isinstance(value, str) and hint is not str:
        value = _parse(hint, value, key)
    if hint is float and type(value) is int:
        value = float(value)
    if type(value) is not hint:
        raise InvalidSetting(key, f"is a {hint.__name__}, not a {type(value).__name__}")
    return value


def _parse(hint: Any, text: str, key: str) -> Any:
    if hint is bool:
        if text.lower() in ("true", "1", "yes", "on"):
            return True
        if text.lower() in ("false", "0", "no", "off"):
            return False
        raise InvalidSetting(key, "is true or false")
    try:
        return hint(text)
    except ValueError as error:
        raise InvalidSetting(key, f"is a {hint.__name__}, not {text!r}") from error
