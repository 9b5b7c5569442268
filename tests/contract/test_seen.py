"""What every memory of used things keeps to: first once, whoever asks; and no answer is no permission."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fastness.core.clock import Instant, SystemClock, later
from fastness.core.errors import Invalid, Unavailable
from fastness.core.events import EventKind
from fastness.core.identity import SYSTEM_SCOPE
from fastness.foundation.storage import SqliteRecords
from fastness.foundation.storage.counters import MemorySeen, RecordsSeen, RedisSeen, RedisSettings, Seen, once_in
from tests.redis_process import RedisProcess

NOW = SystemClock().now()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisProcess]:
    made = RedisProcess(tmp_path_factory.mktemp("redis"))
    yield made
    made.kill()


@pytest.fixture
def records() -> Iterator[SqliteRecords]:
    made = SqliteRecords(":memory:", os.urandom)
    made.create_all()
    yield made
    made.close()


@pytest.fixture(params=["memory", "records", "redis"])
def seen(request: pytest.FixtureRequest) -> Iterator[Seen]:
    if request.param == "redis":
        server = request.getfixturevalue("server")
        server.talk(b"FLUSHALL\r\n")
        made = RedisSeen(RedisSettings(url=server.url, timeout_s=30))
        yield made
        made.close()
    else:
        yield MemorySeen() if request.param == "memory" else RecordsSeen(request.getfixturevalue("records"))


def test_first_once(seen: Seen) -> None:
    assert [seen.once(key, 60, NOW) for key in ("jti:a", "jti:a", "jti:b", "nonce:a", "jti:a")] == [
        True,
        False,
        True,
        True,
        False,
    ]


@pytest.mark.parametrize("key", ["", "x" * 100_000, "nul\0nul", "\ud800", "'; DROP TABLE seen; --", "a\r\nSET b 1\r\n"])
def test_any_text_is_a_key(seen: Seen, key: str) -> None:
    assert [seen.once(key, 60, NOW) for _ in range(2)] == [True, False]


@pytest.mark.parametrize("ttl", [0, -1, float("nan"), float("inf"), 1e12])
def test_a_time_that_makes_no_sense_is_refused(seen: Seen, ttl: float) -> None:
    with pytest.raises(Invalid):
        seen.once("a", ttl, NOW)


def test_of_many_at_once_one_is_first(seen: Seen) -> None:
    answers: list[bool] = []
    barrier = threading.Barrier(8)

    def ask() -> None:
        barrier.wait()
        answers.append(seen.once("jti:race", 60, NOW))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [False] * 7 + [True]


@pytest.mark.parametrize("make", [lambda records: MemorySeen(), RecordsSeen], ids=["memory", "records"])
def test_after_its_time_it_is_forgotten_and_not_before(
    records: SqliteRecords, make: Callable[[SqliteRecords], Seen]
) -> None:
    seen = make(records)
    assert seen.once("a", 60, NOW)
    assert not seen.once("a", 60, later(NOW, 59.999))
    assert seen.once("a", 60, later(NOW, 60))


def test_redis_forgets_by_its_own_clock(server: RedisProcess) -> None:
    seen = RedisSeen(RedisSettings(url=server.url, timeout_s=30))
    assert seen.once("timed", 3600, Instant(0))
    assert not seen.once("timed", 3600, later(NOW, 1e6))
    names = [name for name in server.talk(b"KEYS *\r\n").split() if b"seen" in name]
    lives = [int(server.talk(b"PTTL %b\r\n" % name)[1:]) for name in names]
    assert any(3_500_000 < life <= 3_600_000 for life in lives)  # other tests leave keys that live for less, or longer
    seen.close()


def test_a_clock_that_goes_back_makes_nothing_new() -> None:
    seen = MemorySeen()
    assert seen.once("a", 60, NOW)
    assert not seen.once("a", 60, later(NOW, -1e6))


def test_memory_that_is_full_refuses_and_forgets_nothing() -> None:
    seen = MemorySeen(most=100)
    assert all(seen.once(f"a{n}", 60, NOW) for n in range(100))
    with pytest.raises(Unavailable) as caught:
        seen.once("new", 60, NOW)
    assert caught.value.code == "seen-full"
    assert not seen.once("a0", 60, NOW)
    assert seen.once("new", 60, later(NOW, 61))


def test_a_server_that_is_away_says_so_and_permits_nothing(tmp_path: Path) -> None:
    server = RedisProcess(tmp_path)
    seen = RedisSeen(RedisSettings(url=server.url, timeout_s=30))
    assert seen.once("a", 60, NOW)
    server.kill()
    for key in ("a", "b"):
        with pytest.raises(Unavailable) as caught:
            seen.once(key, 60, NOW)
        assert caught.value.code == "seen-unreachable"
    seen.close()


def test_rows_go_with_their_transaction_and_outlive_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "records.db"
    records = SqliteRecords(path, os.urandom)
    records.create_all()
    with pytest.raises(RuntimeError), records.begin(SYSTEM_SCOPE, NOW) as tx:
        assert once_in(tx, "a", 60)
        raise RuntimeError
    with records.begin(SYSTEM_SCOPE, NOW) as tx:
        assert once_in(tx, "a", 60)
        assert not once_in(tx, "a", 60)
        tx.emit(tx.events.make(EventKind.HOME_CREATED))
    records.close()
    again = SqliteRecords(path, os.urandom)
    seen = RecordsSeen(again)
    assert not seen.once("a", 60, NOW)
    assert seen.sweep(NOW) == 0
    assert seen.sweep(later(NOW, 61)) == 1
    again.close()
