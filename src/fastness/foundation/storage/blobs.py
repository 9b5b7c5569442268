"""Blobs as files: `<folder>/<id[0:2]>/<id>`, mode 0600, made once and never changed.

A blob is written under a temporary name, synced, and linked to its own: a link to a taken name fails, so `put` never
replaces, and who reads never sees a half. What a crash leaves lies in `tmp/` until `sweep_temporary`.

What it misses: a file system without hard links. Cost: three syncs a blob (file, name, and the folder when it is new).
"""

from __future__ import annotations

import errno
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from fastness.core.clock import SECOND, Instant
from fastness.core.digests import BlobId, parse_blob_id
from fastness.core.errors import Conflict, NotFound, Unavailable
from fastness.core.sources import Buffer

_SHARD: Final = re.compile(r"[0-9a-f]{2}", re.ASCII)
_BLOB: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class FileBlobs:
    """The blobs under `folder`, which is made with mode 0700 if it is not there.

    Raises:
        Unavailable: it cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._temporary = folder / "tmp"
        with _translated():
            self._temporary.mkdir(mode=0o700, parents=True, exist_ok=True)

    def put(self, id: BlobId, chunks: Iterable[Buffer]) -> None:  # noqa: A002 - the word of the contract
        """Store the joined `chunks`; see `Blobs.put`. What `chunks` raises passes through, and nothing is stored."""
        path = self._path(id)
        if path.exists():
            raise _taken()
        with _translated():
            fd, temporary = tempfile.mkstemp(dir=self._temporary)
        try:
            for chunk in chunks:
                with _translated():
                    _write(fd, chunk)
            with _translated():
                os.fsync(fd)
                self._link(temporary, path)
        finally:
            os.close(fd)
            with suppress(OSError):  # swept later
                Path(temporary).unlink()

    def read_into(self, id: BlobId, offset: int, into: Buffer) -> int:  # noqa: A002
        """Fill `into` from `offset` on; fewer bytes only at the end."""
        wanted = memoryview(into).cast("B")
        done = 0
        with _translated():
            fd = os.open(self._path(id), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                while done < len(wanted) and (count := os.preadv(fd, [wanted[done:]], offset + done)):
                    done += count
            finally:
                os.close(fd)
        return done

    def size(self, id: BlobId) -> int:  # noqa: A002
        """Length in bytes."""
        with _translated():
            return self._path(id).lstat().st_size

    def delete(self, id: BlobId) -> None:  # noqa: A002
        """Remove the file."""
        path = self._path(id)
        with _translated():
            path.unlink()
            _sync_folder(path.parent)

    def ids(self, after: BlobId | None = None) -> Iterator[BlobId]:
        """The ids above `after`, in order."""
        start = after or ""
        for shard in _names(self._folder, _SHARD):
            if shard >= start[:2]:
                yield from (BlobId(name) for name in _names(self._folder / shard, _BLOB) if name > start)

    def sweep_temporary(self, older_than_s: float, now: Instant) -> int:
        """Remove what interrupted puts left, if it is older than `older_than_s`; how many files.

        Raises:
            Unavailable: the folder cannot be read or changed.
        """
        with _translated():
            return sum(_remove_older(path, now - int(older_than_s * SECOND)) for path in self._temporary.iterdir())

    def _path(self, id: BlobId) -> Path:  # noqa: A002
        name = parse_blob_id(id)
        return self._folder / name[:2] / name

    def _link(self, temporary: str, path: Path) -> None:
        try:
            path.parent.mkdir(mode=0o700)
        except FileExistsError:
            pass
        else:
            _sync_folder(self._folder)
        try:
            os.link(temporary, path)
        except FileExistsError as error:
            raise _taken() from error
        _sync_folder(path.parent)


def _write(fd: int, chunk: Buffer) -> None:
    view = memoryview(chunk).cast("B")
    while view:
        view = view[os.write(fd, view) :]


def _names(folder: Path, pattern: re.Pattern[str]) -> list[str]:
    with _translated():
        try:
            return sorted(path.name for path in folder.iterdir() if pattern.fullmatch(path.name))
        except FileNotFoundError:
            return []


def _remove_older(path: Path, than_ns: int) -> bool:
    try:
        if path.lstat().st_mtime_ns >= than_ns:
            return False
        path.unlink()
    except FileNotFoundError:  # of a put that ended just now
        return False
    return True


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _taken() -> Conflict:
    return Conflict("blob-exists", "a blob of this id is there already")


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise NotFound("blob-missing", "no such blob") from error
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise Unavailable("storage-full", "the disk of the blobs is full", "Free space; then try again.") from error
        raise Unavailable("storage-io", f"the blobs cannot be used: {os.strerror(error.errno or 0)}") from error
