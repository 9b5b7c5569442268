from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastness.core.clock import ManualClock, system_entropy
from fastness.core.errors import Conflict, Corrupt, Unavailable
from fastness.core.events import EventFactory, EventKind
from fastness.core.identity import DEFAULT_TENANT, PrincipalId
from fastness.foundation.ledger import Ledger, Sequencer, open_checkpoint, verify_log
from fastness.foundation.ledger import sequencer as module
from fastness.foundation.storage import FileJournal, SqliteRecords
from tests.unit.foundation.ledger.parts import NOW, Ed25519Signer, Log, make_log


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    made = make_log(tmp_path)
    yield made
    made.close()


def copies(log: Log) -> list[int]:
    return sorted(int(path.stem) for path in (log.home / "checkpoints").glob("*.note"))


def test_an_empty_log_is_signed_too(log: Log) -> None:
    assert log.sequencer.run_once() == 0
    assert log.ledger.checkpoint().size == 0
    assert verify_log(log.folder, log.vkey).entries == 0
    assert (log.folder / "vkey").read_text() == log.vkey + "\n"


@pytest.mark.parametrize("steps", [[1], [255], [256], [257], [100, 100, 100, 300], [1] * 20, [600, 1, 700]], ids=str)
def test_any_steps_and_restarts_give_one_log(log: Log, steps: list[int]) -> None:
    roots = []
    for number, step in enumerate(steps):
        log.emit(step)
        assert log.sequencer.run_once() == step
        roots.append(log.ledger.checkpoint())
        if number % 2:
            log.reopen()
    assert log.sequencer.run_once() == 0
    for earlier in roots:
        assert verify_log(log.folder, log.vkey, earlier.note).size == sum(steps)


def test_nothing_new_signs_nothing_new(log: Log) -> None:
    log.grow(3)
    note, when = log.ledger.checkpoint().note, (log.folder / "checkpoint").stat().st_mtime_ns
    log.sequencer.run_once()
    log.reopen()
    log.sequencer.recover()
    assert (log.ledger.checkpoint().note, (log.folder / "checkpoint").stat().st_mtime_ns) == (note, when)


def test_partial_files_go_when_the_full_one_is_signed(log: Log) -> None:
    for _ in range(27):
        log.grow(10)
    assert sorted(p.name for p in (log.folder / "tile/0").iterdir()) == ["000", "001.p"]
    assert sorted(p.name for p in (log.folder / "tile/entries").iterdir()) == ["000", "001.p"]


def test_checkpoints_are_kept_apart_the_last_ones(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "COPIES", 3)
    for _ in range(5):
        log.grow(2)
    assert copies(log) == [6, 8, 10]


def test_journals_come_in_once_and_their_files_go(log: Log) -> None:
    journal = FileJournal(log.home / "journal", "w1")
    events = EventFactory(DEFAULT_TENANT, PrincipalId("service:gateway"), NOW, system_entropy)
    log.emit(2)
    for i in range(300):
        journal.append(events.make(EventKind.REQUEST_ALLOWED, f"request:{i}"))
    journal.flush()
    assert log.sequencer.run_once() == 302
    journal.append(events.make(EventKind.REQUEST_ALLOWED, "request:last"))
    journal.close()
    assert log.sequencer.run_once() == 1
    assert list((log.home / "journal").iterdir()) == []
    assert [e.event.resource for e in log.ledger.tail(301)] == ["request:last"]
    verify_log(log.folder, log.vkey)


def test_one_sequencer_a_home(log: Log) -> None:
    with pytest.raises(Conflict) as caught:
        Sequencer(log.folder, log.records, None, log.signer, ManualClock(NOW))
    assert caught.value.code == "ledger-locked"


def test_another_key_is_refused(log: Log) -> None:
    log.grow(1)
    log.signer = Ed25519Signer(b"\x09" * 32)
    log.reopen()
    with pytest.raises(Corrupt) as caught:
        log.sequencer.run_once()
    assert caught.value.code == "ledger-key"


def test_a_signer_that_signs_wrongly_publishes_nothing(log: Log) -> None:
    log.grow(1)
    note = log.ledger.checkpoint().note
    log.signer.sign = lambda data: bytes(64)  # type: ignore[method-assign]
    with pytest.raises(Corrupt):
        log.grow(1)
    assert log.ledger.checkpoint().note == note
    del log.signer.sign  # type: ignore[method-assign]
    assert log.sequencer.run_once() == 1


def test_a_full_disk_is_taken_up_again(log: Log) -> None:
    import resource

    log.grow(300)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    log.emit(400)
    assert log.records.outbox.number(None, 0, NOW) == 700
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))
        for _ in range(2):
            with pytest.raises(Unavailable) as caught:
                log.sequencer.run_once()
            assert caught.value.code == "storage-full"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, previous)
    assert log.ledger.checkpoint().size == 300
    assert log.sequencer.run_once() == 400
    assert verify_log(log.folder, log.vkey).size == 700


def test_what_a_crash_left_unsigned_is_written_again(log: Log) -> None:
    log.grow(300)
    log.emit(500)
    log.records.outbox.number(None, 0, NOW)
    for name in ("tile/0/001", "tile/entries/001", "tile/0/003.p/32"):  # torn by a power cut
        (log.folder / name).parent.mkdir(exist_ok=True)
        (log.folder / name).write_bytes(b"")
    log.reopen()
    log.sequencer.recover()
    assert verify_log(log.folder, log.vkey).size == 800


def test_the_published_checkpoint_may_be_behind_its_copy(log: Log) -> None:
    log.grow(100)
    old = (log.folder / "checkpoint").read_bytes()
    log.grow(100)
    (log.folder / "checkpoint").write_bytes(old)
    log.reopen()
    log.sequencer.run_once()
    assert log.ledger.checkpoint().size == 200


def test_rebuilding_heals_tiles_and_says_so(log: Log) -> None:
    log.grow(650)
    log.grow(50)
    before = log.ledger.checkpoint()
    partial = ("tile/0/002.p/138", "tile/entries/002.p/138")  # superseded, and still there for who holds the old root
    for name in ("tile/0/001", "tile/entries/000", "tile/1/000.p/2", *partial):
        assert (log.folder / name).exists()
        (log.folder / name).write_bytes(b"broken")
    (log.folder / "checkpoint").write_bytes(b"broken")
    log.reopen()
    assert log.sequencer.rebuild() == 700
    assert verify_log(log.folder, log.vkey, before.note).size == 700
    log.sequencer.run_once()
    (entry,) = log.ledger.find(EventKind.LEDGER_REPAIRED)
    assert (entry.event.reason, entry.index) == ("rebuilt", 700)


def test_rebuilding_from_changed_rows_is_refused(log: Log) -> None:
    log.grow(300)
    log.sql("update events set data = cast(replace(data, 'model:7', 'model:8') as blob) where idx = 7")
    log.reopen()
    with pytest.raises(Corrupt) as caught:
        log.sequencer.rebuild()
    assert caught.value.code == "ledger-forked"
    assert verify_log(log.folder, log.vkey).size == 300


def test_nothing_is_rebuilt_where_no_signed_root_is_left(log: Log) -> None:
    """Else whoever edits the rows and removes the log has the edit signed by a repair."""
    log.grow(5)
    copies = log.folder.parent / "checkpoints"
    for path in [log.folder / "checkpoint", *copies.iterdir()]:
        path.unlink()
    log.sql("update events set data = cast(replace(data, 'model:3', 'model:4') as blob) where idx = 3")
    log.reopen()
    with pytest.raises(Corrupt) as caught:
        log.sequencer.rebuild()
    assert caught.value.code == "ledger-missing"
    assert not (log.folder / "checkpoint").exists()


CHILD = """
import os, sys, threading, time
from pathlib import Path
from fastness.core.clock import SystemClock, system_entropy
from fastness.core.events import EventFactory, EventKind
from fastness.core.identity import SYSTEM_SCOPE
from fastness.foundation.ledger import Sequencer
from fastness.foundation.storage import FileJournal, SqliteRecords
from tests.unit.foundation.ledger.parts import Ed25519Signer
home = Path(sys.argv[1])
clock = SystemClock()
records = SqliteRecords(home / "records.db", system_entropy)
sequencer = Sequencer(home / "ledger", records, home / "journal", Ed25519Signer(), clock)
def committing():
    while True:
        with records.begin(SYSTEM_SCOPE, clock.now()) as tx:
            event = tx.events.make(EventKind.HOME_CREATED)
            tx.emit(event)
            tx.touch("commits")
        os.write(1, (event.id + "\\n").encode())
def journaling(worker):
    journal = FileJournal(home / "journal", worker, segment_bytes=20_000)
    while True:
        made = [EventFactory(SYSTEM_SCOPE.tenant, SYSTEM_SCOPE.principal, clock.now(), system_entropy).make(EventKind.REQUEST_ALLOWED) for _ in range(5)]
        for event in made:
            journal.append(event)
        journal.flush()
        os.write(1, "".join(e.id + "\\n" for e in made).encode())
        time.sleep(0.001)
for target, args in [(committing, ()), (committing, ()), (journaling, ("w1",)), (journaling, ("w2",))]:
    threading.Thread(target=target, args=args).start()
while True:
    sequencer.run_once()
    os.write(1, b".\\n")
"""


def test_kill_9_anywhere_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    made = SqliteRecords(tmp_path / "records.db", system_entropy)
    made.create_all()
    made.close()
    acknowledged: list[str] = []
    notes: list[bytes] = []
    for round_ in range(8):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(tmp_path)],
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": "src:."},
        )
        assert child.stdout is not None
        lines: list[bytes] = []
        # Every second round is killed only after a checkpoint was signed, however slow the machine is.
        while len(lines) < 100 + 61 * round_ or (round_ % 2 and b".\n" not in lines):
            lines.append(child.stdout.readline())
            assert lines[-1], "the child ended by itself"
        child.send_signal(signal.SIGKILL)
        rest = child.stdout.read()
        child.wait()
        child.stdout.close()
        acknowledged += [line for line in (b"".join(lines) + rest).decode().split("\n")[:-1] if line != "."]
        if (tmp_path / "ledger" / "checkpoint").exists():
            notes.append((tmp_path / "ledger" / "checkpoint").read_bytes())
    log = Log(tmp_path, SqliteRecords(tmp_path / "records.db", system_entropy), Ed25519Signer(), None)  # type: ignore[arg-type]
    log.sequencer = Sequencer(log.folder, log.records, tmp_path / "journal", log.signer, ManualClock(NOW))
    log.sequencer.recover()
    while log.sequencer.run_once():
        pass
    stored = [entry.event.id for entry in log.ledger.tail(-1)]
    assert len(acknowledged) > 500
    assert len(set(stored)) == len(stored)
    assert set(acknowledged) <= set(stored)
    assert len(notes) >= 4
    for note in notes:
        assert verify_log(log.folder, log.vkey, note).size == len(stored)
    assert open_checkpoint(notes[-1], log.vkey).size > 0
    assert Ledger(log.folder, log.records, log.vkey).find(EventKind.REQUEST_ALLOWED, limit=5)
    log.close()
