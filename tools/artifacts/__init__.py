"""Honest model files, written by the libraries that users write them with.

Each module of this folder is a family. Its `samples()` yields one model after the other: its name, and its files by path. The libraries
are imported inside of it, so that a family can be left out where they are not installed. Models are tiny and differ in
structure (another class, nesting, element type, codec, protocol or way of saving), never in the seed alone.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from pathlib import Path

Sample = tuple[str, dict[str, bytes]]


def stream_of(save: Callable[..., object], *before: object, after: tuple[object, ...] = (), **named: object) -> bytes:
    """What `save(*before, stream, *after, **named)` writes to the stream."""
    out = io.BytesIO()
    save(*before, out, *after, **named)
    return out.getvalue()


def file_of(save: Callable[[str], object], name: str) -> bytes:
    """What `save(path)` writes to a file of this name."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        save(str(path))
        return path.read_bytes()


def folder_of(save: Callable[[str], object], name: str = "model") -> dict[str, bytes]:
    """What `save(path)` writes into a folder of this name, or beside it where it is a stem."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, name)
        root.mkdir()
        save(str(root))
        return {
            path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()
        }
