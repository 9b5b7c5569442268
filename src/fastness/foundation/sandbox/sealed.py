"""Bytes handed to a guest: an anonymous file that nobody, not even its maker, can change any more."""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Callable
from typing import Self

from fastness.core.errors import Invalid, Unavailable

_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
_MFD_NOEXEC_SEAL = 0x8


class SealedFile:
    """A file in memory with all seals set. The guest gets a descriptor of it, never a path.

    It belongs to whoever made it, who closes it; a sandbox only passes it on.
    """

    def __init__(self, name: str, size: int, fd: int) -> None:
        self.name = name
        self.size = size
        self._fd = fd

    @classmethod
    def filled(cls, name: str, size: int, fill: Callable[[memoryview], object]) -> Self:
        """A sealed file of `size` bytes, written by `fill`, which must keep no view of them.

        Raises:
            Invalid: `size` is below 1.
            Unavailable: there is not enough memory.
        """
        if size < 1:
            raise Invalid("file-empty", f"{name} is empty", "Give a file that holds something.")
        try:
            fd = _memfd(name)
        except OSError as error:
            raise Unavailable("memory-short", f"no room for {name}: {error.strerror}") from error
        try:
            os.truncate(fd, size)
            memory = mmap.mmap(fd, size)
            view = memoryview(memory)
            fill(view)  # what it raises may hold slices of the view: the mapping then goes away with them
            view.release()
            memory.close()
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
        except OSError as error:
            os.close(fd)
            raise Unavailable("memory-short", f"no room for {name}: {error.strerror}") from error
        except BaseException:
            os.close(fd)
            raise
        return cls(name, size, fd)

    def fileno(self) -> int:
        """The descriptor; stays this object's own."""
        return self._fd

    def close(self) -> None:
        """Give the memory back once no guest holds it either."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _memfd(name: str) -> int:
    label = name.encode("utf-8", "replace").replace(b"\0", b"")[:200].decode("utf-8", "replace")
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        return os.memfd_create(label, flags | _MFD_NOEXEC_SEAL)  # cannot be made executable, from Linux 6.3 on
    except OSError:
        return os.memfd_create(label, flags)
