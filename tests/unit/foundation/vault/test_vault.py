"""The life of a blob: taken in, committed, opened, shared, shredded, swept."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import Executable

from fastness.core.clock import Instant
from fastness.core.digests import BlobId, parse_blob_id
from fastness.core.errors import Conflict, Corrupt, Forbidden, Invalid, NotFound, TooLarge
from fastness.core.events import EventKind
from fastness.core.identity import Scope
from fastness.core.sources import Buffer, BytesSource, digest_of
from fastness.foundation.crypto import DestructionReceipt
from fastness.foundation.storage import Transaction
from fastness.foundation.storage.contracts import Rows, Unrecorded
from fastness.foundation.vault import LoadTicket, Vault
from fastness.foundation.vault.records import add_blob, add_reference
from fastness.foundation.vault.tables import BLOBS

if TYPE_CHECKING:
    from tests.unit.foundation.vault.conftest import House

STEP = (1 << 18) - 32
SIZES = [0, 1, 1000, STEP - 1, STEP, STEP + 1, 2 * STEP, 3 * STEP + 17]


class Pieces:
    """A source in pieces of given lengths, whose buffer is overwritten between them, as the contract allows."""

    def __init__(self, data: bytes, *lengths: int) -> None:
        self.name = "pieces"
        self._data = data
        self._lengths = lengths

    def chunks(self) -> Iterator[Buffer]:
        at, turn = 0, 0
        while at < len(self._data):
            piece = bytearray(self._data[at : at + self._lengths[turn % len(self._lengths)]])
            yield piece
            at, turn = at + len(piece), turn + 1
            piece[:] = b"\xee" * len(piece)


class Failing:
    name = "failing"

    def chunks(self) -> Iterator[Buffer]:
        yield bytes(STEP + 1)
        raise ConnectionResetError("the client went away")


class LateView:
    """A transaction on a database with row locks: what another one just committed shows only when it is in the way."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx
        self._looked = False

    def execute(self, statement: Executable) -> Rows:
        if not self._looked:
            self._looked = True
            return Rows([], 0)
        return self._tx.execute(statement)

    def __getattr__(self, name: str) -> object:
        return getattr(self._tx, name)


class Overtaken:
    """A transaction that another one overtakes between its first look at the blob and what it does then."""

    def __init__(self, tx: Transaction, blob: BlobId) -> None:
        self._tx = tx
        self._blob = blob

    def execute(self, statement: Executable) -> Rows:
        rows = self._tx.execute(statement)
        if statement.is_select:
            add_reference(self._tx, self._blob)
        return rows

    def __getattr__(self, name: str) -> object:
        return getattr(self._tx, name)


def some_bytes(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def put(house: House, data: bytes, scope: Scope | None = None) -> LoadTicket:
    scope = scope or house.scope
    candidate = house.vault.intake(BytesSource("model", data), scope, house.clock.now())
    with house.records.begin(scope, house.clock.now()) as tx:
        blob = house.vault.commit(tx, candidate)
    return ticket(house, blob, scope)


def ticket(house: House, blob: BlobId, scope: Scope | None = None) -> LoadTicket:
    with house.records.read(scope or house.scope) as reading:
        return house.vault.ticket(reading, blob)


def shred(house: House, blob: BlobId) -> DestructionReceipt:
    with house.records.begin(house.scope, house.clock.now()) as tx:
        return house.vault.shred(tx, blob)


def sweep(house: House, older_than_s: float = 3600) -> list[BlobId]:
    with house.records.read(house.scope) as reading:
        return house.vault.sweep(reading, house.clock.now(), older_than_s)


@pytest.mark.parametrize("size", SIZES)
def test_what_is_taken_in_comes_out(house: House, size: int) -> None:
    data = some_bytes(size)
    candidate = house.vault.intake(BytesSource("model.onnx", data), house.scope, house.clock.now())
    assert candidate.digest == "sha256:" + hashlib.sha256(data).hexdigest()
    assert candidate.size == size
    assert parse_blob_id(candidate.blob) == candidate.blob
    with house.vault.open(candidate) as segments:
        assert (segments.name, segments.size) == ("model.onnx", size)
        target = bytearray(size + 3)
        assert segments.read_into(memoryview(target)) == size
        assert target == data + bytes(3)
        assert b"".join(bytes(piece) for piece in segments) == data
        assert digest_of(segments) == candidate.digest


@pytest.mark.parametrize("lengths", [(1 << 20,), (7,), (STEP,), (STEP + 1,), (1, STEP, 3), (STEP - 1, 1, 2 * STEP)])
def test_the_pieces_of_the_source_do_not_matter(house: House, lengths: tuple[int, ...]) -> None:
    data = some_bytes(3 * STEP + 5 if 7 not in lengths else STEP + 5)
    seen: list[int] = []
    candidate = house.vault.intake(Pieces(data, *lengths), house.scope, house.clock.now(), seen.append)
    assert candidate.digest == "sha256:" + hashlib.sha256(data).hexdigest()
    assert house.path(candidate.blob).stat().st_size == 74 + len(data) + 32 * -(-len(data) // STEP)
    assert seen[-1] == len(data)
    assert seen == sorted(seen)
    with house.vault.open(candidate) as segments:
        assert segments.read_at(0, len(data)) == data


def test_nothing_of_the_plain_text_is_on_the_disk(house: House) -> None:
    data = b"a very secret weight matrix " * 20_000
    stored = put(house, data)
    files = [p for p in (house.folder / "blobs").rglob("*") if p.is_file()]
    assert [p.name for p in files] == [stored.blob]
    assert b"secret weight" not in files[0].read_bytes()


def test_reads_at_any_place(house: House) -> None:
    data = some_bytes(3 * STEP + 100)
    with house.vault.open(put(house, data)) as segments:
        rng = random.Random(2)
        places = [(0, 0), (len(data), 5), (len(data) + 5, 5), (STEP - 1, 2), (0, 1 << 30), (STEP, STEP), (10, 2 * STEP)]
        places += [(rng.randrange(len(data)), rng.randrange(STEP)) for _ in range(40)]
        for offset, length in places:
            assert segments.read_at(offset, length) == data[offset : offset + length], (offset, length)
        for offset, length in [(-1, 1), (0, -1)]:
            with pytest.raises(Invalid):
                segments.read_at(offset, length)


def test_a_small_read_touches_one_segment_only(house: House) -> None:
    stored = put(house, some_bytes(4 * STEP))
    content = bytearray(house.path(stored.blob).read_bytes())
    content[74 + 2 * (STEP + 32) + 100] ^= 1
    house.path(stored.blob).write_bytes(content)
    with house.vault.open(stored) as segments:
        assert segments.read_at(0, 2 * STEP) == some_bytes(4 * STEP)[: 2 * STEP]
        assert segments.read_at(3 * STEP, 5) == some_bytes(4 * STEP)[3 * STEP : 3 * STEP + 5]
        with pytest.raises(Corrupt):
            segments.read_at(2 * STEP, 1)


def test_a_closed_blob_reads_nothing(house: House) -> None:
    segments = house.vault.open(put(house, b"data"))
    pieces = iter(segments)
    assert segments.read_at(0, 1) == b"d"
    segments.close()
    assert not any(segments._plain)
    with pytest.raises(Invalid):
        segments.read_at(0, 1)
    with pytest.raises(Invalid):
        segments.read_into(memoryview(bytearray(4)))
    with pytest.raises(Invalid):
        next(pieces)


def test_a_target_that_is_too_short_is_refused(house: House) -> None:
    with house.vault.open(put(house, b"data")) as segments, pytest.raises(TooLarge):
        segments.read_into(memoryview(bytearray(3)))


def test_intake_writes_no_row_and_commit_says_what_it_did(house: House) -> None:
    candidate = house.vault.intake(BytesSource("m", b"data"), house.scope, house.clock.now())
    assert house.events() == []
    with house.records.begin(house.scope, house.clock.now()) as tx:
        blob = house.vault.commit(tx, candidate)
    assert blob == candidate.blob
    (event,) = house.events()
    assert event.kind == EventKind.BLOB_COMMITTED
    assert event.resource == f"blob:{blob}"
    assert event.details == {"digest": candidate.digest, "size": 4, "deduplicated": False}


def test_a_source_that_fails_leaves_nothing(house: House) -> None:
    with pytest.raises(ConnectionResetError):
        house.vault.intake(Failing(), house.scope, house.clock.now())
    assert [p for p in (house.folder / "blobs").rglob("*") if p.is_file()] == []
    assert house.vault._own == {}


def test_an_undone_commit_leaves_the_candidate_to_be_committed_again(house: House) -> None:
    candidate = house.vault.intake(BytesSource("m", b"data"), house.scope, house.clock.now())
    with pytest.raises(ZeroDivisionError), house.records.begin(house.scope, house.clock.now()) as tx:
        house.vault.commit(tx, candidate)
        _ = 1 / 0
    house.vault.discard(candidate)  # it was committed once, so this does not touch the container
    with house.records.begin(house.scope, house.clock.now()) as tx:
        blob = house.vault.commit(tx, candidate)
    with house.vault.open(ticket(house, blob)) as segments:
        assert segments.read_at(0, 4) == b"data"


def test_the_same_content_is_stored_once_in_a_tenant_and_never_across(house: House) -> None:
    first = put(house, b"data")
    second = house.vault.intake(BytesSource("m", b"data"), house.scope, house.clock.now())
    with house.records.begin(house.scope, house.clock.now()) as tx:
        assert house.vault.commit(tx, second) == first.blob
    assert house.events()[-1].details["deduplicated"] is True
    assert house.path(second.blob).exists()
    house.vault.discard(second)
    assert not house.path(second.blob).exists()
    other = put(house, b"data", house.other)
    assert other.blob != first.blob
    house.vault.discard(second)  # twice does no harm


def test_content_ids_do_not_tell_the_content(house: House) -> None:
    put(house, b"data")
    put(house, b"data", house.other)
    with house.records.read(house.scope) as reading:
        ids = [row.content_id for row in reading.execute(BLOBS.select())]
    assert len(set(ids)) == 2
    assert hashlib.sha256(b"data").hexdigest() not in ids


def test_a_tenant_commits_only_what_it_took_in(house: House) -> None:
    candidate = house.vault.intake(BytesSource("m", b"data"), house.scope, house.clock.now())
    with pytest.raises(Forbidden), house.records.begin(house.other, house.clock.now()) as tx:
        house.vault.commit(tx, candidate)


def test_a_tenant_sees_and_shreds_only_its_own(house: House) -> None:
    blob = put(house, b"data").blob
    with house.records.read(house.other) as reading, pytest.raises(NotFound) as caught:
        house.vault.ticket(reading, blob)
    assert caught.value.code == "blob-unknown"
    with pytest.raises(NotFound), house.records.begin(house.other, house.clock.now()) as tx:
        house.vault.shred(tx, blob)
    assert ticket(house, blob).blob == blob


def test_a_container_that_is_gone_is_not_committed(house: House) -> None:
    candidate = house.vault.intake(BytesSource("m", b"data"), house.scope, house.clock.now())
    house.path(candidate.blob).unlink()
    with pytest.raises(NotFound) as caught, house.records.begin(house.scope, house.clock.now()) as tx:
        house.vault.commit(tx, candidate)
    assert caught.value.code == "blob-missing"


def test_the_same_content_replaces_a_copy_that_was_lost(house: House) -> None:
    lost = put(house, b"data")
    house.path(lost.blob).unlink()
    again = put(house, b"data")
    assert again.blob != lost.blob
    with house.vault.open(again) as segments:
        assert segments.read_at(0, 4) == b"data"
    with house.records.read(house.scope) as reading:
        assert house.vault.missing(reading) == [lost.blob]


def test_two_who_commit_the_same_content_at_once_share_it(house: House) -> None:
    one, two = (house.vault.intake(BytesSource("m", b"data"), house.scope, house.clock.now()) for _ in range(2))
    with house.records.begin(house.scope, house.clock.now()) as tx:
        house.vault.commit(tx, one)
    with house.records.begin(house.scope, house.clock.now()) as tx:
        assert house.vault.commit(LateView(tx), two) == one.blob


def test_shredding_takes_the_key_away_for_good(house: House) -> None:
    stored = put(house, b"data")
    receipt = shred(house, stored.blob)
    assert receipt.destroyed
    assert receipt.subject == f"blob:{stored.blob}"
    assert receipt.fingerprint == hashlib.sha256(stored.key.wrapped).hexdigest()
    assert house.events()[-1].kind == EventKind.BLOB_SHREDDED
    assert house.events()[-1].details["fingerprint"] == receipt.fingerprint
    with pytest.raises(NotFound) as caught:
        ticket(house, stored.blob)
    assert caught.value.code == "blob-shredded"
    with pytest.raises(NotFound, match="shredded"):
        shred(house, stored.blob)
    assert sweep(house, 0) == [stored.blob]
    with pytest.raises(NotFound) as caught:
        house.vault.open(stored)  # a ticket kept from before finds no container
    assert caught.value.code == "blob-missing"
    again = put(house, b"data")
    assert again.blob != stored.blob


def test_a_shared_blob_is_shredded_by_its_last_user(house: House) -> None:
    stored = put(house, b"data")
    put(house, b"data")
    assert not shred(house, stored.blob).destroyed
    assert house.events()[-1].kind == EventKind.BLOB_RELEASED
    with house.vault.open(ticket(house, stored.blob)) as segments:
        assert segments.read_at(0, 4) == b"data"
    assert shred(house, stored.blob).destroyed


def test_destroying_the_tenants_key_shreds_all_it_has(house: House) -> None:
    mine, theirs = put(house, b"data"), put(house, b"data", house.other)
    house.ring.destroy(mine.key.key_id)
    with pytest.raises(NotFound) as caught:
        house.vault.open(mine)
    assert caught.value.code == "key-destroyed"
    house.vault.open(theirs).close()


def test_rotating_the_key_keeps_old_blobs_readable(house: House) -> None:
    old = put(house, b"old")
    house.ring.rotate(old.key.key_id)
    new = put(house, b"new")
    assert (old.key.version, new.key.version) == (1, 2)
    for stored, data in ((old, b"old"), (new, b"new")):
        with house.vault.open(stored) as segments:
            assert segments.read_at(0, 3) == data


def test_the_sweep_takes_what_no_row_knows_and_nothing_else(house: House) -> None:
    stored = put(house, b"stored")
    in_work = house.vault.intake(BytesSource("m", b"in work"), house.scope, house.clock.now())
    crashed = Vault(house.blobs, house.ring, house.vault._entropy)  # what another process had left behind
    left = crashed.intake(BytesSource("m", b"left"), house.scope, house.clock.now())
    assert sweep(house) == []
    house.clock.advance(3599)
    assert sweep(house) == []
    house.clock.advance(2)
    young = crashed.intake(BytesSource("m", b"young"), house.scope, house.clock.now())
    assert sweep(house) == [left.blob]
    assert set(house.blobs.ids()) == {stored.blob, in_work.blob, young.blob}
    house.vault.discard(in_work)
    assert sweep(house, 0) == [young.blob]
    assert list(house.blobs.ids()) == [stored.blob]


def test_a_copy_that_nobody_discarded_is_swept(house: House) -> None:
    stored = put(house, b"data")
    put(house, b"data")
    assert len(list(house.blobs.ids())) == 2
    house.clock.advance(3601)
    assert len(sweep(house)) == 1
    assert list(house.blobs.ids()) == [stored.blob]


def test_a_commit_that_was_just_made_is_not_swept_by_an_older_view(house: House) -> None:
    with house.records.read(house.scope) as reading:
        list(house.vault.missing(reading))  # the view begins here
        stored = put(house, b"data")
        assert house.vault.sweep(reading, Instant(house.clock.now() + 10**14)) == []
    house.vault.open(stored).close()


def test_missing_containers_are_named(house: House) -> None:
    kept, lost = put(house, b"kept"), put(house, b"lost", house.other)
    house.path(lost.blob).unlink()
    with house.records.read(house.scope) as reading:
        assert house.vault.missing(reading) == [lost.blob]
    assert kept.blob != lost.blob


def test_rows_need_their_event(house: House) -> None:
    candidate = house.vault.intake(BytesSource("m", b"data"), house.scope, house.clock.now())
    with pytest.raises(Unrecorded), house.records.begin(house.scope, house.clock.now()) as tx:
        add_blob(tx, candidate, "0" * 64)


def test_a_change_at_the_same_time_is_a_conflict(house: House) -> None:
    stored = put(house, b"data")
    with pytest.raises(Conflict), house.records.begin(house.scope, house.clock.now()) as tx:
        house.vault.shred(Overtaken(tx, stored.blob), stored.blob)
    assert ticket(house, stored.blob) == stored
