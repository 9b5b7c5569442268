"""The parts that live in memory: rate counters, snapshots, and blobs for tests."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Generic, TypeVar

from fastness.core.clock import SECOND, Instant
from fastness.core.digests import BlobId, parse_blob_id
from fastness.core.errors import Conflict, Invalid, NotFound, Unavailable
from fastness.core.limits import Limit, LimitKey, Taken
from fastness.core.sources import Buffer

T = TypeVar("T")

_SWEEP_EVERY: Final = SECOND
_KINDS: Final = 32


class _Bucket:
    """State of one key: when it will be empty of debt (the theoretical arrival time), and what a unit costs."""

    __slots__ = ("empty_at", "unit_ns")

    def __init__(self, empty_at: int, unit_ns: float) -> None:
        self.empty_at = empty_at
        self.unit_ns = unit_ns


class MemoryCounters:
    """Rates by the generic cell rate algorithm, in this process.

    A worker that is one of n keeps 1/n of each limit. It always lets a burst of one unit through, else small limits
    would let nothing pass: the effective limit is that of the setting, or n bursts of one where that is more.

    Memory is bounded: each kind of key (what stands before its first colon) has room of its own, so that a flood of
    one kind, such as addresses, leaves the others alone. Where the room is full of keys that still owe, a new key is
    refused: forgetting a debtor would be a way around his limit.

    Args:
        share: part of every limit that is this process's, in (0, 1].
        keys_max: keys of one kind at most.

    Raises:
        Invalid: the share is out of range.

    Source: GCRA, ITU-T I.371 (virtual scheduling); `settle` is ours.
    """

    def __init__(self, share: float = 1.0, keys_max: int = 100_000) -> None:
        if not 0 < share <= 1 or keys_max < 1:
            raise Invalid("counters-range", f"share={share} must lie in (0, 1], keys_max={keys_max} be at least 1")
        self._share = share
        self._keys_max = keys_max
        self._rooms: dict[str, dict[LimitKey, _Bucket]] = {}
        self._swept: dict[str, Instant] = {}
        self._lock = threading.Lock()

    def take(self, key: LimitKey, limit: Limit, cost: int, now: Instant) -> Taken:
        """Take `cost` units if they are there; a cost above the whole burst never is.

        Raises:
            Invalid: a negative cost.
        """
        if cost < 0:
            raise Invalid("cost-range", "a cost is at least 0")
        unit_ns = SECOND / (limit.per_s * self._share)
        burst_ns = unit_ns * max(1.0, limit.burst * self._share)
        with self._lock:
            bucket = self._bucket(key, now, unit_ns)
            if bucket is None:
                return Taken(key, allowed=False, retry_after_s=1.0, cost=cost)
            begin = max(bucket.empty_at, now)
            after = begin + int(cost * unit_ns)
            excess = after - now - burst_ns
            if excess > 0:
                return Taken(key, allowed=False, retry_after_s=excess / SECOND, cost=cost)
            bucket.empty_at, bucket.unit_ns = after, unit_ns
        return Taken(key, allowed=True, retry_after_s=0.0, cost=cost)

    def settle(self, taken: Taken, used: int) -> None:
        """Correct an estimate; what was refused, or has long been paid off and forgotten, needs no correction.

        Raises:
            Invalid: a negative use.
        """
        if used < 0:
            raise Invalid("cost-range", "a use is at least 0")
        if not taken.allowed:
            return
        with self._lock:
            bucket = self._rooms.get(_kind(taken.key), {}).get(taken.key)
            if bucket is not None:
                bucket.empty_at += int((used - taken.cost) * bucket.unit_ns)

    def _bucket(self, key: LimitKey, now: Instant, unit_ns: float) -> _Bucket | None:
        kind = _kind(key)
        room = self._rooms.get(kind)
        if room is None:
            if len(self._rooms) >= _KINDS:
                return None
            room = self._rooms.setdefault(kind, {})
        bucket = room.get(key)
        if bucket is None:
            if len(room) >= self._keys_max and not self._sweep(kind, room, now):
                return None
            bucket = room[key] = _Bucket(now, unit_ns)
        return bucket

    def _sweep(self, kind: str, room: dict[LimitKey, _Bucket], now: Instant) -> bool:
        """Forget who owes nothing; at most once a second, since it looks at all of them."""
        if now - self._swept.get(kind, Instant(-_SWEEP_EVERY)) < _SWEEP_EVERY:
            return False
        self._swept[kind] = now
        for key in [key for key, bucket in room.items() if bucket.empty_at <= now]:
            del room[key]
        return len(room) < self._keys_max


def _kind(key: LimitKey) -> str:
    return key.partition(":")[0]


class Live(Generic[T]):
    """How the hot path reads a snapshot: one reference, no lock, no I/O; refused once it may be out of date.

    Args:
        max_age_s: how long a confirmation holds.
        monotonic: nanoseconds of a clock that all processes of the machine share.
    """

    def __init__(self, max_age_s: float = 1.0, monotonic: Callable[[], int] = time.monotonic_ns) -> None:
        self._max_age_ns = int(max_age_s * SECOND)
        self._monotonic = monotonic
        self._held: tuple[T, int] | None = None
        self._confirmed: int | None = None

    def publish(self, value: T, epoch: int) -> None:
        """Put a new snapshot in the place of the old one. It still has to be confirmed.

        Raises:
            Conflict: the one held is of a later epoch (`snapshot-older`).
        """
        if self._held is not None and epoch < self._held[1]:
            raise Conflict("snapshot-older", f"epoch {epoch} comes after {self._held[1]}")
        self._held = (value, epoch)

    def confirm(self, at_monotonic_ns: int) -> None:
        """The owner said at this time that the snapshot is the newest. A time to come counts as now."""
        at = min(at_monotonic_ns, self._monotonic())
        if self._confirmed is None or at > self._confirmed:
            self._confirmed = at

    @property
    def current(self) -> T:
        """The snapshot.

        Raises:
            Unavailable: there is none yet (`snapshot-missing`), or it was not confirmed lately (`snapshot-stale`).
        """
        held, confirmed = self._held, self._confirmed
        if held is None:
            raise Unavailable("snapshot-missing", "the snapshot has not arrived yet", "Try again in a moment.")
        if confirmed is None or self._monotonic() - confirmed > self._max_age_ns:
            raise Unavailable("snapshot-stale", "the snapshot was not confirmed lately", "Is the control process up?")
        return held[0]

    @property
    def epoch(self) -> int:
        """The epoch of the snapshot held, fresh or not; 0 where there is none."""
        return self._held[1] if self._held is not None else 0


class MemoryBlobs:
    """Blobs in a dictionary; for tests."""

    def __init__(self) -> None:
        self._blobs: dict[BlobId, bytes] = {}

    def put(self, id: BlobId, chunks: Iterable[Buffer]) -> None:  # noqa: A002 - the word of the contract
        name = parse_blob_id(id)
        if name in self._blobs:
            raise Conflict("blob-exists", "a blob of this id is there already")
        data = b"".join(bytes(chunk) for chunk in chunks)
        if self._blobs.setdefault(name, data) is not data:
            raise Conflict("blob-exists", "a blob of this id is there already")

    def read_into(self, id: BlobId, offset: int, into: Buffer) -> int:  # noqa: A002
        part = self._get(id)[offset : offset + len(memoryview(into).cast("B"))]
        memoryview(into).cast("B")[: len(part)] = part
        return len(part)

    def size(self, id: BlobId) -> int:  # noqa: A002
        return len(self._get(id))

    def delete(self, id: BlobId) -> None:  # noqa: A002
        self._get(id)
        del self._blobs[id]

    def ids(self, after: BlobId | None = None) -> Iterator[BlobId]:
        yield from sorted(name for name in self._blobs if after is None or name > after)

    def _get(self, id: BlobId) -> bytes:  # noqa: A002
        try:
            return self._blobs[parse_blob_id(id)]
        except KeyError as error:
            raise NotFound("blob-missing", "no such blob") from error
