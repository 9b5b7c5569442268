"""A sealed file cannot be changed by anybody, and what goes wrong while it is filled leaves nothing behind."""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fastness.core.errors import Invalid
from fastness.foundation.sandbox import SealedFile
from tests.unit.foundation.sandbox.grounds import sealed


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_it_holds_what_it_was_filled_with() -> None:
    with sealed(b"hello") as file:
        assert (os.pread(file.fileno(), 100, 0), file.size) == (b"hello", 5)


@pytest.mark.parametrize(
    "change",
    [
        lambda fd: os.pwrite(fd, b"x", 0),
        lambda fd: os.truncate(fd, 1),
        lambda fd: os.truncate(fd, 100),
        lambda fd: mmap.mmap(fd, 5),
        lambda fd: fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE),
        lambda fd: os.pwrite(os.open(f"/proc/self/fd/{fd}", os.O_RDWR), b"x", 0),
    ],
    ids=["write", "shorten", "lengthen", "map", "seal", "reopen"],
)
def test_nobody_changes_it(change: Callable[[int], object]) -> None:
    with sealed(b"hello") as file:
        with pytest.raises(PermissionError):
            change(file.fileno())
        assert os.pread(file.fileno(), 100, 0) == b"hello"


def test_a_failure_to_fill_leaves_nothing_open() -> None:
    before = open_files()
    with pytest.raises(ZeroDivisionError):
        SealedFile.filled("x", 5, lambda _: 1 / 0)
    assert open_files() == before


def test_nothing_is_no_file() -> None:
    with pytest.raises(Invalid, match="file-empty"):
        SealedFile.filled("x", 0, lambda _: None)


@pytest.mark.parametrize("name", ["", "a/b", "nul\0l", "\udcff", "x" * 1000, "gr\u00fc\u00df"])
def test_any_name_will_do(name: str) -> None:
    with SealedFile.filled(name, 1, lambda _: None) as file:
        assert file.name == name


def test_closing_twice_closes_once() -> None:
    file = sealed(b"x")
    file.close()
    file.close()
