"""Where a key ring keeps its sealed files: a folder, or memory."""

from __future__ import annotations

import fcntl
import os
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from fastness.core.clock import Entropy
from fastness.core.errors import Conflict, Corrupt, NotFound, Unavailable

_LARGEST = 1 << 20
_SEALED = ".sealed"


class Shelf(Protocol):
    """Small named files, replaced as a whole."""

    def names(self) -> list[str]:
        """The names of all entries, sorted."""
        ...

    def read(self, name: str) -> bytes:
        """The content of an entry.

        Raises:
            NotFound: there is none of that name.
        """
        ...

    def write(self, name: str, data: bytes) -> None:
        """Create or replace an entry, all of it or nothing, durable on return; an old content is overwritten."""
        ...

    def changing(self) -> AbstractContextManager[None]:
        """A context in which no other thread or process changes an entry."""
        ...


class FolderShelf:
    """Files NAME.sealed of mode 0600 in a folder of mode 0700.

    Overwriting what is replaced is a best effort: SSDs, copy-on-write file systems and backups keep older copies.
    """

    ROOT = "root.json"

    def __init__(self, folder: Path, entropy: Entropy) -> None:
        self._folder = folder
        self._entropy = entropy
        self._lock = threading.Lock()

    @classmethod
    def create(cls, folder: Path, entropy: Entropy, root: bytes, entries: Mapping[str, bytes]) -> FolderShelf:
        """A new folder with these entries; it appears with all of them or not at all.

        Raises:
            Conflict: the folder exists and is not empty.
            Unavailable: it cannot be written.
        """
        cls.refuse_existing(folder)
        building = folder.with_name(f".{folder.name}.{entropy(8).hex()}")
        try:
            folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            building.mkdir(mode=0o700)
            _write_new(building / cls.ROOT, root)
            for name, data in entries.items():
                _write_new(building / f"{name}{_SEALED}", data)
            _sync_folder(building)
            building.rename(folder)
            _sync_folder(folder.parent)
        except OSError as error:
            shutil.rmtree(building, ignore_errors=True)
            cls.refuse_existing(folder)
            raise Unavailable("keyring-unwritable", f"the key ring cannot be written: {error.strerror}") from error
        return cls(folder, entropy)

    @classmethod
    def refuse_existing(cls, folder: Path) -> None:
        """Return if `folder` is free.

        Raises:
            Conflict: it exists and is not empty, or is no folder.
        """
        if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
            raise Conflict("keyring-exists", "there is a key ring or something else already", "Choose an empty folder.")

    def root(self) -> bytes:
        """The content of root.json.

        Raises:
            NotFound: there is no key ring in the folder.
        """
        return self._read(self._folder / self.ROOT)

    def names(self) -> list[str]:
        """The names of all entries, sorted."""
        return sorted(p.name.removesuffix(_SEALED) for p in self._folder.glob(f"[!.]*{_SEALED}"))

    def read(self, name: str) -> bytes:
        """The content of an entry."""
        return self._read(self._folder / f"{name}{_SEALED}")

    def write(self, name: str, data: bytes) -> None:
        """Create or replace an entry; the old content is overwritten after the new one is durable.

        Raises:
            Unavailable: the folder cannot be written.
        """
        path = self._folder / f"{name}{_SEALED}"
        building = self._folder / f".{name}.{self._entropy(8).hex()}"
        try:
            old = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW) if path.exists() else None
            _write_new(building, data)
            building.rename(path)
            _sync_folder(self._folder)
            if old is not None:
                _overwrite(old)
        except OSError as error:
            building.unlink(missing_ok=True)
            raise Unavailable("keyring-unwritable", f"the key ring cannot be written: {error.strerror}") from error

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Hold the folder's lock, against threads and other processes."""
        with self._lock:
            fd = os.open(self._folder, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)
                yield
            finally:
                os.close(fd)

    @staticmethod
    def _read(path: Path) -> bytes:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                data = os.read(fd, _LARGEST + 1)
            finally:
                os.close(fd)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NotFound(
                "keyring-missing", f"{path.name} of the key ring is missing", "Run fastness init."
            ) from error
        except OSError as error:
            raise Unavailable("keyring-unreadable", f"{path.name} of the key ring cannot be read") from error
        if len(data) > _LARGEST:
            raise Corrupt("keyring-corrupt", f"{path.name} of the key ring is too long")
        return data


class MemoryShelf:
    """Entries in a dictionary; for tests and rings that live no longer than their process."""

    def __init__(self) -> None:
        self._entries: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def names(self) -> list[str]:
        """The names of all entries, sorted."""
        return sorted(self._entries)

    def read(self, name: str) -> bytes:
        """The content of an entry."""
        if name not in self._entries:
            raise NotFound("keyring-missing", f"{name} of the key ring is missing")
        return self._entries[name]

    def write(self, name: str, data: bytes) -> None:
        """Create or replace an entry."""
        self._entries[name] = data

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Hold the lock, against threads."""
        with self._lock:
            yield


def _write_new(path: Path, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(fd)


def _overwrite(fd: int) -> None:
    """Zero the file behind `fd`, which no name points at any more, and close it."""
    try:
        os.pwrite(fd, bytes(os.fstat(fd).st_size), 0)
        os.fsync(fd)
    finally:
        os.close(fd)


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
