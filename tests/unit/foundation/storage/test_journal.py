from __future__ import annotations

import asyncio
import fcntl
import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from fastness.core.clock import Instant, system_entropy
from fastness.core.errors import Invalid, Unavailable
from fastness.core.events import Event, EventFactory, EventKind, decode_event, encode_event
from fastness.core.identity import DEFAULT_TENANT, PrincipalId
from fastness.foundation.storage import FileJournal
from fastness.foundation.storage.journal import JournalRecord, read_journal, remove_finished

FACTORY = EventFactory(
    DEFAULT_TENANT, PrincipalId("service:gateway"), Instant(1_700_000_000_000_000_000), system_entropy
)


def event(name: str = "x", **details: str) -> Event:
    return FACTORY.make(EventKind.REQUEST_ALLOWED, name, details=dict(details))


def names(folder: Path, offsets: dict[str, int] | None = None) -> list[str]:
    return [decode_event(r.data).resource for r in read_journal(folder, offsets or {}) if not r.damaged]


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.journal"))


def filled(folder: Path, count: int = 3) -> Path:
    journal = FileJournal(folder, "w1")
    for i in range(count):
        journal.append(event(str(i)))
    journal.close()
    return segments(folder)[0]


def test_what_was_flushed_is_read_in_order_and_nothing_before(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path / "journal", "w1")
    first = event("a")
    journal.append(first)
    assert names(tmp_path / "journal") == []
    journal.flush()
    journal.append(event("b"))
    assert [r.data for r in read_journal(tmp_path / "journal", {})] == [encode_event(first)]
    journal.flush()
    assert names(tmp_path / "journal") == ["a", "b"]
    journal.close()


def test_files_and_folder_are_private(tmp_path: Path) -> None:
    path = filled(tmp_path / "journal")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_reading_goes_on_where_it_ended(tmp_path: Path) -> None:
    filled(tmp_path, 5)
    records = list(read_journal(tmp_path, {}))
    for i, record in enumerate(records):
        assert names(tmp_path, {record.file: record.next_offset}) == [str(n) for n in range(i + 1, 5)]
    assert [r.offset for r in records[1:]] == [r.next_offset for r in records[:-1]]


def test_segments_turn_and_workers_do_not_mix(tmp_path: Path) -> None:
    one, two = FileJournal(tmp_path, "w1", segment_bytes=500), FileJournal(tmp_path, "w2")
    for i in range(10):
        one.append(event(f"1-{i}"))
        one.flush()
    two.append(event("2-0"))
    two.flush()
    assert len(segments(tmp_path)) > 3
    assert names(tmp_path) == [*(f"1-{i}" for i in range(10)), "2-0"]
    one.close()
    two.close()


def test_a_reopened_journal_begins_a_new_file_and_never_reuses_a_name(tmp_path: Path) -> None:
    seen: set[str] = set()
    for _ in range(3):
        path = filled(tmp_path, 1)
        assert path.name not in seen
        seen.add(path.name)
        remove_finished(tmp_path, {path.name: path.stat().st_size})
        assert segments(tmp_path) == []


@pytest.mark.parametrize("cut", range(1, 260, 7))
def test_a_torn_tail_is_cut_and_what_stands_before_it_is_kept(tmp_path: Path, cut: int) -> None:
    path = filled(tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[:-cut])
    kept = names(tmp_path)
    assert kept == ["0", "1", "2"][: len(kept)]
    assert len(kept) == (2 if cut < len(data) / 3 else 1)
    assert not any(r.damaged for r in read_journal(tmp_path, {}))


@pytest.mark.parametrize(
    "garbage", [b"\0" * 100, b"\xff" * 100, b"{" * 3000, b"\0"], ids=["zeros", "ones", "braces", "one"]
)
def test_garbage_at_the_end_is_a_torn_tail(tmp_path: Path, garbage: bytes) -> None:
    path = filled(tmp_path)
    path.write_bytes(path.read_bytes() + garbage)
    assert [r.damaged for r in read_journal(tmp_path, {})] == [False] * 3


def test_every_flipped_byte_damages_its_own_record_only(tmp_path: Path) -> None:
    path = filled(tmp_path)
    whole = path.read_bytes()
    records = list(read_journal(tmp_path, {}))
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x41]) + whole[place + 1 :])
        hit = next(i for i, r in enumerate(records) if place < r.next_offset)
        found = list(read_journal(tmp_path, {}))
        intact = [r.data for r in found if not r.damaged]
        assert intact == [r.data for i, r in enumerate(records) if i != hit], place
        # Damage in the last record cannot be told from a torn tail.
        damaged = [(r.offset, r.next_offset) for r in found if r.damaged]
        assert damaged == ([] if hit == 2 else [(records[hit].offset, records[hit].next_offset)]), place


def test_an_event_cannot_hide_a_record_in_its_text(tmp_path: Path) -> None:
    inner = filled(tmp_path / "inner", 1).read_bytes().decode("latin-1")
    journal = FileJournal(tmp_path / "outer", "w1")
    journal.append(event("outer", text=inner))
    journal.append(event("after"))
    journal.close()
    path = segments(tmp_path / "outer")[0]
    data = bytearray(path.read_bytes())
    data[0] ^= 1  # only damage makes the reader search
    path.write_bytes(data)
    assert names(tmp_path / "outer") == ["after"]


def test_more_than_one_reading_buffer(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path, "w1", segment_bytes=1 << 30, buffer_bytes=64 << 20)
    for i in range(160):
        journal.append(event(str(i), fill="x" * 60_000))
    journal.close()
    assert segments(tmp_path)[0].stat().st_size > 9 << 20
    assert names(tmp_path) == [str(i) for i in range(160)]


def test_a_full_buffer_refuses_and_drops_nothing(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path, "w1", buffer_bytes=1000)
    taken = 0
    with pytest.raises(Unavailable) as caught:
        for _ in range(100):
            journal.append(event(str(taken)))
            taken += 1
    assert caught.value.code == "journal-full"
    journal.flush()
    journal.append(event("more"))
    journal.close()
    assert names(tmp_path) == [*(str(i) for i in range(taken)), "more"]


def test_a_full_disk_refuses_until_there_is_space_and_loses_nothing(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path, "w1")
    journal.append(event("before"))
    journal.flush()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        # The limit lies in the middle of the next record: part of it is written.
        resource.setrlimit(resource.RLIMIT_FSIZE, (segments(tmp_path)[0].stat().st_size + 50, hard))
        journal.append(event("during"))
        for refused in (journal.flush, journal.flush, lambda: journal.append(event("refused"))):
            with pytest.raises(Unavailable) as caught:
                refused()
            assert caught.value.code == "journal-full"
        assert names(tmp_path) == ["before"]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, previous)
    journal.append(event("after"))  # probes by writing what waits
    journal.close()
    assert names(tmp_path) == ["before", "during", "after"]


def test_durable_shares_its_syncs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    syncs = 0
    real = os.fdatasync

    def counted(fd: int) -> None:
        nonlocal syncs
        syncs += 1
        real(fd)

    async def work() -> None:
        journal = FileJournal(tmp_path, "w1")

        async def one(i: int) -> None:
            journal.append(event(str(i)))
            await journal.durable()
            assert str(i) in names(tmp_path)

        await asyncio.gather(*(one(i) for i in range(50)))
        journal.close()

    monkeypatch.setattr(os, "fdatasync", counted)  # counts and calls the real one
    asyncio.run(work())
    assert 1 <= syncs <= 6


def test_who_comes_during_a_sync_waits_for_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, sizes = asyncio.Event(), []
    real = os.fdatasync

    async def work() -> None:
        loop = asyncio.get_running_loop()

        def slow(fd: int) -> None:
            sizes.append(os.fstat(fd).st_size)
            loop.call_soon_threadsafe(begun.set)
            real(fd)

        monkeypatch.setattr(os, "fdatasync", slow)
        journal = FileJournal(tmp_path, "w1")
        journal.append(event("a"))
        first = asyncio.ensure_future(journal.durable())
        await begun.wait()
        journal.append(event("b"))
        await journal.durable()
        assert sizes[-1] == segments(tmp_path)[0].stat().st_size
        await first
        journal.close()

    asyncio.run(work())


def test_a_failed_sync_is_never_papered_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        journal = FileJournal(tmp_path, "w1")
        journal.append(event("a"))

        def fails(fd: int) -> None:
            raise OSError(5, "Input/output error")

        with monkeypatch.context() as patch:  # the failure of the disk itself, which nothing here can cause
            patch.setattr(os, "fdatasync", fails)
            with pytest.raises(Unavailable) as caught:
                await journal.durable()
        assert caught.value.code == "journal-sync"
        for use in (lambda: journal.append(event("b")), journal.flush):
            with pytest.raises(Unavailable):
                use()
        with pytest.raises(Unavailable):
            await journal.durable()

    asyncio.run(work())


def test_turned_segments_are_synced_and_released(tmp_path: Path) -> None:
    async def work() -> None:
        journal = FileJournal(tmp_path, "w1", segment_bytes=300)
        for i in range(5):
            journal.append(event(str(i)))
            journal.flush()
        sizes = {p.name: p.stat().st_size for p in segments(tmp_path)}
        assert remove_finished(tmp_path, sizes) == {}  # all still locked
        await journal.durable()
        assert list(remove_finished(tmp_path, sizes)) == sorted(sizes)[:-1]
        journal.close()

    asyncio.run(work())


def test_only_finished_segments_that_were_read_are_removed(tmp_path: Path) -> None:
    path = filled(tmp_path)
    size = path.stat().st_size
    assert remove_finished(tmp_path, {}) == {}
    assert remove_finished(tmp_path, {path.name: list(read_journal(tmp_path, {}))[1].next_offset}) == {}
    path.write_bytes(path.read_bytes() + b"torn")
    assert remove_finished(tmp_path, {path.name: size}) == {path.name: 4}


def test_a_segment_is_locked_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sequencer that looked between the two removed the file, and with it what was acknowledged afterwards."""
    real, looked = fcntl.flock, []

    def late(fd: int, operation: int) -> None:
        if not looked:
            looked.append(remove_finished)
            assert remove_finished(tmp_path, {}) == {}
        real(fd, operation)

    monkeypatch.setattr(fcntl, "flock", late)  # the sequencer runs just before the writer locks
    journal = FileJournal(tmp_path, "w1")
    journal.append(event("kept"))
    journal.flush()
    assert remove_finished(tmp_path, {}) == {}
    assert names(tmp_path) == ["kept"]
    assert looked
    journal.close()


def test_foreign_files_and_links_are_not_read(tmp_path: Path) -> None:
    journal = filled(tmp_path / "real")
    folder = tmp_path / "journal"
    folder.mkdir()
    (folder / "notes.txt").write_bytes(journal.read_bytes())
    assert list(read_journal(folder, {})) == []
    (folder / journal.name).symlink_to(journal)
    with pytest.raises(Unavailable):
        list(read_journal(folder, {}))
    assert list(read_journal(tmp_path / "nowhere", {})) == []


@pytest.mark.parametrize("worker", ["", "../w", "W", "a.b", "x" * 41, "w\n"])
def test_a_worker_has_a_plain_name(tmp_path: Path, worker: str) -> None:
    with pytest.raises(Invalid):
        FileJournal(tmp_path, worker)


def test_events_that_no_log_takes_are_refused(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path, "w1")
    with pytest.raises(Invalid) as caught:
        journal.append(event("x", fill="y" * 65_600))
    assert caught.value.code == "event-too-large"
    with pytest.raises(Invalid) as caught:
        journal.append(Event("id", 1, EventKind.REQUEST_ALLOWED, DEFAULT_TENANT, PrincipalId("user:\ud800")))
    assert caught.value.code == "event-invalid"
    journal.close()
    assert names(tmp_path) == []


def test_a_closed_journal_refuses(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path, "w1")
    journal.close()
    uses: list[Callable[[], object]] = [lambda: journal.append(event()), journal.flush]
    for use in uses:
        with pytest.raises(Unavailable) as caught:
            use()
        assert caught.value.code == "journal-closed"


def test_a_record_says_where_it_stands(tmp_path: Path) -> None:
    path = filled(tmp_path, 1)
    (record,) = read_journal(tmp_path, {})
    assert record == JournalRecord(path.name, path.stat().st_size, record.data, 0)
