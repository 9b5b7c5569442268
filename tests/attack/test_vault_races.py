"""Attack: a sweep, a discard or a damaged copy takes away bytes that a commit has promised to keep. Success rate: 0."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastness.core.clock import Instant, SystemClock, system_entropy
from fastness.core.digests import BlobId
from fastness.core.errors import Corrupt, FastnessError
from fastness.core.identity import DEFAULT_TENANT, PrincipalId, Scope
from fastness.core.sources import BytesSource
from fastness.foundation.crypto import SealedKeyRing
from fastness.foundation.storage import FileBlobs, SqliteRecords
from fastness.foundation.vault import Candidate, Vault

ALICE = Scope(DEFAULT_TENANT, PrincipalId("user:alice"))
DATA = b"weights" * 1000


class Place:
    """A vault over real files and records."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.records = SqliteRecords(folder / "records.db", system_entropy)
        self.records.create_all()
        self.vault = Vault(FileBlobs(folder / "blobs"), SealedKeyRing.in_memory(system_entropy), system_entropy)
        self.now = SystemClock().now()

    def intake(self, data: bytes = DATA) -> Candidate:
        return self.vault.intake(BytesSource("m", data), ALICE, self.now)

    def commit(self, candidate: Candidate) -> BlobId:
        with self.records.read(ALICE) as reading:
            self.vault.compare(reading, candidate)
        with self.records.begin(ALICE, self.now) as tx:
            return self.vault.commit(tx, candidate)

    def sweep(self) -> list[BlobId]:
        with self.records.read(ALICE) as reading:
            return self.vault.sweep(reading, Instant(self.now + 10**14), 0)

    def read(self, blob: BlobId) -> bytes:
        with self.records.read(ALICE) as reading:
            ticket = self.vault.ticket(reading, blob)
        with self.vault.open(ticket) as segments:
            return segments.read_at(0, segments.size)

    def path(self, blob: BlobId) -> Path:
        return self.folder / "blobs" / blob[:2] / blob


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.records.close()


def test_a_sweep_runs_between_a_commit_and_its_discard(place: Place) -> None:
    """The sweep forgets what it has seen as a row; the discard at the end of every push must not take that for its own."""
    candidate = place.intake()
    blob = place.commit(candidate)
    assert place.sweep() == []
    place.vault.discard(candidate)
    assert place.read(blob) == DATA


def test_a_sweep_runs_between_a_shared_commit_and_its_discard(place: Place) -> None:
    first = place.commit(place.intake())
    second = place.intake()
    assert place.commit(second) == first
    assert place.sweep() == [second.blob]
    place.vault.discard(second)
    assert place.read(first) == DATA


@pytest.mark.parametrize("at", [0, 40, 2000, -1], ids=["header", "tag", "middle", "end"])
def test_a_damaged_copy_does_not_swallow_the_good_one_pushed_to_mend_it(place: Place, at: int) -> None:
    broken = place.commit(place.intake())
    container = bytearray(place.path(broken).read_bytes())
    container[at] ^= 1
    place.path(broken).write_bytes(container)
    with pytest.raises(Corrupt):
        place.read(broken)
    candidate = place.intake()
    mended = place.commit(candidate)
    place.vault.discard(candidate)
    assert mended != broken
    assert place.read(mended) == DATA
    again = place.intake()
    assert place.commit(again) == mended


def test_many_push_the_same_content_while_a_sweep_never_rests(place: Place) -> None:
    """Every blob that a commit handed out can be read, and no container is left that nobody wants."""
    stop, failures, blobs = threading.Event(), list[BaseException](), list[BlobId]()

    def push(worker: int) -> None:
        try:
            for turn in range(12):
                candidate = place.intake(DATA + bytes([turn % 4, worker % 2]))
                try:
                    blobs.append(place.commit(candidate))
                finally:
                    place.vault.discard(candidate)
        except BaseException as error:
            failures.append(error)

    def sweep() -> None:
        while not stop.is_set():
            try:
                place.sweep()
            except FastnessError as error:
                failures.append(error)

    sweeper = threading.Thread(target=sweep)
    pushers = [threading.Thread(target=push, args=(n,)) for n in range(6)]
    sweeper.start()
    for thread in pushers:
        thread.start()
    for thread in pushers:
        thread.join()
    stop.set()
    sweeper.join()
    assert failures == []
    assert len(blobs) == 72
    assert len(set(blobs)) == 8
    for blob in set(blobs):
        assert place.read(blob).startswith(DATA)
    place.sweep()
    assert {p.name for p in (place.folder / "blobs").rglob("*") if p.is_file()} == set(blobs)
