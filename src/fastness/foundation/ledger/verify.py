"""Check a whole log with its files alone, as an outsider would who has the verifier key and perhaps an old checkpoint.

Every entry is hashed into a tree of its own; each tile file there is must be what this tree gives. Where something
differs, the signed root tells whether the entries or the tiles are wrong, and the message names the file and place.

What it misses: a log whose writer, holding the key, rewrote it from the beginning; only a checkpoint kept elsewhere
(`since`) shows that. Cost: about 4 us an entry, memory of one tile a level.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fastness.core.errors import Corrupt, NotFound
from fastness.foundation.ledger.checkpoint import SignedCheckpoint, open_checkpoint
from fastness.foundation.ledger.merkle import HASH_BYTES, HEIGHT, WIDTH, Tree, leaf_hash
from fastness.foundation.ledger.tiles import (
    ENTRIES,
    corrupt,
    pack_bundle,
    partial_widths,
    read_bundle,
    read_file,
    tile_path,
    tile_width,
)


@dataclass(frozen=True, slots=True)
class LogReport:
    """A log that was verified.

    Attributes:
        entries: entries hashed, all of them.
        since: size of the older checkpoint that it continues; None where none was given.
    """

    origin: str
    size: int
    root: bytes
    entries: int
    since: int | None


def verify_log(folder: Path, vkey: str, since: bytes | None = None) -> LogReport:
    """What the log holds, once all of it was checked.

    Args:
        since: the note of a checkpoint that was kept elsewhere: the log must continue it.

    Raises:
        Corrupt: something does not fit; the message names the place.
        NotFound: there is no log.
        Unavailable: a file cannot be read.
    """
    note = read_file(folder, "checkpoint")
    if note is None:
        raise NotFound("checkpoint-missing", "there is no checkpoint in this folder", "Name the folder of a ledger.")
    signed = open_checkpoint(note, vkey)
    stored = read_file(folder, "vkey")
    if stored is not None and stored != vkey.strip().encode() + b"\n":
        raise corrupt("vkey", "is not the key that was given")
    earlier = None if since is None else _earlier(since, vkey, signed)
    check = _Check(folder, signed, earlier)
    check.run()
    return LogReport(signed.origin, signed.size, signed.root, signed.size, None if earlier is None else earlier.size)


def _earlier(since: bytes, vkey: str, signed: SignedCheckpoint) -> SignedCheckpoint:
    try:
        earlier = open_checkpoint(since, vkey)
    except Corrupt as error:
        raise Corrupt(error.code, f"the older checkpoint: {error.message}", "Give the note as it was saved.") from error
    if earlier.size > signed.size:
        raise Corrupt(
            "ledger-truncated",
            f"the log has {signed.size} entries, but {earlier.size} were signed before",
            "Entries were cut off: restore the log.",
        )
    return earlier


class _Check:
    """One pass over the bundles; `wrong` keeps the first difference between entries and tiles."""

    def __init__(self, folder: Path, signed: SignedCheckpoint, earlier: SignedCheckpoint | None) -> None:
        self._folder = folder
        self._signed = signed
        self._earlier = earlier
        self._tree = Tree(full=self._compare)
        self._leaves: list[bytes] = []
        self._wrong_entry: Corrupt | None = None
        self._wrong_tile: Corrupt | None = None

    def run(self) -> None:
        size = self._signed.size
        for number in range((size + WIDTH - 1) // WIDTH):
            width = tile_width(size, 0, number)
            entries = read_bundle(self._folder, number, width)
            self._compare_partial_bundles(number, entries)
            self._extend([leaf_hash(entry) for entry in entries])
        self._check_earlier()
        for level, hashes in enumerate(self._tree.edge):
            if hashes:
                self._compare(level, size >> HEIGHT * (level + 1), hashes)
        self._conclude()

    def _extend(self, leaves: list[bytes]) -> None:
        stop = self._earlier.size - self._tree.size if self._earlier is not None else -1
        if 0 <= stop < len(leaves):
            self._tree.extend(leaves[:stop])
            self._check_earlier()
            leaves = leaves[stop:]
        self._tree.extend(leaves)

    def _check_earlier(self) -> None:
        earlier = self._earlier
        if earlier is None or self._tree.size != earlier.size or self._tree.root() == earlier.root:
            return
        # Damage of this log would explain it too, and is said more exactly; a fork leaves the log sound in itself.
        self._wrong_tile = self._wrong_tile or Corrupt(
            "ledger-forked",
            f"the log does not continue the checkpoint signed at {earlier.size} entries",
            "It was rewritten: keep both checkpoints, together they prove it.",
        )

    def _compare(self, level: int, number: int, hashes: list[bytes]) -> None:
        """Compare all files of one tile with what the entries give."""
        expected = b"".join(hashes)
        width = len(hashes)
        for there in {*partial_widths(self._folder, level, number), width}:
            if there > width:  # of entries that nobody signed yet
                continue
            name = tile_path(level, number, there)
            data = read_file(self._folder, name)
            if data is None and there < WIDTH:
                name = tile_path(level, number)
                data = (read_file(self._folder, name) or b"")[: there * HASH_BYTES] or None
            self._note_difference(level, number, name, data, expected[: there * HASH_BYTES])

    def _note_difference(self, level: int, number: int, name: str, data: bytes | None, expected: bytes) -> None:
        if data == expected:
            return
        if data is None or len(data) != len(expected):
            what = "is missing" if data is None else f"has {len(data)} bytes instead of {len(expected)}"
            self._wrong_tile = self._wrong_tile or corrupt(name, what)
            return
        place = next(
            i for i in range(0, len(expected), HASH_BYTES) if data[i : i + HASH_BYTES] != expected[i : i + HASH_BYTES]
        )
        place //= HASH_BYTES
        self._wrong_tile = self._wrong_tile or corrupt(name, f"holds a wrong hash at place {place}")
        if level == 0:
            index = number * WIDTH + place
            bundle = tile_path(ENTRIES, number, tile_width(self._signed.size, 0, number))
            self._wrong_entry = self._wrong_entry or corrupt(bundle, f"holds a changed entry {index} (place {place})")

    def _compare_partial_bundles(self, number: int, entries: list[bytes]) -> None:
        for there in partial_widths(self._folder, ENTRIES, number):
            if there < len(entries):
                name = tile_path(ENTRIES, number, there)
                data = read_file(self._folder, name)
                if data is not None and data != pack_bundle(entries[:there]):  # None: removed as it should be
                    self._wrong_tile = self._wrong_tile or corrupt(name, "does not fit the bundle that continues it")

    def _conclude(self) -> None:
        if self._tree.root() != self._signed.root:
            raise self._wrong_entry or corrupt("checkpoint", "does not give the root of the entries")
        if self._wrong_tile is not None:
            raise self._wrong_tile
