"""The Protocols of storage: what the packages above may ask, whatever database, disk or memory answers.

Every change goes through `Records.begin`. A transaction knows no tables: it executes, emits, touches and enqueues; each
package declares its own tables on `METADATA` and offers plain functions that take a `Transaction` or a `Reading`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar

import msgspec
from sqlalchemy import Executable, Row

from fastness.core.clock import Instant
from fastness.core.digests import BlobId
from fastness.core.errors import FastnessError, Invalid
from fastness.core.events import Event, EventFactory, encode_event
from fastness.core.identity import Scope
from fastness.core.limits import Charge, Charged, Limit, LimitKey, Taken, Tally, Window
from fastness.core.settings import InvalidSetting
from fastness.core.sources import Buffer

T_co = TypeVar("T_co", covariant=True)

AnyRow = Row[*tuple[Any, ...]]
Parameters = Sequence[Mapping[str, object]]
Kept = dict[str, frozenset[object]]

LARGEST_ENTRY = 65_535
"""Bytes of one event's JSON: an entry bundle of the ledger holds lengths of 16 bits."""


def entry_of(event: Event) -> bytes:
    """The JSON of `event` as an entry of the log.

    Raises:
        Invalid: it is too large, or holds what no JSON or database takes.
    """
    try:
        data = encode_event(event)
    except (UnicodeEncodeError, msgspec.MsgspecError, TypeError) as error:
        raise Invalid("event-invalid", f"the event {event.kind.value} cannot be written as JSON") from error
    if len(data) > LARGEST_ENTRY:
        raise Invalid(
            "event-too-large",
            f"the event {event.kind.value} has {len(data)} bytes; at most {LARGEST_ENTRY} fit into the log",
            "Store the large part as a blob and name its digest.",
        )
    if not 0 <= event.at < 1 << 63:
        raise Invalid("event-invalid", f"the event {event.kind.value} has no time that can be stored")
    return data


class Numbered(NamedTuple):
    """One row of the event table that stands in the log at `place`; the columns say what `data` says, or somebody changed them."""

    place: int
    kind: str
    resource: str
    data: bytes


class Outbox(Protocol):
    """The event table as the ledger uses it."""

    def number(self, journals: Path | None, floor: int, now: Instant) -> int:
        """Number what waits here and in the journals, durably, and return how many rows have a number now.

        Args:
            journals: folder of the journals, if there is one.
            floor: numbers that were given before.

        Raises:
            Corrupt: fewer rows than `floor` are numbered (`ledger-rows-missing`).
        """
        ...

    def rows(self, first: int, limit: int) -> list[Numbered]:
        """At most `limit` numbered rows from index `first` on, in order."""
        ...

    def find(self, kind: str, resource: str | None, limit: int) -> list[Numbered]:
        """The newest rows of a kind, of one resource or of all, newest first."""
        ...

    def span(self, first: int) -> tuple[int, int]:
        """How many rows have an index of at least `first`, and how many numbers were given in all."""
        ...

    def release(self, journals: Path, now: Instant) -> int:
        """Remove the journal files that are wholly numbered and closed; how many."""
        ...


class Unrecorded(FastnessError):
    """A transaction wrote rows and emitted no event; it was rolled back. A fault of the program, not of its caller."""


class Exempt(StrEnum):
    """Who may write rows without an event: they move evidence or rebuild what follows from it, and decide nothing."""

    SEQUENCER = "sequencer"
    PROJECTION = "projection"
    LEASE = "lease"
    USAGE = "usage"


@dataclass(frozen=True)
class StorageSettings:
    """How `SqliteRecords` shares commits.

    Attributes:
        busy_timeout_s: how long to wait for another process that writes.
        group_max: transactions that share one commit at most.
        group_age_s: a group this old commits even while others wait for their turn.
        read_connections: views open at once; more callers wait up to `busy_timeout_s`.
    """

    busy_timeout_s: float = 10.0
    group_max: int = 512
    group_age_s: float = 0.02
    read_connections: int = 64

    def __post_init__(self) -> None:
        if self.busy_timeout_s <= 0:
            raise InvalidSetting("storage.busy_timeout_s", "is above 0")
        if self.group_max < 1 or self.group_age_s < 0:
            raise InvalidSetting("storage.group_max", "is at least 1, and group_age_s at least 0")
        if self.read_connections < 1:
            raise InvalidSetting("storage.read_connections", "is at least 1")


class Rows:
    """The rows that a statement returned, in order, and how many it changed.

    Attributes:
        count: rows inserted, updated or deleted; 0 for a select.
    """

    __slots__ = ("_rows", "count")

    def __init__(self, rows: list[AnyRow], count: int) -> None:
        self._rows = rows
        self.count = count

    def first(self) -> AnyRow | None:
        """The first row, or None where there is none."""
        return self._rows[0] if self._rows else None

    def __iter__(self) -> Iterator[AnyRow]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, position: int) -> AnyRow:
        return self._rows[position]


class Seal(Protocol):
    """A keyed hash under which packages seal rows that nobody may make who has the database and no key ring."""

    def digest(self, data: bytes) -> bytes:
        """HMAC-SHA-256 of `data`."""
        ...


class Constraint(Protocol):
    """What has to hold at the end of every transaction, whoever writes and by which way."""

    def before(self, reading: Reading, kept: Kept, what: str, values: Mapping[str, object]) -> None:
        """Look at what stands there while it still does; see `Transaction.foresee`.

        Args:
            kept: what this transaction's `after` is to know; empty at first.
        """
        ...

    def after(self, reading: Reading, kept: Kept) -> None:
        """Return if what was written may stay. Raises a FastnessError where it may not."""
        ...


class Reading(Protocol):
    """One consistent view of the records."""

    @property
    def scope(self) -> Scope:
        """In whose name it reads; functions filter by its tenant."""
        ...

    @property
    def seal(self) -> Seal | None:
        """What the rows of these records are sealed under; None where they were opened without a key ring."""
        ...

    def execute(self, statement: Executable, parameters: Parameters | None = None) -> Rows:
        """Run one SQLAlchemy Core statement, once or for each of `parameters`.

        Raises:
            Conflict: a unique or foreign key does not allow it (`record-exists`, `record-reference`); only this
                statement is undone.
            Invalid: a value breaks another constraint, or a mere reading writes.
            Unavailable: the database is full, busy or not there.
            Corrupt: the database file is damaged.
        """
        ...


class Transaction(Reading, Protocol):
    """Changes that become durable together, with the events that record them."""

    @property
    def now(self) -> Instant:
        """The instant of all that it does."""
        ...

    @property
    def events(self) -> EventFactory:
        """Makes events for its scope and instant."""
        ...

    def emit(self, event: Event) -> None:
        """Record `event` with the change.

        Raises:
            Invalid: its JSON exceeds 65,535 bytes, or it belongs to another tenant than the scope.
        """
        ...

    def touch(self, topic: str) -> None:
        """Move the epoch of `topic` on, so that the snapshots built from it are rebuilt."""
        ...

    def enqueue(self, job: Job) -> None:
        """Have `job` done after the commit.

        Raises:
            Conflict: a job of that id is there.
        """
        ...

    def foresee(self, what: str, values: Mapping[str, object]) -> None:
        """Tell the constraint of these records, if they have one, what is about to be written.

        Args:
            what: the table, or a word for what has no row.
        """
        ...

    def check(self) -> None:
        """Have the constraint look at what was written so far, as it does at the end, where what it raises undoes everything."""
        ...

    def execute_unrecorded(self, statement: Executable, parameters: Parameters | None = None) -> Rows:
        """Like `execute`, for rows that are no decision, such as a lease; asks for no event. For storage itself."""
        ...


class Records(Protocol):
    """The tables of all packages."""

    @property
    def outbox(self) -> Outbox:
        """The event table, for the ledger."""
        ...

    def begin(self, scope: Scope, now: Instant) -> AbstractContextManager[Transaction]:
        """A transaction; leaving it normally returns when it is durable, by an exception undoes it.

        Several callers' transactions share one commit. They run one after another, from their first statement on; one
        that only emits waits for nobody. Never opened inside another one of the same thread.

        Raises:
            Unrecorded: rows were written and nothing emitted.
            Unavailable: the commit failed (then for all that shared it), or the database is full or busy.
            Invalid: it is nested (`transaction-nested`).
        """
        ...

    def begin_unrecorded(self, scope: Scope, now: Instant, exempt: Exempt) -> AbstractContextManager[Transaction]:
        """Like `begin`, for the named exceptions to "who writes emits"."""
        ...

    def read(self, scope: Scope) -> AbstractContextManager[Reading]:
        """A view of what is committed at its first statement; writers do not disturb it."""
        ...

    def epoch(self, topic: str) -> int:
        """How often `topic` was touched; 0 at first."""
        ...

    def create_all(self) -> None:
        """Make the tables that are missing (tests, `init`); upgrades are migrations, in `app`."""
        ...

    def close(self) -> None:
        """Close all connections."""
        ...


class Job(msgspec.Struct, frozen=True):
    """Work to be done after a commit, at least once; its handler is idempotent by `id`.

    Attributes:
        tenant, attempt: set by the lease; `attempt` is also what fences an older lease off.
    """

    id: str
    kind: str
    payload: bytes
    not_before: Instant
    tenant: str = ""
    attempt: int = 0


class Blobs(Protocol):
    """Immutable byte strings under an id."""

    def put(self, id: BlobId, chunks: Iterable[Buffer]) -> None:  # noqa: A002 - the word of the contract
        """Store the joined `chunks`; durable on return, or not there at all.

        Raises:
            Conflict: the id is taken (`blob-exists`).
            Unavailable: the disk is full or fails.
        """
        ...

    def read_into(self, id: BlobId, offset: int, into: Buffer) -> int:  # noqa: A002
        """Fill `into` from `offset` on and return how many bytes there were; fewer only at the end.

        Raises:
            NotFound: no such blob.
        """
        ...

    def size(self, id: BlobId) -> int:  # noqa: A002
        """Length in bytes. Raises NotFound."""
        ...

    def delete(self, id: BlobId) -> None:  # noqa: A002
        """Remove it. Raises NotFound."""
        ...

    def ids(self, after: BlobId | None = None) -> Iterator[BlobId]:
        """The ids above `after`, in order."""
        ...


class Counters(Protocol):
    """Rates by key; local, never blocking."""

    def take(self, key: LimitKey, limit: Limit, cost: int, now: Instant) -> Taken:
        """Take `cost` units from the rate of `key` if they are there."""
        ...

    def settle(self, taken: Taken, used: int) -> None:
        """Correct an earlier estimate: `used` units were needed instead of `taken.cost`."""
        ...


class Counted(NamedTuple):
    """What a cap's counter holds, to be kept in rows and given back after a restart."""

    key: LimitKey
    window: Window
    tally: Tally


class SharedCounters(Protocol):
    """Rates and caps, several at once, in this process or shared by many; awaited, for it may have to ask another process."""

    async def take_all(self, charges: tuple[Charge, ...], now: Instant) -> Charged:
        """Take all charges if each passes, else none.

        Raises:
            Invalid: they cannot be taken together, or a cost is out of range.
            Unavailable: the counters do not answer (`counters-unreachable`).
            Corrupt: what they hold is no counter (`counter-changed`).
        """
        ...

    async def settle_all(self, charged: Charged, used: tuple[int, ...]) -> None:
        """Count what was used in place of what was charged; raises as `take_all`."""
        ...


class Tallies(Protocol):
    """What the caps hold, for who keeps it in rows."""

    async def generation(self) -> str:
        """A word that changes when the counters were lost."""
        ...

    async def drain(self, tenant: str) -> list[Counted]:
        """What the tenant's caps of an hour or more hold that changed since this was last asked."""
        ...

    async def raise_to(self, counted: Counted) -> None:
        """Hold at least this; never lowers a count."""
        ...


class Projection(Protocol[T_co]):
    """How the owner of some tables builds the snapshot that the hot path reads."""

    topic: ClassVar[str]

    def load(self, reading: Reading) -> T_co:
        """The snapshot, a msgspec Struct, so that it can be pushed to another process."""
        ...


class Journal(Protocol):
    """Where a process without records writes its events before it replies."""

    def append(self, event: Event) -> None:
        """Add `event`; it is kept once `flush` returned.

        Raises:
            Unavailable: the disk is full, or too much waits to be written (`journal-full`). Nothing is dropped.
        """
        ...

    def flush(self) -> None:
        """Hand what was appended to the kernel; once a loop tick, before the replies go out."""
        ...

    async def durable(self) -> None:
        """Return when all that was appended is on the disk; one sync serves all who wait."""
        ...
