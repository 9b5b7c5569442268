"""Who commits when, over a writer in memory that can be slow, or fail."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest

from fastness.core.errors import FastnessError, Invalid, Unavailable
from fastness.foundation.storage.combining import GroupCommit


class MemoryWriter:
    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self.lost: FastnessError | None = None
        self.abandoned = 0
        self.before: Callable[[], object] = lambda: None

    def commit(self, rows: Sequence[str]) -> None:
        self.before()
        if self.lost is not None:
            raise self.lost
        self.groups.append(list(rows))

    def abandon(self) -> None:
        self.lost = None
        self.abandoned += 1

    @property
    def rows(self) -> list[str]:
        return [row for group in self.groups for row in group]


def made(largest: int = 100, oldest_s: float = 10.0) -> tuple[MemoryWriter, GroupCommit[str]]:
    writer = MemoryWriter()
    return writer, GroupCommit(writer, largest, oldest_s)


def wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


class Thread(threading.Thread):
    """One that keeps its failure."""

    def __init__(self, work: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self.work, self.error = work, None
        self.start()

    def run(self) -> None:
        try:
            self.work()
        except BaseException as error:
            self.error = error


def body(group: GroupCommit[str], row: str) -> Callable[[], None]:
    def work() -> None:
        group.take_turn()
        group.finish([row], has_turn=True)

    return work


def test_alone_each_commits_for_itself() -> None:
    writer, group = made()
    body(group, "a")()
    group.finish(["b", "c"], has_turn=False)
    assert writer.groups == [["a"], ["b", "c"]]


def queued(group: GroupCommit[str], count: int) -> list[Thread]:
    """Bodies that wait for the turn, which the caller has."""
    threads = []
    for i in range(count):
        threads.append(Thread(body(group, str(i))))
        wait_for(lambda n=i: len(group._queue) == n + 1)
    return threads


def test_those_who_waited_commit_together_in_order() -> None:
    writer, group = made()
    group.take_turn()
    threads = queued(group, 5)
    group.finish(["first"], has_turn=True)
    for thread in threads:
        thread.join(30)
    assert writer.groups == [["first", "0", "1", "2", "3", "4"]]


def test_a_group_is_bounded_by_size_and_age() -> None:
    for largest, oldest, sizes in ((2, 10.0, [2, 2, 2]), (100, 0.0, [1] * 6)):
        writer, group = made(largest, oldest)
        group.take_turn()
        threads = queued(group, 5)
        group.finish(["first"], has_turn=True)
        for thread in threads:
            thread.join(30)
        assert [len(rows) for rows in writer.groups] == sizes


def test_who_only_emits_does_not_wait_for_the_turn_but_for_the_commit() -> None:
    writer, group = made()
    group.take_turn()
    emitting = Thread(lambda: group.finish(["emitted"], has_turn=False))
    wait_for(lambda: group._group.members)
    assert emitting.is_alive()
    group.finish(["body"], has_turn=True)
    emitting.join(30)
    assert writer.groups == [["emitted", "body"]]


def test_a_failed_commit_fails_for_all_that_shared_it_and_only_them() -> None:
    writer, group = made()
    group.take_turn()
    threads = queued(group, 4)
    writer.lost = None
    failures = iter([Unavailable("storage-full", "full", "hint")])

    def fail() -> None:
        raise next(failures)

    writer.before = fail
    with pytest.raises(Unavailable) as caught:
        group.finish(["first"], has_turn=True)
    for thread in threads:
        thread.join(30)
    errors = [caught.value, *(thread.error for thread in threads)]
    assert [(e.code, e.hint) for e in errors if isinstance(e, FastnessError)] == [("storage-full", "hint")] * 5
    assert len({id(e) for e in errors}) == 5
    assert writer.groups == []
    writer.before = lambda: None
    body(group, "after")()
    assert writer.groups == [["after"]]


def test_a_lost_group_fails_before_others_join_it() -> None:
    writer, group = made()
    group.take_turn()
    threads = queued(group, 2)
    writer.lost = Unavailable("storage-full", "full")
    group.drop()  # the body that met the full disk had nothing in the group
    for thread in threads:
        thread.join(30)
    assert writer.rows == ["0", "1"]


def test_a_body_that_failed_commits_what_others_left() -> None:
    writer, group = made()
    group.take_turn()
    waiting = Thread(lambda: group.finish(["other"], has_turn=False))
    wait_for(lambda: group._group.members)
    group.drop()
    waiting.join(30)
    assert writer.groups == [["other"]]


def test_nested_is_refused() -> None:
    writer, group = made()
    group.take_turn()
    with pytest.raises(Invalid):
        group.take_turn()
    with pytest.raises(Invalid):
        group.finish(["x"], has_turn=False)
    group.finish(["a"], has_turn=True)
    assert writer.groups == [["a"]]


class Interrupted(BaseException):
    pass


@contextmanager
def interrupted(after_s: float) -> Iterator[None]:
    """As by Ctrl-C, while the main thread waits."""

    def handler(number: int, frame: object) -> None:
        raise Interrupted

    previous = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, after_s)
    try:
        with pytest.raises(Interrupted):
            yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def test_who_is_interrupted_while_waiting_for_the_turn_stops_nobody() -> None:
    writer, group = made()
    leave = threading.Event()

    def slow() -> None:
        group.take_turn()
        leave.wait(30)
        group.finish(["slow"], has_turn=True)

    holder = Thread(slow)
    wait_for(lambda: group._busy)
    with interrupted(0.05):
        group.take_turn()
    leave.set()
    holder.join(30)
    body(group, "after")()
    assert writer.groups == [["slow"], ["after"]]


def test_who_is_interrupted_while_waiting_for_the_commit_stops_nobody() -> None:
    writer, group = made()
    leave = threading.Event()
    writer.before = lambda: leave.wait(30)
    leader = Thread(body(group, "leader"))
    wait_for(lambda: group._busy and not group._group.members)
    with interrupted(0.05):
        group.finish(["interrupted"], has_turn=False)
    leave.set()
    leader.join(30)
    body(group, "after")()
    assert writer.rows == ["leader", "interrupted", "after"]
    assert not group._busy


def test_an_interrupted_commit_fails_for_the_others_and_frees_the_turn() -> None:
    writer, group = made()
    group.take_turn()
    other = Thread(lambda: group.finish(["other"], has_turn=False))
    wait_for(lambda: group._group.members)
    writer.before = lambda: time.sleep(30)
    with interrupted(0.05):
        group.finish(["mine"], has_turn=True)
    other.join(30)
    assert isinstance(other.error, Unavailable)
    assert other.error.code == "commit-interrupted"
    writer.before = lambda: None
    body(group, "after")()
    assert writer.groups == [["after"]]


def test_many_threads_lose_nothing() -> None:
    writer, group = made(largest=7, oldest_s=0.001)
    writer.before = lambda: time.sleep(0.0002)

    def work(number: int) -> None:
        for i in range(60):
            row = f"{number}-{i}"
            if (number + i) % 4 == 0:
                group.finish([row], has_turn=False)
            else:
                group.take_turn()
                if (number + i) % 7 == 0:
                    group.drop()
                    continue
                group.finish([row], has_turn=True)
            assert row in writer.rows

    threads = [Thread(lambda n=n: work(n)) for n in range(12)]
    for thread in threads:
        thread.join(60)
    assert [thread.error for thread in threads] == [None] * 12
    assert len(writer.rows) == len(set(writer.rows))
    assert not group._busy
