"""The one writer of the log: numbers events, writes tiles and bundles, signs checkpoints.

Numbering is durable first. Everything else follows from the numbered rows, so that whatever a crash interrupts is done
again from the last checkpoint with the same result. A checkpoint is signed when all it vouches for is on the disk.

What it misses: whoever holds the signing key can write another history, unless somebody elsewhere remembers a
checkpoint of this one; that is what `verify_log(since=)` and the copies in another folder are for.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final

from fastness.core.clock import Clock
from fastness.core.errors import Conflict, Corrupt, FastnessError
from fastness.core.events import EventKind
from fastness.core.identity import SYSTEM_SCOPE
from fastness.foundation.ledger.checkpoint import (
    NoteSigner,
    SignedCheckpoint,
    open_checkpoint,
    origin_of,
    sign_checkpoint,
    verifier_key,
)
from fastness.foundation.ledger.merkle import HEIGHT, WIDTH, Tree
from fastness.foundation.ledger.tiles import (
    ENTRIES,
    TrustedTiles,
    Writer,
    corrupt,
    pack_bundle,
    partial_widths,
    read_bundle,
    read_file,
    tile_path,
    translated,
)
from fastness.foundation.storage import Records

BATCH: Final = 4096
COPIES: Final = 64
"""Checkpoints kept apart from the tiles."""


class Sequencer:
    """Takes what waits in the records and the journals into the log; one a home, held by a file lock.

    Args:
        folder: the log: tiles, `checkpoint`, `vkey`; made if it is not there.
        journals: folder of the gateway workers' journals, or None where there is none.
        copies: folder for copies of the last checkpoints; default `checkpoints` beside `folder`.

    Raises:
        Unavailable: the folder cannot be made or locked.
        Conflict: another sequencer has it (`ledger-locked`).
    """

    def __init__(
        self,
        folder: Path,
        records: Records,
        journals: Path | None,
        signer: NoteSigner,
        clock: Clock,
        copies: Path | None = None,
    ) -> None:
        self._folder = folder
        self._outbox = records.outbox
        self._records = records
        self._journals = journals
        self._signer = signer
        self._clock = clock
        self._copies = copies if copies is not None else folder.parent / "checkpoints"
        self._origin = origin_of(signer.public_raw)
        self.vkey: Final = verifier_key(self._origin, signer.public_raw)
        self._growing: _Growing | None = None
        self._last: SignedCheckpoint | None = None
        with translated():
            for place in (folder, self._copies):
                place.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                os.close(self._lock)
                raise Conflict("ledger-locked", "another process writes this ledger", "Stop it first.") from error

    def close(self) -> None:
        """Let another process have the log."""
        os.close(self._lock)
        self._growing = None

    def run_once(self) -> int:
        """Number what waits, take it into the log and sign a checkpoint; how many entries were taken in.

        Raises:
            Corrupt: rows, tiles and checkpoints contradict each other; nothing was signed.
            Unavailable: the records or the disk do not answer; the next call goes on where this one ended.
        """
        growing = self._growing if self._growing is not None else self._recovered()
        self._growing = None  # until all of this succeeded: what failed half-way is taken up from the disk again
        before = self._last.size if self._last is not None else 0
        self._take_in(growing, self._outbox.number(self._journals, growing.tree.size, self._clock.now()))
        if self._last is None or growing.tree.size > self._last.size:
            self._sign(growing)
            if self._journals is not None:
                self._outbox.release(self._journals, self._clock.now())
        self._growing = growing
        return growing.tree.size - before

    def recover(self) -> None:
        """Bring the log to where the last run would have: from the newest checkpoint, again, then sign.

        Raises:
            Corrupt: a checkpoint is larger than, or contradicts, the numbered rows; or the tiles are damaged.
        """
        self._growing = None
        growing = self._recovered()
        if self._last is None or growing.tree.size > self._last.size:
            self._sign(growing)
        self._growing = growing

    def rebuild(self) -> int:
        """Write all tiles and bundles anew from the numbered rows, if they give the signed roots; how many entries.

        For `doctor --repair`, when tiles were damaged but the rows were not. Emits `ledger.repaired`.

        Raises:
            Corrupt: no checkpoint is left to compare with, or the rows contradict one.
        """
        self._growing = None
        known = self._copies_known()
        try:
            known += self._published()
        except Corrupt:
            if not known:
                raise
        if not known:  # then whatever the rows hold now would be signed as if it had always been so
            raise Corrupt("ledger-missing", "no signed checkpoint is left", "Restore the ledger folder from a copy.")
        self._publish_key()
        known.sort(key=lambda c: c.size)
        until = self._numbered(known[-1].size)
        self._take_in(_Rehearsal(), until, known)  # only rows that give every signed root replace anything
        growing = _Growing(self._folder)
        self._take_in(growing, until)
        growing.correct()
        with self._records.begin(SYSTEM_SCOPE, self._clock.now()) as tx:
            tx.emit(tx.events.make(EventKind.LEDGER_REPAIRED, reason="rebuilt", details={"size": growing.tree.size}))
        self._last = None
        self._sign(growing, replace=True)
        return growing.tree.size

    def _recovered(self) -> _Growing:
        self._publish_key()
        published, copies = self._published(), self._copies_known()
        self._last = published[0] if published else None
        start = self._last.size if self._last is not None else 0
        until = self._numbered(max([start, *(c.size for c in copies)]))
        growing = _Growing(self._folder, self._last)
        for copy in copies:
            if copy.size <= start:
                growing.check(copy)
        self._take_in(growing, until, sorted((c for c in copies if c.size > start), key=lambda c: c.size))
        growing.tidy()
        return growing

    def _numbered(self, floor: int = 0) -> int:
        count, following = self._outbox.span(0)
        if count != following or following < floor:
            raise _rows_missing(count, max(following, floor))
        return following

    def _take_in(self, growing: _Growing | _Rehearsal, until: int, known: Sequence[SignedCheckpoint] = ()) -> None:
        """Append the rows up to `until`, and compare the root at the size of each known checkpoint on the way."""
        for stop in [*(c.size for c in known), until]:
            while (size := growing.tree.size) < stop:
                rows = self._outbox.rows(size, min(BATCH, stop - size))
                if [row.place for row in rows] != list(range(size, size + len(rows))) or not rows:
                    raise _rows_missing(size, stop)
                growing.append([row.data for row in rows])
            for checkpoint in known:
                if checkpoint.size == stop and checkpoint.root != growing.tree.root():
                    raise _contradiction(checkpoint.size)

    def _sign(self, growing: _Growing, *, replace: bool = False) -> None:
        if not replace:
            found = read_file(self._folder, "checkpoint")
            if found != (self._last.note if self._last is not None else None):
                raise corrupt("checkpoint", "was changed by somebody else")
        growing.settle()
        signed = sign_checkpoint(self._signer, self._origin, growing.tree.size, growing.tree.root())
        # A signature by another key than the one published would be refused by every reader: find it here.
        open_checkpoint(signed.note, self.vkey)
        for folder, name in ((self._folder, "checkpoint"), (self._copies, f"{signed.size:019d}.note")):
            writer = Writer(folder)
            writer.write(name, signed.note)
            writer.settle()
        self._last = signed
        growing.tidy()
        self._drop_old_copies()

    def _publish_key(self) -> None:
        found = read_file(self._folder, "vkey")
        if found is None:
            writer = Writer(self._folder)
            writer.write("vkey", self.vkey.encode() + b"\n")
            writer.settle()
        elif found.strip() != self.vkey.encode():
            raise Corrupt(
                "ledger-key", "the ledger was begun with another key", "Open it with the key ring it belongs to."
            )

    def _published(self) -> list[SignedCheckpoint]:
        note = read_file(self._folder, "checkpoint")
        return [] if note is None else [open_checkpoint(note, self.vkey)]

    def _copies_known(self) -> list[SignedCheckpoint]:
        known = []
        for name in self._copy_names():
            note = read_file(self._copies, name)
            if note is not None:
                known.append(_opened_copy(note, self.vkey, name))
        return known

    def _copy_names(self) -> list[str]:
        with translated():
            return sorted(path.name for path in self._copies.iterdir() if path.suffix == ".note")

    def _drop_old_copies(self) -> None:
        writer = Writer(self._copies)
        for name in self._copy_names()[:-COPIES]:
            writer.remove(name)


class _Rehearsal:
    """The tree alone, without files."""

    def __init__(self) -> None:
        self.tree = Tree()

    def append(self, entries: Sequence[bytes]) -> None:
        """Take entries in."""
        self.tree.extend(_leaves(entries))


class _Growing:
    """The tree in memory and its files on the disk, the unfinished ones written by `settle`."""

    def __init__(self, folder: Path, start: SignedCheckpoint | None = None) -> None:
        self._folder = folder
        self._writer = Writer(folder)
        self._trusted: TrustedTiles | None = None
        self._bundle: list[bytes] = []
        self._filled: list[tuple[int | str, int]] = []
        edge: list[list[bytes]] = []
        size = 0
        if start is not None and start.size:
            size = start.size
            self._trusted = TrustedTiles(folder, size, start.root)
            edge = self._trusted.edge
            if size % WIDTH:
                self._bundle = read_bundle(folder, size // WIDTH, size % WIDTH)
                if _leaves(self._bundle) != edge[0]:
                    raise corrupt(tile_path(ENTRIES, size // WIDTH, size % WIDTH), "does not fit its tile of hashes")
        self.tree = Tree(size, edge, self._tile_is_full)

    def check(self, checkpoint: SignedCheckpoint) -> None:
        """Compare with a checkpoint no larger than the one it began with. Raises Corrupt."""
        if self._trusted is not None and self._trusted.root_at(checkpoint.size) != checkpoint.root:
            raise _contradiction(checkpoint.size)

    def append(self, entries: Sequence[bytes]) -> None:
        """Take entries in; full tiles and bundles are written."""
        self._bundle.extend(entries)
        first = self.tree.size // WIDTH
        self.tree.extend(_leaves(entries))
        full = self.tree.size // WIDTH - first
        for i in range(full):
            self._writer.write(tile_path(ENTRIES, first + i), pack_bundle(self._bundle[i * WIDTH : (i + 1) * WIDTH]))
            self._filled.append((ENTRIES, first + i))
        del self._bundle[: full * WIDTH]

    def settle(self) -> None:
        """Write the unfinished tiles and bundle, and make everything durable."""
        size = self.tree.size
        for level, hashes in enumerate(self.tree.edge):
            if hashes:
                self._writer.write(tile_path(level, size >> HEIGHT * (level + 1), len(hashes)), b"".join(hashes))
        if self._bundle:
            self._writer.write(tile_path(ENTRIES, size // WIDTH, len(self._bundle)), pack_bundle(self._bundle))
        self._writer.settle()

    def correct(self) -> None:
        """Write the smaller partial files of what is unfinished anew, as far as there are any."""
        size = self.tree.size
        for level, hashes in enumerate(self.tree.edge):
            number = size >> HEIGHT * (level + 1)
            for width in partial_widths(self._folder, level, number):
                if width < len(hashes):
                    self._writer.write(tile_path(level, number, width), b"".join(hashes[:width]))
        for width in partial_widths(self._folder, ENTRIES, size // WIDTH):
            if width < len(self._bundle):
                self._writer.write(tile_path(ENTRIES, size // WIDTH, width), pack_bundle(self._bundle[:width]))

    def tidy(self) -> None:
        """Remove the partial files of what is full by now and signed."""
        filled, self._filled = self._filled, []
        for level, number in filled:
            for width in partial_widths(self._folder, level, number):
                self._writer.remove(tile_path(level, number, width))
            self._writer.remove_folder(tile_path(level, number) + ".p")

    def _tile_is_full(self, level: int, number: int, hashes: list[bytes]) -> None:
        self._writer.write(tile_path(level, number), b"".join(hashes))
        self._filled.append((level, number))


def _leaves(entries: Sequence[bytes]) -> list[bytes]:
    return [sha256(b"\x00" + entry).digest() for entry in entries]


def _opened_copy(note: bytes, vkey: str, name: str) -> SignedCheckpoint:
    try:
        return open_checkpoint(note, vkey)
    except FastnessError as error:
        raise Corrupt(
            error.code, f"checkpoints/{name}: {error.message}", "Remove the copy if the disk damaged it."
        ) from error


def _rows_missing(found: int, wanted: int) -> Corrupt:
    return Corrupt(
        "ledger-rows-missing",
        f"the event table has entries missing: {found} of {wanted} are there in a row",
        "Restore the records from a backup that is as new as the ledger.",
    )


def _contradiction(size: int) -> Corrupt:
    return Corrupt(
        "ledger-forked",
        f"the events do not give the root that was signed at {size} entries",
        "Somebody changed the event table or the tiles: compare with a backup before anything else.",
    )
