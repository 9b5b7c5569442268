"""Group commit by flat combining: the callers themselves run one after another and share one durable commit.

One connection writes. A caller takes the turn at its first statement and passes it on when its body is done; whoever
finds nobody waiting behind him commits for the whole group. During that commit others queue, so the groups grow with
the cost of the disk's sync and the wait stays about two syncs. A caller that only emits needs no turn at all.

What it costs: a body that dawdles while it holds the turn delays all that wait, the finished ones of its group
included. What it misses: a group cannot be split after the fact, so a commit that fails, fails for all of it.

Source: Hendler, Incze, Shavit, Tzafrir, "Flat Combining and the Synchronization-Parallelism Tradeoff", SPAA 2010;
group commit: DeWitt et al., "Implementation Techniques for Main Memory Database Systems", SIGMOD 1984.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Generic, Protocol, TypeVar

from fastness.core.errors import FastnessError, Invalid, Unavailable

RowT = TypeVar("RowT")
RowT_contra = TypeVar("RowT_contra", contravariant=True)


class Writer(Protocol[RowT_contra]):
    """The database as a group sees it; only the holder of the turn calls it."""

    @property
    def lost(self) -> FastnessError | None:
        """Why the whole group must fail, if it must: the database undid it by itself."""
        ...

    def commit(self, rows: Sequence[RowT_contra]) -> None:
        """Add the events' rows and make the group durable; on failure nothing of it stays. Raises FastnessError."""
        ...

    def abandon(self) -> None:
        """Undo what is open, if anything."""
        ...


def _closed_lock() -> threading.Lock:
    lock = threading.Lock()
    lock.acquire()
    return lock


@dataclass(slots=True, eq=False)
class _Member:
    """One caller that is done and waits for the commit."""

    signal: threading.Lock = field(default_factory=_closed_lock)
    leads: bool = False
    deserted: bool = False  # its thread was interrupted; what it did is committed with the others
    error: FastnessError | None = None


@dataclass(slots=True, eq=False)
class _Group(Generic[RowT]):
    members: list[_Member] = field(default_factory=list)
    rows: list[RowT] = field(default_factory=list)
    opened: float = 0.0


class GroupCommit(Generic[RowT]):
    """Who writes next, and who commits.

    Args:
        writer: the database.
        largest: members of a group at most.
        oldest_s: age of a group from which it commits even while others wait for the turn.
    """

    def __init__(self, writer: Writer[RowT], largest: int, oldest_s: float) -> None:
        self._writer = writer
        self._largest = largest
        self._oldest_s = oldest_s
        self._lock = threading.Lock()  # guards what follows; held for a few instructions at a time
        self._busy = False  # somebody holds the turn
        self._holder = 0
        self._queue: deque[threading.Lock] = deque()
        self._group: _Group[RowT] = _Group()

    def take_turn(self) -> None:
        """Wait until nobody else writes.

        Raises:
            Invalid: this thread has the turn already.
        """
        me = threading.get_ident()
        with self._lock:
            self._refuse_nested(me)
            if not self._busy:
                self._busy = True
                self._holder = me
                return
            signal = _closed_lock()
            self._queue.append(signal)
        try:
            signal.acquire()
        except BaseException:
            self._give_up(signal)
            raise
        self._holder = me

    def finish(self, rows: Sequence[RowT], *, has_turn: bool) -> None:
        """Join the group with the events of a finished body, and return when it is durable.

        Raises:
            Unavailable: the commit failed and nothing of the group was kept, or it was interrupted (`commit-interrupted`).
            Invalid: a transaction of this thread that holds the turn is open around it.
        """
        member = _Member()
        with self._lock:
            if not has_turn:
                self._refuse_nested(threading.get_ident())
            group = self._group
            if not group.members:
                group.opened = monotonic()
            group.members.append(member)
            group.rows.extend(rows)
            if has_turn:
                member.leads = not self._pass_on(group)
            elif not self._busy:
                member.leads = self._busy = True
        if not member.leads:
            self._wait(member)
        if member.leads:
            self._commit()
        if member.error is not None:
            # One exception object must not be raised in several threads: each adds its own traceback to it.
            error = member.error
            raise type(error)(error.code, error.message, error.hint) from error

    def drop(self) -> None:
        """Give the turn back after a body that failed and was undone; the group it ran in is not lost."""
        with self._lock:
            group = self._group
            if self._pass_on(group):
                return
            leads = bool(group.members)
        if leads:
            self._commit()
            return
        self._writer.abandon()
        self._hand_over()

    def _refuse_nested(self, me: int) -> None:
        if self._busy and self._holder == me:
            raise Invalid(
                "transaction-nested",
                "a transaction was opened inside another one of the same thread",
                "Pass the open transaction down instead.",
            )

    def _pass_on(self, group: _Group[RowT]) -> bool:
        """Hand the turn to the next body, unless the group is large or old enough; the lock is held."""
        self._holder = 0
        if not self._queue or len(group.members) >= self._largest or self._writer.lost is not None:
            return False
        if group.members and monotonic() - group.opened >= self._oldest_s:
            return False
        self._queue.popleft().release()
        return True

    def _hand_over(self) -> None:
        """The turn is free: give it to the next body, else to a member of the next group, else to nobody."""
        with self._lock:
            self._holder = 0
            if self._queue:
                self._queue.popleft().release()
                return
            leader = next((m for m in self._group.members if not m.deserted), None)
            if leader is None:
                self._busy = False
                return
            leader.leads = True
            leader.signal.release()

    def _commit(self) -> None:
        with self._lock:
            group, self._group = self._group, _Group()
        error: FastnessError | None = Unavailable(
            "commit-interrupted", "the commit was interrupted, and may have happened", "Look before trying again."
        )
        try:
            self._writer.commit(group.rows)
            error = None
        except FastnessError as failure:
            error = failure
        finally:
            if error is not None:
                self._writer.abandon()
            for member in group.members:
                member.error = error
                member.signal.release()
            self._hand_over()

    def _wait(self, member: _Member) -> None:
        try:
            member.signal.acquire()
        except BaseException:
            with self._lock:
                member.deserted = True
                leads = member.leads
            if leads:
                self._commit()
            raise

    def _give_up(self, signal: threading.Lock) -> None:
        """A caller was interrupted while it waited for the turn: it must not be handed to nobody."""
        with self._lock:
            if signal in self._queue:
                self._queue.remove(signal)
                return
        self.drop()
