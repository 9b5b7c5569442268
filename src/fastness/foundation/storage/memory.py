"""The parts that live in memory: rate counters, snapshots, and blobs for tests."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from typing import Final, Generic, TypeVar

from fastness.core.clock import SECOND, Instant
from fastness.core.digests import BlobId, parse_blob_id
from fastness.core.errors import Conflict, Invalid, NotFound, Unavailable
from fastness.core.limits import (
    Cap,
    Charge,
    Charged,
    Limit,
    LimitKey,
    Rate,
    Taken,
    Window,
    key_part,
    tenant_of,
)
from fastness.core.sources import Buffer
from fastness.foundation.storage.contracts import Counted
from fastness.foundation.storage.counting import DURABLE, SECOND_US, Count, Flow, check_cost, checked, checked_use

T = TypeVar("T")

_SWEEP_EVERY_US: Final = SECOND_US
_KINDS: Final = 32
_RATES_KEPT: Final = 4096
_FULL_WAIT_US: Final = SECOND_US
_FOREVER_S: Final = 86_400.0


class _Room:
    """The counters of one kind, and how many of them each tenant has."""

    __slots__ = ("by_tenant", "states", "swept")

    def __init__(self) -> None:
        self.states: dict[LimitKey, Flow | Count] = {}
        self.by_tenant: dict[str, int] = {}
        self.swept = -_SWEEP_EVERY_US

    def put(self, key: LimitKey, state: Flow | Count) -> None:
        self.states[key] = state
        tenant = tenant_of(key)
        self.by_tenant[tenant] = self.by_tenant.get(tenant, 0) + 1

    def sweep(self, now_us: int) -> None:
        """Forget who owes nothing; at most once a second, since it looks at all of them."""
        if now_us - self.swept < _SWEEP_EVERY_US:
            return
        self.swept = now_us
        for key in [key for key, state in self.states.items() if state.idle(now_us)]:
            del self.states[key]
            tenant = tenant_of(key)
            self.by_tenant[tenant] -= 1
            if not self.by_tenant[tenant]:
                del self.by_tenant[tenant]


class _Rooms:
    """All counters, by kind, and which of them changed since they were last drained."""

    def __init__(self, keys_max: int) -> None:
        self._keys_max = keys_max
        self._tenant_max = max(1, keys_max // 4)
        self._rooms: dict[str, _Room] = {}
        self._changed: dict[str, set[LimitKey]] = {}

    def find(self, key: LimitKey) -> Flow | Count | None:
        room = self._rooms.get(_kind(key))
        return None if room is None else room.states.get(key)

    def look(
        self, key: LimitKey, limit: Rate | Cap, cost: int, now_us: int
    ) -> tuple[Flow | Count, float, tuple[int, ...]]:
        """The state of a counter, brought to now, how long `cost` has to wait, and what it was; nothing is taken or kept yet."""
        state = self.find(key)
        if state is None:
            if not self.has_room(key, now_us):
                full = Flow(now_us, 0, 1)
                return full, _FULL_WAIT_US, full.kept()
            state = Flow(now_us, 0, limit.amount) if isinstance(limit, Rate) else Count(limit.window, now_us)
        kept = state.kept()
        if isinstance(state, Flow) and isinstance(limit, Rate):
            state.drain(now_us, limit)
            return state, state.wait_us(limit, cost, now_us), kept
        if isinstance(state, Count) and isinstance(limit, Cap) and state.window is limit.window:
            state.turn(now_us)
            return state, state.wait_us(limit, cost, now_us), kept
        raise Invalid("limit-kind", "the counter is used as another sort of limit")

    def write(self, charge: Charge, limit: Rate | Cap, state: Flow | Count) -> None:
        """Take the cost, and keep the state."""
        if isinstance(state, Flow) and isinstance(limit, Rate):
            state.add(limit, charge.cost)
        elif isinstance(state, Count):
            state.add(charge.cost, state.start_us)
            self.note(charge.key, state.window)
        self.keep(charge.key, state)

    def keep(self, key: LimitKey, state: Flow | Count) -> None:
        room = self._rooms.setdefault(_kind(key), _Room())
        if key not in room.states:
            room.put(key, state)

    def note(self, key: LimitKey, window: Window) -> None:
        """A cap changed."""
        if window in DURABLE:
            self._changed.setdefault(tenant_of(key), set()).add(key)

    def changed(self, tenant: str) -> list[LimitKey]:
        """Those that were noted, and are so no more."""
        return sorted(self._changed.pop(tenant, ()))

    def has_room(self, key: LimitKey, now_us: int) -> bool:
        """Whether one more fits, if need be after forgetting who owes nothing."""
        room = self._rooms.get(_kind(key))
        if room is None:
            return len(self._rooms) < _KINDS
        if self._fits(room, key):
            return True
        room.sweep(now_us)
        return self._fits(room, key)

    def _fits(self, room: _Room, key: LimitKey) -> bool:
        return len(room.states) < self._keys_max and room.by_tenant.get(tenant_of(key), 0) < self._tenant_max


class MemoryCounters:
    """Rates and caps in this process, exactly. Any thread may call.

    Memory is bounded: each kind of key (what stands before its first colon) has room of its own, so that a flood of
    one kind, such as addresses, leaves the others alone; and no tenant (the second part) gets more than a quarter of it.
    Where the room is full of keys that still owe, a new key is refused: forgetting a debtor would be a way around his limit.

    Args:
        share: part of every limit that is this process's, in (0, 1]; at least one unit of each burst and cap.
        keys_max: keys of one kind at most.

    Raises:
        Invalid: the share is out of range.

    Source: `counting`.
    """

    def __init__(self, share: float = 1.0, keys_max: int = 100_000) -> None:
        if not 0 < share <= 1 or keys_max < 1:
            raise Invalid("counters-range", f"share={share} must lie in (0, 1], keys_max={keys_max} be at least 1")
        self._share = Fraction(share).limit_denominator(1000)
        self._rooms = _Rooms(keys_max)
        self._rates: dict[Limit | Rate | Cap, Rate | Cap] = {}
        self._lock = threading.Lock()

    def take(self, key: LimitKey, limit: Limit, cost: int, now: Instant) -> Taken:
        """Take `cost` units if they are there; a cost above the whole burst never is.

        Raises:
            Invalid: a negative cost.
        """
        rate = self._rates.get(limit) or self._keep(limit, Rate.of(limit))
        charged = self.charge((Charge(key, rate, cost),), now)
        wait_s = min(charged.retry_after_s, _FOREVER_S)
        return Taken(key, allowed=charged.allowed, retry_after_s=wait_s, cost=cost)

    def settle(self, taken: Taken, used: int) -> None:
        """Correct an estimate; what was refused, or has long been paid off and forgotten, needs no correction.

        Raises:
            Invalid: a negative use.
        """
        check_cost(used)
        with self._lock:
            state = self._rooms.find(taken.key)
            if taken.allowed and isinstance(state, Flow):
                # The period of the rate is not in `Taken`: the state keeps what a unit costs by its last charge.
                state.debt = max(0, state.debt + (used - taken.cost) * state.unit)

    async def take_all(self, charges: tuple[Charge, ...], now: Instant) -> Charged:
        """Take all charges, or none; see `charge`."""
        return self.charge(charges, now)

    async def settle_all(self, charged: Charged, used: tuple[int, ...]) -> None:
        """Correct what was taken by what was used; see `correct`."""
        self.correct(charged, used)

    def charge(self, charges: tuple[Charge, ...], now: Instant) -> Charged:
        """Take all charges if each passes, else none.

        Raises:
            Invalid: see `counting.checked`; or a counter was used as another sort of limit before.
        """
        now_us = now // 1000
        with self._lock:
            worst, refused = 0.0, None
            found = []
            for place, charge in enumerate(checked(charges)):
                limit = self._shared(charge.limit)
                state, wait, kept = self._rooms.look(charge.key, limit, charge.cost, now_us)
                found.append((charge, limit, state, kept))
                if wait > worst:
                    worst, refused = wait, place
            for charge, limit, state, kept in found:
                if refused is None:
                    self._rooms.write(charge, limit, state)
                else:
                    state.put_back(kept)
        return Charged(charges, refused, worst / SECOND_US, now_us)

    def correct(self, charged: Charged, used: tuple[int, ...]) -> None:
        """Count what was used in place of what was charged. What was refused, or is forgotten by now, stays as it is.

        Raises:
            Invalid: not one use for each charge, or one that is out of range.
        """
        differences = checked_use(charged, used)
        if not charged.allowed:
            return
        with self._lock:
            for charge, difference in zip(charged.charges, differences, strict=True):
                self._correct_one(charge, difference, charged.at_us)

    def _correct_one(self, charge: Charge, difference: int, at_us: int) -> None:
        state = self._rooms.find(charge.key)
        if state is None and difference > 0 and self._rooms.has_room(charge.key, at_us):
            state, _, _ = self._rooms.look(charge.key, charge.limit, 0, at_us)
            self._rooms.keep(charge.key, state)
        limit = self._shared(charge.limit)
        if isinstance(state, Flow) and isinstance(limit, Rate):
            state.drain(at_us, limit)
            state.add(limit, difference)
        elif isinstance(state, Count) and difference:
            state.add(difference, at_us)
            self._rooms.note(charge.key, state.window)

    def lend(self, charge: Charge, least: int, now: Instant) -> tuple[int, float]:
        """Take what is left, up to the cost of `charge`: how much, or 0 and the microseconds until `least` passes.

        Raises:
            Invalid: as `charge` does.
        """
        now_us = now // 1000
        with self._lock:
            (charge,) = checked((charge,))
            limit = self._shared(charge.limit)
            state, wait, _ = self._rooms.look(charge.key, limit, max(check_cost(least), 1), now_us)
            if wait:
                return 0, wait
            most = _left(state, limit, now_us)
            given = charge.cost if most is None else min(charge.cost, most)
            self._rooms.write(charge._replace(cost=given), limit, state)
        return given, 0

    async def generation(self) -> str:
        """A word of this object: its counters are lost with it."""
        return f"memory-{id(self)}"

    async def drain(self, tenant: str) -> list[Counted]:
        """What the caps of `tenant` with long windows hold that changed since it was last asked."""
        with self._lock:
            keys = self._rooms.changed(key_part(tenant))
            states = [(key, self._rooms.find(key)) for key in keys]
        return [Counted(key, state.window, state.tally) for key, state in states if isinstance(state, Count)]

    async def raise_to(self, counted: Counted) -> None:
        """Hold at least what `counted` says: how counts come back after a restart. Never lowers one.

        Raises:
            Unavailable: there is no room for it (`counters-full`).
        """
        key, window, tally = counted
        with self._lock:
            state = self._rooms.find(key)
            if state is None:
                state = Count(window, tally.start_us)
                if not self._rooms.has_room(key, tally.start_us):
                    raise Unavailable("counters-full", "there is no room for another counter")
                self._rooms.keep(key, state)
            if not isinstance(state, Count) or state.window is not window:
                raise Invalid("limit-kind", "the counter is used as another sort of limit")
            state.raise_to(tally)

    def _shared(self, limit: Rate | Cap) -> Rate | Cap:
        """This process's share of `limit`."""
        if self._share == 1:
            return limit
        found = self._rates.get(limit)
        return self._keep(limit, share_of(limit, self._share)) if found is None else found

    def _keep(self, limit: Limit | Rate | Cap, found: Rate | Cap) -> Rate | Cap:
        if len(self._rates) >= _RATES_KEPT:
            self._rates.clear()
        self._rates[limit] = found
        return found


def share_of(limit: Rate | Cap, share: Fraction) -> Rate | Cap:
    """A part of a limit, in whole numbers; at least one unit, where there was any."""
    if isinstance(limit, Cap):
        return Cap(max(min(1, limit.amount), int(limit.amount * share)), limit.window, limit.sliding, limit.stops)
    whole = Fraction(limit.amount, limit.period_us) * share
    return Rate(whole.numerator, whole.denominator, max(1, int(limit.burst * share)))


def _left(state: Flow | Count, limit: Rate | Cap, now_us: int) -> int | None:
    if isinstance(state, Flow) and isinstance(limit, Rate):
        return state.left(limit)
    if isinstance(state, Count) and isinstance(limit, Cap):
        return state.left(limit, now_us)
    return 0


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
