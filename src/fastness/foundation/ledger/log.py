"""The log as its readers see it: the event bus, the newest events of a kind, proofs.

Rows of the event table are what is fast to search, tiles are what cannot be changed unseen: what is handed out from
the one is checked against the other.

What it misses: entries not yet under a checkpoint cannot be checked. A row below the last `depth` ones that was edited
so that a search no longer meets it is seen only once `check_rows` came by; a deleted one is seen at once.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from fastness.core.errors import Corrupt, NotFound
from fastness.core.events import Event, EventKind, decode_event
from fastness.foundation.ledger.checkpoint import SignedCheckpoint, open_checkpoint
from fastness.foundation.ledger.merkle import leaf_hash, prove_consistency, prove_inclusion
from fastness.foundation.ledger.tiles import TrustedTiles, corrupt, read_file
from fastness.foundation.storage import Records

BATCH: Final = 2048
_NEWEST_KEPT: Final = 100_000


@dataclass(frozen=True, slots=True)
class Entry:
    """One event and its place in the log; `data` is its JSON, whose hash is the leaf."""

    index: int
    event: Event
    data: bytes


class Ledger:
    """The read side; any number of them, in any process that may read the records.

    Args:
        folder: the log that a `Sequencer` writes.
        vkey: the text of its verifier key, from a place that the log's writer cannot change where that matters.
        depth: rows that a search looks through for edited ones at most.
    """

    def __init__(self, folder: Path, records: Records, vkey: str, depth: int = 100_000) -> None:
        self._folder = folder
        self._outbox = records.outbox
        self._vkey = vkey
        self._depth = depth
        self._signed: SignedCheckpoint | None = None
        self._trusted: TrustedTiles | None = None
        self._kept: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        self._low = self._high = 0  # rows [low, high) were checked
        self._newest: dict[tuple[str, str | None], int] = {}
        self._lock = threading.RLock()

    def checkpoint(self) -> SignedCheckpoint:
        """The newest checkpoint, its signature verified.

        Raises:
            NotFound: nothing was signed yet.
            Corrupt: it is damaged, or contradicts one that this object saw before.
        """
        note = read_file(self._folder, "checkpoint")
        if note is None:
            raise NotFound("checkpoint-missing", "the ledger has no checkpoint yet", "Let the sequencer run once.")
        signed = self._signed
        if signed is not None and note == signed.note:
            return signed
        with self._lock:
            return self._advance(note)

    def _advance(self, note: bytes) -> SignedCheckpoint:
        signed = open_checkpoint(note, self._vkey)
        trusted = TrustedTiles(self._folder, signed.size, signed.root, self._kept)
        if self._signed is not None:
            if signed.size < self._signed.size:
                raise corrupt("checkpoint", f"went back from {self._signed.size} to {signed.size} entries")
            if trusted.root_at(self._signed.size) != self._signed.root:
                raise corrupt("checkpoint", f"does not follow the one signed at {self._signed.size} entries")
        self._signed, self._trusted = signed, trusted
        return signed

    def tail(self, after: int, kinds: Collection[EventKind] | None = None) -> Iterator[Entry]:
        """The entries above index `after` (-1: all) in order, of these kinds or of all, up to what is numbered now.

        The bus: a reader remembers the last index it handled and asks again; it may meet entries twice, never miss one.

        Raises:
            Corrupt: a row is missing or is no event.
        """
        wanted = None if kinds is None else {kind.value for kind in kinds}
        while rows := self._outbox.rows(after + 1, BATCH):
            for row in rows:
                if row.place != after + 1:
                    raise _missing(after + 1)
                after = row.place
                if wanted is None or row.kind in wanted:
                    yield _entry(row.place, row.kind, row.resource, row.data)

    def find(self, kind: EventKind, resource: str | None = None, limit: int = 100) -> list[Entry]:
        """The newest entries of a kind, of one resource or of all, newest first.

        Each is checked against its leaf; between the oldest of them and the end of the log no row may be missing, and
        of the newest `depth` of these none may differ from its leaf (each is looked at once in the life of this object).

        Raises:
            Corrupt: rows and log differ (`ledger-row-changed`, `ledger-rows-missing`).
            NotFound: nothing was signed yet.
        """
        with self._lock:
            return self._find(kind.value, resource, limit)

    def check_rows(self, limit: int) -> int:
        """Check up to `limit` more rows against the log, the newest first; how many are left unchecked.

        Raises:
            Corrupt: a row is missing or changed.
            NotFound: nothing was signed yet.
        """
        with self._lock:
            size = self.checkpoint().size
            self._check(max(0, self._low - limit) if self._high else max(0, size - limit), size)
            return self._low

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """The proof that entry `index` is in the log of `size` entries, for `verify_inclusion`.

        Raises:
            Invalid: no such entry.
            NotFound: the log has no such size yet.
            Corrupt: a tile is damaged.
        """
        with self._lock:
            return prove_inclusion(self._tiles(size).node, index, size)

    def consistency(self, old: int, new: int) -> list[bytes]:
        """The proof that the log of `new` entries continues that of `old`, for `verify_consistency`.

        Raises:
            Invalid, NotFound, Corrupt: as `inclusion`.
        """
        with self._lock:
            return prove_consistency(self._tiles(new).node, old, new)

    def _find(self, kind: str, resource: str | None, limit: int) -> list[Entry]:
        size = self.checkpoint().size
        rows = self._outbox.find(kind, resource, limit)
        low = min(rows[-1].place, size) if rows and len(rows) == limit else 0
        count, following = self._outbox.span(low)
        if count != following - low or following < size:
            raise _missing(low)
        self._check(max(low, size - self._depth), size)
        newest = self._newest.get((kind, resource), -1)
        if limit and newest > (rows[0].place if rows else -1):
            raise _changed(newest)
        return [self._checked(row.place, row.kind, row.resource, row.data, size) for row in rows]

    def _tiles(self, size: int) -> TrustedTiles:
        signed = self.checkpoint()
        if self._trusted is None or size > signed.size:
            raise NotFound("proof-size", f"the ledger has {signed.size} signed entries, not {size}", "Ask again later.")
        return self._trusted

    def _check(self, low: int, high: int) -> None:
        """Extend the checked rows to [low, high) at least."""
        if not self._high:
            self._low = self._high = high
            self._check_range(low, high)
        else:
            self._check_range(self._high, high)
            self._check_range(low, self._low)
        self._low, self._high = min(low, self._low), high

    def _check_range(self, low: int, high: int) -> None:
        place = low
        while place < high:
            rows = self._outbox.rows(place, min(BATCH, high - place))
            if not rows:
                raise _missing(place)
            for row in rows:
                if row.place != place:
                    raise _missing(place)
                self._checked(row.place, row.kind, row.resource, row.data, high)
                self._remember(row.kind, row.resource, row.place)
                place += 1

    def _remember(self, kind: str, resource: str, place: int) -> None:
        if len(self._newest) > _NEWEST_KEPT:
            self._newest.clear()
        for key in ((kind, resource), (kind, None)):
            if place > self._newest.get(key, -1):
                self._newest[key] = place

    def _checked(self, place: int, kind: str, resource: str, data: bytes, size: int) -> Entry:
        if place < size and self._trusted is not None and self._trusted.leaf(place) != leaf_hash(data):
            raise _changed(place)
        return _entry(place, kind, resource, data)


def _entry(place: int, kind: str, resource: str, data: bytes) -> Entry:
    try:
        event = decode_event(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise _changed(place) from error
    if event.kind.value != kind or event.resource != resource:
        raise _changed(place)
    return Entry(place, event, data)


def _missing(place: int) -> Corrupt:
    return Corrupt(
        "ledger-rows-missing",
        f"the event table lacks entries from {place} on that were numbered",
        "Restore the records from a backup that is as new as the ledger.",
    )


def _changed(place: int) -> Corrupt:
    return Corrupt(
        "ledger-row-changed",
        f"the row of entry {place} in the event table is not what the log holds",
        "Somebody changed it: the entry in the log's bundles is the true one.",
    )
