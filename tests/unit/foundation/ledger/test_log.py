from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fastness.core.errors import Corrupt, Invalid, NotFound
from fastness.core.events import EventKind
from fastness.foundation.ledger import verify_consistency, verify_inclusion
from tests.unit.foundation.ledger.parts import NOW, Log, make_log

PUSHED, MOVED = EventKind.MODEL_PUSHED, EventKind.ALIAS_MOVED


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    made = make_log(tmp_path)
    yield made
    made.close()


def test_a_log_that_never_ran(log: Log) -> None:
    ledger = log.ledger
    with pytest.raises(NotFound) as caught:
        ledger.checkpoint()
    assert caught.value.code == "checkpoint-missing"
    with pytest.raises(NotFound):
        ledger.find(PUSHED)
    assert list(ledger.tail(-1)) == []


def test_the_tail_goes_on_where_it_ended(log: Log) -> None:
    log.grow(5)
    ledger = log.ledger
    assert [e.index for e in ledger.tail(-1)] == [0, 1, 2, 3, 4]
    assert [e.event.resource for e in ledger.tail(2)] == ["model:3", "model:4"]
    assert list(ledger.tail(4)) == []
    log.grow(1)
    assert [e.index for e in ledger.tail(4)] == [5]


def test_the_tail_hands_out_the_kinds_asked_for(log: Log) -> None:
    log.grow(3)
    log.emit(2, MOVED)
    log.grow(1)
    assert [e.index for e in log.ledger.tail(-1, {MOVED})] == [3, 4]
    assert list(log.ledger.tail(-1, set())) == []


def test_the_tail_is_long(log: Log) -> None:
    log.grow(5000)
    assert [e.index for e in log.ledger.tail(-1)] == list(range(5000))


def test_find_gives_the_newest_first(log: Log) -> None:
    log.grow(4)
    log.emit(3, MOVED, "alias:a")
    log.emit(1, MOVED, "alias:b")
    log.grow(4)
    ledger = log.ledger
    assert [e.index for e in ledger.find(MOVED)] == [7, 6, 5, 4]
    assert [e.index for e in ledger.find(MOVED, "alias:a", 2)] == [6, 5]
    assert [e.index for e in ledger.find(PUSHED, "model:1")] == [9, 1]
    assert ledger.find(MOVED, "alias:c") == []
    assert ledger.find(EventKind.KEY_REVOKED) == []
    assert ledger.find(MOVED, limit=0) == []
    assert len(ledger.find(PUSHED, limit=3)) == 3


def test_find_sees_what_is_numbered_and_not_yet_signed(log: Log) -> None:
    log.grow(2)
    log.emit(1, MOVED, "alias:a")
    log.records.outbox.number(None, 0, NOW)
    assert [e.index for e in log.ledger.find(MOVED)] == [2]


def test_proofs_from_tiles_hold(log: Log) -> None:
    log.grow(300)
    old = log.ledger.checkpoint()
    log.grow(700)
    ledger = log.ledger
    new = ledger.checkpoint()
    entries = {e.index: e for e in ledger.tail(-1)}
    for index in (0, 1, 255, 256, 299):
        for signed in (old, new):
            verify_inclusion(entries[index].data, index, signed.size, signed.root, ledger.inclusion(index, signed.size))
    verify_inclusion(entries[999].data, 999, 1000, new.root, ledger.inclusion(999, 1000))
    assert verify_consistency(300, old.root, 1000, new.root, ledger.consistency(300, 1000)) == 1000


def test_no_proof_of_what_is_not_signed(log: Log) -> None:
    log.grow(10)
    with pytest.raises(NotFound) as caught:
        log.ledger.inclusion(0, 11)
    assert caught.value.code == "proof-size"
    with pytest.raises(NotFound):
        log.ledger.consistency(5, 11)
    with pytest.raises(Invalid):
        log.ledger.inclusion(10, 10)
    with pytest.raises(Invalid):
        log.ledger.consistency(7, 5)


def test_one_reader_follows_a_growing_log(log: Log) -> None:
    ledger = log.ledger
    log.grow(250)
    for size in range(260, 300, 10):
        assert ledger.checkpoint().size == size - 10
        assert len(ledger.find(PUSHED, limit=7)) == 7
        log.grow(10)
    assert ledger.check_rows(50) > 0
    assert ledger.check_rows(1_000_000) == 0


def test_a_log_in_a_file_is_read_by_another_object(tmp_path: Path) -> None:
    log = make_log(tmp_path, "records.db")
    log.grow(3)
    assert len(log.ledger.find(PUSHED)) == 3
    log.close()


def test_a_wrong_key_opens_nothing(log: Log) -> None:
    from fastness.foundation.ledger import Ledger
    from fastness.foundation.ledger.checkpoint import origin_of, verifier_key

    log.grow(1)
    other = bytes(32)
    with pytest.raises(Corrupt):
        Ledger(log.folder, log.records, verifier_key(origin_of(other), other)).checkpoint()
