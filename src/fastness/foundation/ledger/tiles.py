"""The files of the log: tiles of hashes, bundles of entries, read with care and written so that a power cut shows.

Source: C2SP tlog-tiles: `tile/<level>/<number>[.p/<width>]`, `tile/entries/<number>[.p/<width>]`; an entry in a bundle
is its length in 16 bits, big-endian, and its bytes.
"""

from __future__ import annotations

import errno
import os
import re
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from fastness.core.errors import Corrupt, FastnessError, Unavailable
from fastness.foundation.ledger.merkle import EMPTY_ROOT, HASH_BYTES, HEIGHT, WIDTH, Tree, complete_root, range_hash

ENTRIES: Final = "entries"
_NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_LARGEST_FILE: Final = WIDTH * (2 + 65_535)
_PARTIAL: Final = re.compile(r"[1-9][0-9]{0,2}", re.ASCII)


def tile_path(level: int | str, number: int, width: int = WIDTH) -> str:
    """The name of a tile or, with level `ENTRIES`, of a bundle: 1234067 is x001/x234/067."""
    text, rest = f"{number % 1000:03d}", number // 1000
    while rest:
        text, rest = f"x{rest % 1000:03d}/{text}", rest // 1000
    return f"tile/{level}/{text}" + (f".p/{width}" if width < WIDTH else "")


def tile_width(size: int, level: int, number: int) -> int:
    """How many hashes tile `number` of `level` has in a log of `size` entries; 0 where it has none."""
    return max(0, min(WIDTH, (size >> HEIGHT * level) - number * WIDTH))


def pack_bundle(entries: Sequence[bytes]) -> bytes:
    """Entries as the bytes of a bundle."""
    return b"".join([len(entry).to_bytes(2, "big") + entry for entry in entries])


def unpack_bundle(data: bytes, count: int, name: str) -> list[bytes]:
    """The `count` entries of a bundle.

    Raises:
        Corrupt: it holds more or fewer, or ends in the middle of one; `name` is told.
    """
    entries = []
    place = 0
    while place < len(data):
        end = place + 2 + int.from_bytes(data[place : place + 2], "big")
        if end > len(data) or place + 2 > len(data):
            break
        entries.append(data[place + 2 : end])
        place = end
    if place != len(data) or len(entries) != count:
        raise corrupt(name, f"is not a bundle of {count} entries; it goes wrong at byte {place}, entry {len(entries)}")
    return entries


class TrustedTiles:
    """The tiles under a folder as far as a checkpoint vouches for them.

    The unfinished tiles must give the checkpoint's root; a full one must give the hash that stands in its parent. So
    whoever changes a tile, or a row and its leaf together, is found when the tile is read.

    Args:
        size, root: of the checkpoint.
        kept: full tiles that were checked and need not be read again; at most `KEPT` of them.

    Raises:
        Corrupt: the unfinished tiles do not give the root; the message names them.

    Cost: about 0.2 ms for a tile not yet checked; a proof in a log of 10^6 entries needs up to 6.
    """

    KEPT: Final = 1024

    def __init__(
        self, folder: Path, size: int, root: bytes, kept: OrderedDict[tuple[int, int], bytes] | None = None
    ) -> None:
        self._folder = folder
        self._kept: OrderedDict[tuple[int, int], bytes] = OrderedDict() if kept is None else kept
        self.size = size
        self.edge: list[list[bytes]] = []
        names = []
        level = 0
        while size >> HEIGHT * level:
            number, width = divmod(size >> HEIGHT * level, WIDTH)
            tile = read_tile(folder, level, number, width) if width else b""
            names += [tile_path(level, number, width)] if width else []
            self.edge.append(split_hashes(tile))
            level += 1
        if Tree(size, self.edge).root() != root:
            raise corrupt(", ".join(names) or "the log", f"does not give the signed root of {size} entries")

    def leaf(self, index: int) -> bytes:
        """The hash of an entry."""
        return self.node(0, index)

    def node(self, level: int, index: int) -> bytes:
        """The hash of a complete subtree; see `NodeReader`. Raises Corrupt or Unavailable."""
        tile_level, rest = divmod(level, HEIGHT)
        number, first = divmod(index << rest, WIDTH)
        hashes = split_hashes(self._tile(tile_level, number)[first * HASH_BYTES : (first + (1 << rest)) * HASH_BYTES])
        return complete_root(hashes)

    def root_at(self, size: int) -> bytes:
        """The root that the log had when it was `size` entries long."""
        return range_hash(self.node, 0, size) if size else EMPTY_ROOT

    def _tile(self, level: int, number: int) -> bytes:
        if number == self.size >> HEIGHT * (level + 1):
            return b"".join(self.edge[level])
        known = self._kept.get((level, number))
        if known is not None:
            self._kept.move_to_end((level, number))
            return known
        tile = read_tile(self._folder, level, number, WIDTH)
        parent, place = divmod(number, WIDTH)
        expected = self._tile(level + 1, parent)[place * HASH_BYTES : (place + 1) * HASH_BYTES]
        if complete_root(split_hashes(tile)) != expected:
            raise corrupt(tile_path(level, number), "does not give the hash in its parent")
        self._kept[level, number] = tile
        while len(self._kept) > self.KEPT:
            self._kept.popitem(last=False)
        return tile


def split_hashes(tile: bytes) -> list[bytes]:
    """The hashes that a tile joins."""
    return [tile[place : place + HASH_BYTES] for place in range(0, len(tile), HASH_BYTES)]


def read_tile(folder: Path, level: int, number: int, width: int) -> bytes:
    """The first `width` hashes of a tile, joined, unchecked.

    Raises:
        Corrupt: it is missing or has another length.
        Unavailable: it cannot be read.
    """
    name, data, there = _read_grown(folder, level, number, width)
    if len(data) != there * HASH_BYTES:
        raise corrupt(name, f"has {len(data)} bytes instead of {there * HASH_BYTES}")
    return data[: width * HASH_BYTES]


def read_bundle(folder: Path, number: int, width: int) -> list[bytes]:
    """The first `width` entries of a bundle, unchecked. Raises as `read_tile` does."""
    name, data, there = _read_grown(folder, ENTRIES, number, width)
    return unpack_bundle(data, there, name)[:width]


def _read_grown(folder: Path, level: int | str, number: int, width: int) -> tuple[str, bytes, int]:
    """Name, bytes and width of the file that holds the first `width` of a tile or bundle."""
    for there in (width, WIDTH):  # it may have become full, its partial files removed, since the checkpoint was read
        name = tile_path(level, number, there)
        data = read_file(folder, name)
        if data is not None:
            return name, data, there
    raise corrupt(tile_path(level, number, width), "is missing")


def partial_widths(folder: Path, level: int | str, number: int) -> list[int]:
    """The widths of the partial files there are of a tile or bundle, in order."""
    place = folder / (tile_path(level, number) + ".p")
    with translated(), suppress(FileNotFoundError, NotADirectoryError):
        return sorted(int(path.name) for path in place.iterdir() if _PARTIAL.fullmatch(path.name))
    return []


def read_file(folder: Path, name: str) -> bytes | None:
    """The bytes of a regular file, or None where there is none.

    Raises:
        Corrupt: it is larger than any file of a log.
        Unavailable: it cannot be read, or is a link.
    """
    with translated():
        try:
            fd = os.open(folder / name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except (FileNotFoundError, NotADirectoryError):
            return None
        with os.fdopen(fd, "rb") as file:
            data = file.read(_LARGEST_FILE + 1)
    if len(data) > _LARGEST_FILE:
        raise corrupt(name, f"is larger than {_LARGEST_FILE} bytes")
    return data


class Writer:
    """Writes files that are whole under their names, or not there; `settle` makes all of them durable."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._folders: set[Path] = set()

    def write(self, name: str, data: bytes) -> None:
        """Put `data` in the place of what has this name, mode 0600, synced.

        Raises:
            Unavailable: the disk is full or fails.
        """
        path = self._folder / name
        temporary = path.with_name(path.name + ".tmp")
        with translated():
            self._make(path.parent)
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            with os.fdopen(fd, "wb", buffering=0) as file:
                view = memoryview(data)
                while view:
                    view = view[file.write(view) or 0 :]
                os.fsync(file.fileno())
            temporary.replace(path)
        self._folders.add(path.parent)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there; not synced."""
        with translated(), suppress(FileNotFoundError):
            (self._folder / name).unlink()

    def remove_folder(self, name: str) -> None:
        """Remove a folder, if it is there and empty; not synced."""
        with suppress(OSError):
            (self._folder / name).rmdir()

    def settle(self) -> None:
        """Make the names of all that was written durable."""
        with translated():
            for folder in self._folders:
                fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                try:
                    os.fsync(fd)
                finally:
                    os.close(fd)
        self._folders.clear()

    def _make(self, folder: Path) -> None:
        if not folder.is_dir():
            self._make(folder.parent)
            folder.mkdir(mode=0o700, exist_ok=True)
            self._folders.add(folder.parent)


def corrupt(name: str, what: str) -> Corrupt:
    """The error that names the damaged file."""
    return Corrupt("ledger-corrupt", f"{name} {what}", "Restore the ledger from a backup; `fastness doctor` can help.")


@contextmanager
def translated() -> Iterator[None]:
    """Errors of the disk in the words of the house."""
    try:
        yield
    except FastnessError:
        raise
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise Unavailable(
                "storage-full", "the disk of the ledger is full", "Free space; then try again."
            ) from error
        raise Unavailable("storage-io", f"the ledger cannot be used: {os.strerror(error.errno or 0)}") from error
