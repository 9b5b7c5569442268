"""What is SQLite's own: files, full disks, damage, other processes, kill -9."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from sqlalchemy import Column, ForeignKey, Integer, MetaData, String, Table, insert, select

from fastness.core.clock import Instant, system_entropy
from fastness.core.errors import Corrupt, Invalid, Unavailable
from fastness.core.events import EventKind, decode_event
from fastness.core.identity import DEFAULT_TENANT, PrincipalId, Scope
from fastness.foundation.storage import SqliteRecords
from fastness.foundation.storage import sqlite as module
from fastness.foundation.storage.contracts import StorageSettings
from fastness.foundation.storage.journal import FileJournal
from fastness.foundation.storage.tables import EPOCHS, EVENTS, JOURNALS

SCOPE = Scope(DEFAULT_TENANT, PrincipalId("user:tester"))
NOW = Instant(1_700_000_000_000_000_000)


def opened(path: Path, settings: StorageSettings | None = None) -> SqliteRecords:
    records = SqliteRecords(path, system_entropy, settings)
    records.create_all()
    return records


def emit(records: SqliteRecords, resource: str, touch: str = "") -> None:
    with records.begin(SCOPE, NOW) as tx:
        if touch:
            tx.touch(touch)
        tx.emit(tx.events.make(EventKind.HOME_CREATED, resource))


def resources(records: SqliteRecords) -> list[str]:
    records.outbox.number(None, 0, NOW)
    return [decode_event(row.data).resource for row in records.outbox.rows(0, 1_000_000)]


def test_the_files_are_private_and_durable(tmp_path: Path) -> None:
    records = opened(tmp_path / "records.db")
    emit(records, "a")
    assert {p.stat().st_mode & 0o777 for p in tmp_path.iterdir()} == {0o600}
    raw = records._writer._raw
    found = {
        p: raw.execute(f"PRAGMA {p}").fetchone()[0]
        for p in ("journal_mode", "synchronous", "foreign_keys", "secure_delete")
    }
    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "secure_delete": 1}
    records.close()
    again = opened(tmp_path / "records.db")
    assert resources(again) == ["a"]
    again.close()


def test_memory_leaves_nothing(tmp_path: Path) -> None:
    records = SqliteRecords(":memory:", system_entropy)
    folder = records._path.parent
    assert folder.exists()
    records.close()
    assert not folder.exists()


def test_a_full_disk_is_unavailable_and_the_group_is_told(tmp_path: Path) -> None:
    records = opened(tmp_path / "records.db")
    emit(records, "before")
    raw = records._writer._raw
    pages = raw.execute("PRAGMA page_count").fetchone()[0]
    raw.execute(f"PRAGMA max_page_count={pages + 2}")
    outcomes: list[str] = []

    def work(number: int) -> None:
        try:
            with records.begin(SCOPE, NOW) as tx:
                if number % 2:
                    tx.execute(insert(EPOCHS).values(topic="x" * 20_000 + str(number), epoch=1))
                tx.emit(tx.events.make(EventKind.HOME_CREATED, str(number), reason="x" * 20_000))
            outcomes.append("kept")
        except Unavailable as error:
            outcomes.append(error.code)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert outcomes == ["storage-full"] * 12
    raw.execute("PRAGMA max_page_count=1000000")
    emit(records, "after", touch="topic")
    assert resources(records) == ["before", "after"]
    records.close()


def test_another_process_that_writes_makes_busy_not_harm(tmp_path: Path) -> None:
    records = opened(tmp_path / "records.db", StorageSettings(busy_timeout_s=0.05))
    other = sqlite3.connect(tmp_path / "records.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for touch in ("", "topic"):
        with pytest.raises(Unavailable) as caught:
            emit(records, "refused", touch)
        assert caught.value.code == "storage-busy"
    other.execute("ROLLBACK")
    other.close()
    emit(records, "kept", "topic")
    assert (resources(records), records.epoch("topic")) == (["kept"], 1)
    records.close()


def _read_everything(path: Path) -> None:
    with contextlib.closing(SqliteRecords(path, system_entropy)) as records, records.read(SCOPE) as reading:
        reading.execute(select(EVENTS))


def test_damage_and_foreign_files_are_corrupt(tmp_path: Path) -> None:
    (tmp_path / "no.db").write_bytes(b"this is not a database, but long enough to be looked at" * 100)
    with pytest.raises(Corrupt):
        SqliteRecords(tmp_path / "no.db", system_entropy)
    records = opened(tmp_path / "records.db")
    for i in range(300):
        emit(records, f"{i}")
    records.close()
    data = bytearray((tmp_path / "records.db").read_bytes())
    data[4096:] = b"\xa5" * (len(data) - 4096)
    (tmp_path / "records.db").write_bytes(data)
    with pytest.raises(Corrupt) as caught:  # at opening, or when the damaged table is read
        _read_everything(tmp_path / "records.db")
    assert caught.value.code == "storage-corrupt"


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as caught:
        SqliteRecords(tmp_path / "none" / "records.db", system_entropy)
    assert caught.value.code == "storage-unreachable"


def test_a_deferred_foreign_key_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metadata = MetaData()
    Table("a", metadata, Column("id", Integer, primary_key=True))
    Table("b", metadata, Column("a", ForeignKey("a.id", deferrable=True, initially="DEFERRED")), Column("c", String))
    monkeypatch.setattr(module, "METADATA", metadata)
    records = SqliteRecords(tmp_path / "records.db", system_entropy)
    with pytest.raises(Invalid) as caught:
        records.create_all()
    assert caught.value.code == "foreign-key-deferred"
    records.close()


def test_too_many_views_at_once_are_refused(tmp_path: Path) -> None:
    records = opened(tmp_path / "records.db", StorageSettings(busy_timeout_s=0.05, read_connections=1))
    with records.read(SCOPE), pytest.raises(Unavailable) as caught, records.read(SCOPE):
        pass
    assert caught.value.code == "storage-busy"
    records.close()


BAD_SETTINGS = [{"busy_timeout_s": 0.0}, {"group_max": 0}, {"group_age_s": -1.0}, {"read_connections": 0}]


@pytest.mark.parametrize("fields", BAD_SETTINGS, ids=str)
def test_bad_settings_stop_the_start(fields: dict[str, float]) -> None:
    with pytest.raises(Invalid):
        StorageSettings(**fields)  # type: ignore[arg-type]


def test_journals_are_numbered_once_and_offsets_with_them(tmp_path: Path) -> None:
    records = opened(tmp_path / "records.db")
    journal = FileJournal(tmp_path / "journal", "w1")
    emit(records, "sql")
    for i in range(3):
        journal.append(_event(f"j{i}"))
    journal.flush()
    assert records.outbox.number(tmp_path / "journal", 0, NOW) == 4
    assert records.outbox.number(tmp_path / "journal", 4, NOW) == 4
    journal.append(_event("j3"))
    journal.flush()
    emit(records, "sql2")
    assert records.outbox.number(tmp_path / "journal", 4, NOW) == 6
    assert resources(records) == ["sql", "j0", "j1", "j2", "sql2", "j3"]
    assert records.outbox.release(tmp_path / "journal", NOW) == 0
    journal.close()
    assert records.outbox.release(tmp_path / "journal", NOW) == 1
    assert records.outbox.number(tmp_path / "journal", 6, NOW) == 6
    records.close()


def test_a_damaged_record_is_itself_an_event_and_stops_nothing(tmp_path: Path) -> None:
    records = opened(tmp_path / "records.db")
    journal = FileJournal(tmp_path / "journal", "w1")
    for i in range(3):
        journal.append(_event(f"j{i}"))
    journal.close()
    path = next((tmp_path / "journal").iterdir())
    data = bytearray(path.read_bytes())
    data[20] ^= 1
    path.write_bytes(data)
    assert records.outbox.number(tmp_path / "journal", 0, NOW) == 3
    first, second, third = (decode_event(row.data) for row in records.outbox.rows(0, 10))
    assert (first.kind, first.reason, first.resource) == (
        "ledger.repaired",
        "journal-record-damaged",
        f"journal:{path.name}",
    )
    assert (first.details["offset"], second.resource, third.resource) == (0, "j1", "j2")
    records.close()


def test_a_torn_tail_that_is_cut_leaves_its_event(tmp_path: Path) -> None:
    records = opened(tmp_path / "records.db")
    journal = FileJournal(tmp_path / "journal", "w1")
    journal.append(_event("kept"))
    journal.close()
    path = next((tmp_path / "journal").iterdir())
    size = path.stat().st_size
    path.write_bytes(path.read_bytes() + b"half a record")
    assert records.outbox.number(tmp_path / "journal", 0, NOW) == 1
    assert records.outbox.release(tmp_path / "journal", NOW) == 1
    records.outbox.number(tmp_path / "journal", 1, NOW)
    (row,) = records.outbox.find("ledger.repaired", f"journal:{path.name}", 10)
    event = decode_event(row.data)
    assert (event.reason, event.details) == ("journal-tail-cut", {"offset": size, "bytes": 13})
    records.close()


def test_more_than_one_batch_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fastness.foundation.storage import outbox

    monkeypatch.setattr(outbox, "BATCH", 7)
    records = opened(tmp_path / "records.db")
    for i in range(10):
        emit(records, str(i))
    reached = [records.outbox.number(None, 0, NOW) for _ in range(3)]
    assert reached == [7, 10, 10]
    assert resources(records) == [str(i) for i in range(10)]
    records.close()


def test_missing_rows_stop_the_numbering(tmp_path: Path) -> None:
    records = opened(tmp_path / "records.db")
    emit(records, "a")
    assert records.outbox.number(None, 0, NOW) == 1
    with pytest.raises(Corrupt) as caught:
        records.outbox.number(None, 2, NOW)
    assert caught.value.code == "ledger-rows-missing"
    emit(records, "b")
    with pytest.raises(Corrupt):
        records.outbox.number(None, 3, NOW)
    assert records.outbox.span(0) == (1, 1)
    records.close()


def test_offsets_of_removed_files_do_not_pile_up(tmp_path: Path) -> None:
    records = opened(tmp_path / "records.db")
    for _ in range(5):
        journal = FileJournal(tmp_path / "journal", "w1")
        journal.append(_event("x"))
        journal.close()
        records.outbox.number(tmp_path / "journal", 0, NOW)
        records.outbox.release(tmp_path / "journal", NOW)
    with records.read(SCOPE) as reading:
        assert len(reading.execute(select(JOURNALS))) == 0
    records.close()


def _event(resource: str):  # noqa: ANN202
    from fastness.core.events import EventFactory

    return EventFactory(*(SCOPE.tenant, SCOPE.principal), NOW, system_entropy).make(EventKind.REQUEST_ALLOWED, resource)


CHILD = """
import os, sys, threading
from pathlib import Path
from fastness.core.clock import SystemClock, system_entropy
from fastness.core.events import EventKind
from fastness.core.identity import SYSTEM_SCOPE
from fastness.foundation.storage import SqliteRecords
records = SqliteRecords(Path(sys.argv[1]), system_entropy)
def work(number):
    i = 0
    while True:
        with records.begin(SYSTEM_SCOPE, SystemClock().now()) as tx:
            event = tx.events.make(EventKind.HOME_CREATED, f"{number}-{i}")
            tx.emit(event)
            if i % 2:
                tx.touch("commits")
        os.write(1, (event.id + ("+" if i % 2 else "-") + "\\n").encode())
        i += 1
for n in range(8):
    threading.Thread(target=work, args=(n,)).start()
"""


def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "records.db"
    opened(path).close()
    acknowledged: list[str] = []
    for round_ in range(6):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(path)], stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": "src"}
        )
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(40 + 37 * round_)]
        child.send_signal(signal.SIGKILL)
        rest = child.stdout.read()
        child.wait()
        child.stdout.close()
        # A line that the kill cut in two was acknowledged all the same, but cannot be told.
        acknowledged += list((b"".join(lines) + rest).decode().split("\n")[:-1])
    records = SqliteRecords(path, system_entropy)
    records.outbox.number(None, 0, NOW)
    while (span := records.outbox.span(0))[0] != records.outbox.number(None, 0, NOW):
        pass
    stored = [decode_event(row.data).id for row in records.outbox.rows(0, 1_000_000)]
    assert len(stored) == len(set(stored)) == span[1]
    assert {line[:-1] for line in acknowledged} <= set(stored)
    assert records.epoch("commits") >= sum(line.endswith("+") for line in acknowledged)
    assert len(acknowledged) > 300
    records.close()
