"""An intruder with the disk: every change of the log, its checkpoints or the event table is found and named.

What is out of reach: somebody who holds the signing key and rewrites everything, unless a checkpoint was kept elsewhere
(`test_a_rewritten_log_is_found_by_a_checkpoint_kept_elsewhere`).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fastness.core.errors import Corrupt, FastnessError
from fastness.core.events import EventKind, decode_event, encode_event
from fastness.foundation.ledger import verify_log
from fastness.foundation.ledger.merkle import leaf_hash
from tests.unit.foundation.ledger.parts import Log, make_log

PUSHED, MOVED = EventKind.MODEL_PUSHED, EventKind.ALIAS_MOVED


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    made = make_log(tmp_path)
    yield made
    made.close()


def files(log: Log) -> list[Path]:
    return sorted(p for p in log.folder.rglob("*") if p.is_file() and p.name != "lock")


def test_every_flipped_byte_of_a_small_log_is_found_and_named(log: Log) -> None:
    log.grow(3)
    log.grow(4)  # leaves partial files that are superseded: they count too
    tried = 0
    for path in files(log):
        whole = path.read_bytes()
        for place in range(len(whole)):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << place % 8)]) + whole[place + 1 :])
            with pytest.raises(Corrupt) as caught:
                verify_log(log.folder, log.vkey)
            assert path.name in caught.value.message, (path, place, caught.value)
            tried += 1
        path.write_bytes(whole)
    assert tried > 1500
    verify_log(log.folder, log.vkey)


def test_flipped_bytes_of_a_large_log_are_found_and_named(log: Log) -> None:
    log.grow(1500)
    for path in files(log):
        whole = path.read_bytes()
        name = path.relative_to(log.folder).as_posix()
        for place in {0, 1, len(whole) // 3, len(whole) // 2, len(whole) - 1}:
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
            with pytest.raises(Corrupt) as caught:
                verify_log(log.folder, log.vkey)
            assert name in caught.value.message, (name, place, caught.value)
        for cut in (whole[:-1], whole + b"\0", b""):
            path.write_bytes(cut)
            with pytest.raises(Corrupt) as caught:
                verify_log(log.folder, log.vkey)
            assert name in caught.value.message, (name, len(cut), caught.value)
        path.write_bytes(whole)
    verify_log(log.folder, log.vkey)


def test_every_missing_file_is_named(log: Log) -> None:
    log.grow(700)
    for path in files(log):
        name = path.relative_to(log.folder).as_posix()
        whole = path.read_bytes()
        path.unlink()
        if name != "vkey":  # the key is given from outside
            with pytest.raises(FastnessError):
                verify_log(log.folder, log.vkey)
        path.write_bytes(whole)


def test_a_changed_entry_is_named_by_its_index(log: Log) -> None:
    log.grow(600)
    path = log.folder / "tile/entries/001"
    path.write_bytes(path.read_bytes().replace(b'"model:300"', b'"model:301"', 1))
    with pytest.raises(Corrupt, match=r"tile/entries/001 holds a changed entry 300 "):
        verify_log(log.folder, log.vkey)


def test_an_entry_changed_with_its_leaf_is_found(log: Log) -> None:
    log.grow(600)
    bundle, tile = log.folder / "tile/entries/001", log.folder / "tile/0/001"
    entry = next(e for e in log.ledger.tail(299)).data
    changed = entry.replace(b'"model:300"', b'"model:301"')
    bundle.write_bytes(bundle.read_bytes().replace(entry, changed))
    tile.write_bytes(tile.read_bytes().replace(leaf_hash(entry), leaf_hash(changed)))
    with pytest.raises(Corrupt):
        verify_log(log.folder, log.vkey)


def test_a_log_cut_back_to_an_older_state_is_found_by_a_newer_checkpoint(log: Log) -> None:
    log.grow(300)
    shutil.copytree(log.folder, log.home / "old")
    log.grow(100)
    kept = log.ledger.checkpoint().note
    assert verify_log(log.home / "old", log.vkey).size == 300  # sound in itself
    with pytest.raises(Corrupt) as caught:
        verify_log(log.home / "old", log.vkey, kept)
    assert caught.value.code == "ledger-truncated"


def test_a_rewritten_log_is_found_by_a_checkpoint_kept_elsewhere(log: Log, tmp_path: Path) -> None:
    log.grow(300)
    kept = log.ledger.checkpoint().note
    other = make_log(tmp_path / "fork")  # the same key signs another history
    other.grow(500)
    assert verify_log(other.folder, other.vkey).size == 500
    with pytest.raises(Corrupt) as caught:
        verify_log(other.folder, other.vkey, kept)
    assert caught.value.code == "ledger-forked"
    other.close()


def test_a_fork_of_the_same_size_is_found(log: Log, tmp_path: Path) -> None:
    log.grow(300)
    other = make_log(tmp_path / "fork")
    other.grow(300)
    with pytest.raises(Corrupt) as caught:
        verify_log(other.folder, other.vkey, log.ledger.checkpoint().note)
    assert caught.value.code == "ledger-forked"
    other.close()


def test_a_forged_older_checkpoint_proves_nothing(log: Log) -> None:
    log.grow(3)
    with pytest.raises(Corrupt) as caught:
        verify_log(log.folder, log.vkey, log.ledger.checkpoint().note.replace(b"\n3\n", b"\n2\n"))
    assert "older checkpoint" in caught.value.message


def grown(log: Log) -> None:
    log.grow(300)
    log.emit(2, MOVED, "alias:a")
    log.grow(10)


ROWS: dict[str, tuple[tuple[str, ...], str]] = {
    "the newest deleted": (("delete from events where idx = 301",), "ledger-rows-missing"),
    "the last of all deleted": (("delete from events where idx = 311",), "ledger-rows-missing"),
    "the newest edited": (
        ("update events set data = cast(replace(data, 'system', 'sysadm') as blob) where idx = 301",),
        "ledger-row-changed",
    ),
    "the newest hidden under another kind": (
        ("update events set kind = 'model.pushed' where idx = 301",),
        "ledger-row-changed",
    ),
    "the newest hidden, columns and data": (
        (
            "update events set resource = 'alias:b', data = cast(replace(data, 'alias:a', 'alias:b') as blob) where idx = 301",
        ),
        "ledger-row-changed",
    ),
    "two rows exchanged": (
        (
            "update events set idx = -1 where idx = 301",
            "update events set idx = 301 where idx = 5",
            "update events set idx = 5 where idx = -1",
        ),
        "ledger-row-changed",
    ),
    "a row moved behind the end": (("update events set idx = 5000 where idx = 301",), "ledger-rows-missing"),
    "data of another type": (("update events set data = 7 where idx = 301",), "record-changed"),
    "not an event": (("update events set data = x'00ff' where idx = 301",), "ledger-row-changed"),
}


@pytest.mark.parametrize(("statements", "code"), ROWS.values(), ids=ROWS)
def test_a_changed_event_table_is_found_by_a_search(log: Log, statements: tuple[str, ...], code: str) -> None:
    grown(log)
    for statement in statements:
        log.sql(statement)
    with pytest.raises(Corrupt) as caught:
        log.ledger.find(MOVED, "alias:a", 1)
    assert caught.value.code == code


@pytest.mark.parametrize("statements", [rows for rows, _ in ROWS.values()], ids=ROWS)
def test_and_by_a_reader_that_had_checked_the_rows_before(log: Log, statements: tuple[str, ...]) -> None:
    grown(log)
    ledger = log.ledger
    assert ledger.find(MOVED, "alias:a", 1)[0].index == 301
    for statement in statements:
        log.sql(statement)
    with pytest.raises(Corrupt):
        ledger.find(MOVED, "alias:a", 1)


@pytest.mark.parametrize(
    "name", ["the newest deleted", "a row moved behind the end", "data of another type", "not an event"]
)
def test_and_by_the_bus(log: Log, name: str) -> None:
    grown(log)
    for statement in ROWS[name][0]:
        log.sql(statement)
    with pytest.raises(Corrupt):
        list(log.ledger.tail(290))


def test_a_row_and_its_leaf_changed_together_are_found(log: Log) -> None:
    grown(log)
    (entry,) = log.ledger.find(MOVED, limit=1)
    changed = encode_event(decode_event(entry.data.replace(b"alias:a", b"alias:b")))
    for path in [*log.folder.glob("tile/0/001*"), *log.folder.glob("tile/0/001.p/*")]:
        if path.is_file():
            path.write_bytes(path.read_bytes().replace(leaf_hash(entry.data), leaf_hash(changed)))
    log.sql("update events set data = ?, resource = 'alias:b' where idx = 301", changed)
    with pytest.raises(Corrupt) as caught:
        log.ledger.find(MOVED, "alias:b")
    assert "tile/0/001" in caught.value.message


def _flip(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:40] + bytes([data[40] ^ 1]) + data[41:])


def _checkpoint_of_another(log: Log) -> None:
    other = make_log(log.home / "other")
    other.grow(300)
    shutil.copy(other.folder / "checkpoint", log.folder / "checkpoint")
    other.close()


SEQUENCER: dict[str, tuple[Callable[[Log], object], str]] = {
    "rows cut off": (lambda log: log.sql("delete from events where idx >= 250"), "ledger-rows-missing"),
    "one row gone": (lambda log: log.sql("delete from events where idx = 7"), "ledger-rows-missing"),
    "table emptied": (lambda log: log.sql("delete from events"), "ledger-rows-missing"),
    "checkpoint of another log": (_checkpoint_of_another, "ledger-corrupt"),
    "edge tile changed": (lambda log: _flip(log.folder / "tile/0/001.p/44"), "ledger-corrupt"),
    "edge bundle changed": (lambda log: _flip(log.folder / "tile/entries/001.p/44"), "ledger-corrupt"),
    "edge tile gone": (lambda log: (log.folder / "tile/1/000.p/1").unlink(), "ledger-corrupt"),
    "checkpoint changed": (lambda log: _flip(log.folder / "checkpoint"), "checkpoint-invalid"),
    "copy changed": (lambda log: _flip(max((log.home / "checkpoints").iterdir())), "checkpoint-invalid"),
}


@pytest.mark.parametrize(("attack", "code"), SEQUENCER.values(), ids=SEQUENCER)
def test_the_sequencer_signs_nothing_on_top_of_it(log: Log, attack: Callable[[Log], object], code: str) -> None:
    log.grow(100)
    log.grow(200)
    attack(log)
    before = (log.folder / "checkpoint").read_bytes()
    log.reopen()
    log.emit(5)
    for _ in range(2):
        with pytest.raises(Corrupt) as caught:
            log.sequencer.run_once()
        assert caught.value.code == code
    assert (log.folder / "checkpoint").read_bytes() == before


def test_unsigned_rows_changed_before_they_are_taken_in_contradict_a_newer_copy(log: Log) -> None:
    log.grow(100)
    shutil.copytree(log.folder, log.home / "old")
    log.grow(100)
    shutil.rmtree(log.folder)
    shutil.copytree(log.home / "old", log.folder)  # the log as of yesterday; the copies are of today
    log.sql("update events set data = cast(replace(data, 'model:7', 'model:8') as blob) where idx = 107")
    log.reopen()
    with pytest.raises(Corrupt) as caught:
        log.sequencer.run_once()
    assert caught.value.code == "ledger-forked"


def test_a_checkpoint_exchanged_under_a_running_sequencer_is_not_overwritten(log: Log) -> None:
    log.grow(10)
    old = (log.folder / "checkpoint").read_bytes()
    log.grow(10)
    (log.folder / "checkpoint").write_bytes(old)
    log.emit(1)
    with pytest.raises(Corrupt) as caught:
        log.sequencer.run_once()
    assert "checkpoint was changed" in caught.value.message
    assert (log.folder / "checkpoint").read_bytes() == old


def test_a_reader_that_saw_more_refuses_less_and_other(log: Log, tmp_path: Path) -> None:
    log.grow(10)
    old = (log.folder / "checkpoint").read_bytes()
    log.grow(10)
    ledger = log.ledger
    ledger.checkpoint()
    (log.folder / "checkpoint").write_bytes(old)
    with pytest.raises(Corrupt, match="went back"):
        ledger.checkpoint()
    other = make_log(tmp_path / "fork")
    other.grow(30)
    shutil.rmtree(log.folder / "tile")
    shutil.copytree(other.folder / "tile", log.folder / "tile")
    shutil.copy(other.folder / "checkpoint", log.folder / "checkpoint")
    with pytest.raises(Corrupt, match="does not follow"):
        ledger.checkpoint()
    other.close()
