"""Journals: files to which a gateway worker appends its events, and from which the ledger's sequencer takes them.

A record is its length (32 bits), a CRC-32 of it that begins at the length (32 bits), both little-endian, and the
event's JSON. What `flush` handed to the kernel survives `kill -9`; what `durable` waited for survives a power cut. The
writer holds a lock on its segment, so that nobody removes one that is still written.

What it misses: the CRC finds accidents, not forgers: until it stands in the log a record is as trustworthy as the
process that wrote it. Between two calls of `durable` a power cut takes what was flushed; call it on a timer.
Cost: about 1 us to append, one `write` a flush.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from struct import Struct
from typing import Final, NamedTuple

from fastness.core.clock import Entropy, system_entropy
from fastness.core.errors import FastnessError, Invalid, Unavailable
from fastness.core.events import Event
from fastness.foundation.storage.contracts import LARGEST_ENTRY, entry_of

_HEADER: Final = Struct("<II")
_SEGMENT: Final = re.compile(r"(?P<worker>[a-z0-9-]{1,40})\.(?P<number>\d{8})\.[0-9a-f]{8}\.journal", re.ASCII)
_WORKER: Final = re.compile(r"[a-z0-9-]{1,40}", re.ASCII)
_NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_READ_BYTES: Final = 1 << 22


class FileJournal:
    """The journal of one worker; used from one thread, that of its event loop.

    A segment is a new file each time the journal is opened or has grown to `segment_bytes`.

    Args:
        folder: made with mode 0700 if it is not there.
        worker: a-z, 0-9 and dash; names the files.
        segment_bytes: size from which a new file is begun.
        buffer_bytes: what may wait to be written, above which `append` refuses.
        entropy: makes file names that were never used before.

    Raises:
        Unavailable: the first segment cannot be made.
        Invalid: the worker's name cannot be a file name.
    """

    def __init__(
        self,
        folder: Path,
        worker: str,
        *,
        segment_bytes: int = 8 << 20,
        buffer_bytes: int = 4 << 20,
        entropy: Entropy = system_entropy,
    ) -> None:
        if not _WORKER.fullmatch(worker):
            raise Invalid("journal-worker", f"{worker[:80]!r} does not name a worker", "Use 1 to 40 of a-z, 0-9, '-'.")
        self._folder = folder
        self._worker = worker
        self._segment_bytes = segment_bytes
        self._buffer_bytes = buffer_bytes
        self._entropy = entropy
        self._buffer = bytearray()
        self._full = False
        self._failed: FastnessError | None = None
        self._unsynced: list[int] = []  # earlier segments of which not all is on the disk
        self._new_name = True  # the folder's entry of a segment is not on the disk
        self._round: asyncio.Future[None] | None = None  # the sync that whoever comes now waits for
        self._running: asyncio.Future[None] | None = None
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._folder_fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise _unavailable(error) from error
        self._fd = self._open_segment()
        self._size = 0

    def append(self, event: Event) -> None:
        """Add `event`; it is kept once `flush` returned.

        Raises:
            Unavailable: the disk was full and still is, or too much waits to be written.
            Invalid: the event cannot be an entry of the log.
        """
        if self._failed is not None:
            raise self._refusal(self._failed)
        if self._full:
            self.flush()  # what waits is the probe
        data = entry_of(event)
        if len(self._buffer) + len(data) > self._buffer_bytes:
            raise Unavailable("journal-full", "too many events wait to be written", "Try again in a moment.")
        self._buffer += _HEADER.pack(len(data), zlib.crc32(data, len(data)))
        self._buffer += data

    def flush(self) -> None:
        """Hand everything appended to the kernel.

        Raises:
            Unavailable: not all of it could be written; the rest is kept, and written first when there is space again.
        """
        if self._failed is not None:
            raise self._refusal(self._failed)
        if not self._buffer:
            return
        try:
            if self._size >= self._segment_bytes:
                self._rotate()
            while self._buffer:
                written = os.write(self._fd, self._buffer)
                self._size += written
                if written == len(self._buffer):
                    self._buffer = bytearray()
                else:
                    del self._buffer[:written]
        except OSError as error:
            self._full = True
            raise _unavailable(error) from error
        self._full = False

    async def durable(self) -> None:
        """Flush, and return when all that was appended before is on the disk; one sync serves all who wait.

        Raises:
            Unavailable: the disk is full, or a sync failed: then nobody knows what is on the disk, and the journal
                refuses everything until it is opened anew.
        """
        self.flush()
        if self._round is None:
            self._round = asyncio.ensure_future(self._sync_after(self._running))
        await asyncio.shield(self._round)

    def close(self) -> None:
        """Flush, sync and close. Raises Unavailable; the files are closed even then."""
        try:
            self.flush()
            for fd in [*self._unsynced, self._fd, self._folder_fd]:
                os.fsync(fd)
        except OSError as error:
            raise _unavailable(error) from error
        finally:
            for fd in [*self._unsynced, self._fd, self._folder_fd]:
                os.close(fd)
            self._unsynced = []
            self._failed = Unavailable("journal-closed", "the journal is closed")

    async def _sync_after(self, earlier: asyncio.Future[None] | None) -> None:
        if earlier is not None:
            await asyncio.wait([earlier])
        # Whoever comes from here on may have appended too late for this sync and begins the next round.
        self._running, self._round = self._round, None
        self.flush()
        old, self._unsynced = self._unsynced, []
        folder = [self._folder_fd] if self._new_name else []
        self._new_name = False
        try:
            await asyncio.get_running_loop().run_in_executor(None, _sync, [*old, self._fd, *folder])
        except OSError as error:
            # The kernel may have dropped the pages that it could not write: a second sync would lie.
            self._failed = Unavailable("journal-sync", "the disk of the journal fails", "See the system's log.")
            raise self._refusal(self._failed) from error
        finally:
            for fd in old:
                os.close(fd)

    def _rotate(self) -> None:
        fd = self._open_segment()
        self._unsynced.append(self._fd)
        self._fd, self._size, self._new_name = fd, 0, True

    def _open_segment(self) -> int:
        numbers = [int(m["number"]) for m in _segments(self._folder) if m["worker"] == self._worker]
        name = f"{self._worker}.{max(numbers, default=0) + 1:08d}.{self._entropy(4).hex()}.journal"
        fresh = f"{name}.new"
        try:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            fd = os.open(fresh, flags, 0o600, dir_fd=self._folder_fd)
            # The lock comes before the name: else the sequencer could take the new file for a finished one, and
            # what is written to it afterwards would be gone with it.
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.rename(fresh, name, src_dir_fd=self._folder_fd, dst_dir_fd=self._folder_fd)
        except OSError as error:
            raise _unavailable(error) from error
        return fd

    @staticmethod
    def _refusal(error: FastnessError) -> FastnessError:
        return type(error)(error.code, error.message, error.hint)


class JournalRecord(NamedTuple):
    """One record, or a stretch of a file that is damaged although intact records follow it.

    Attributes:
        file: name of the segment in its folder.
        offset, next_offset: where it begins and where the next one does.
        data: the event's JSON, or the damaged bytes.
    """

    file: str
    next_offset: int
    data: bytes
    offset: int
    damaged: bool = False


def read_journal(folder: Path, offsets: Mapping[str, int]) -> Iterator[JournalRecord]:
    """The records of all segments from the given offsets on (0 where none is given), file by file.

    A torn tail, which no `flush` acknowledged or a power cut took, ends its file. Damage before intact records is
    handed out as such, and reading goes on behind it.

    Raises:
        Unavailable: a file cannot be read.
    """
    for match in _segments(folder):
        try:
            yield from _read_segment(folder, match[0], offsets.get(match[0], 0))
        except OSError as error:
            raise _unavailable(error) from error


def remove_finished(folder: Path, offsets: Mapping[str, int]) -> dict[str, int]:
    """Remove the segments that nobody writes any more and of which nothing is left to read from `offsets` on.

    Returns:
        Their names, each with the bytes of the torn tail that went with it, 0 in the ordinary case.

    Raises:
        Unavailable: a file cannot be removed.
    """
    removed = {}
    for match in _segments(folder):
        name = match[0]
        try:
            fd = os.open(folder / name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as error:
            raise _unavailable(error) from error
        try:
            # The lock comes first: a writer that lives appends no more between the look and the removal.
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if next(_read_segment(folder, name, offsets.get(name, 0)), None) is None:
                removed[name] = os.fstat(fd).st_size - offsets.get(name, 0)
                (folder / name).unlink()
        except BlockingIOError:
            continue
        except OSError as error:
            raise _unavailable(error) from error
        finally:
            os.close(fd)
    if removed:
        sync_folder(folder)  # a name that a power cut brings back, with its offset forgotten, would be numbered twice
    return removed


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` durable. Raises Unavailable."""
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as error:
        raise _unavailable(error) from error


def _segments(folder: Path) -> list[re.Match[str]]:
    try:
        names = sorted(path.name for path in folder.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _unavailable(error) from error
    return [match for name in names if (match := _SEGMENT.fullmatch(name))]


def _read_segment(folder: Path, name: str, offset: int) -> Iterator[JournalRecord]:
    fd = os.open(folder / name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        while True:
            data = os.pread(fd, _READ_BYTES, offset)
            end = offset
            for record in _parse(name, data, offset, last=len(data) < _READ_BYTES):
                yield record
                end = record.next_offset
            if end == offset:
                return
            offset = end
    finally:
        os.close(fd)


def _parse(name: str, data: bytes, base: int, *, last: bool) -> Iterator[JournalRecord]:
    place = 0
    while (end := _record_end(data, place)) != place:
        if end < 0:
            if not last and len(data) - place <= LARGEST_ENTRY + _HEADER.size:
                return  # perhaps only cut by our own reading; from here it is read again
            behind = _next_record(data, place + 1)
            if behind < 0:
                return
            yield JournalRecord(name, base + behind, data[place:behind], base + place, damaged=True)
            place = behind
            continue
        yield JournalRecord(name, base + end, data[place + _HEADER.size : end], base + place)
        place = end


def _record_end(data: bytes, place: int) -> int:
    """Where the intact record at `place` ends; `place` at the end of the data, -1 where there is no intact record."""
    if place == len(data):
        return place
    if len(data) - place < _HEADER.size:
        return -1
    length, crc = _HEADER.unpack_from(data, place)
    end = place + _HEADER.size + length
    if not 0 < length <= LARGEST_ENTRY or end > len(data):
        return -1
    return end if zlib.crc32(memoryview(data)[place + _HEADER.size : end], length) == crc else -1


def _next_record(data: bytes, place: int) -> int:
    """Where the next intact record begins, or -1. A header holds zero bytes, which no JSON does: no event fakes one."""
    while (brace := data.find(b"{", place + _HEADER.size)) >= 0:
        place = brace - _HEADER.size
        if _record_end(data, place) > place:
            return place
        place += 1
    return -1


def _sync(fds: list[int]) -> None:
    for fd in fds:
        os.fdatasync(fd)


def _unavailable(error: OSError) -> Unavailable:
    if error.errno in _NO_SPACE:
        return Unavailable("journal-full", "the disk of the journal is full", "Free space on it; then try again.")
    return Unavailable("journal-failed", f"the journal cannot be used: {os.strerror(error.errno or 0)}")
