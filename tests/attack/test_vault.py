"""Whoever can write the blobs or the rows tries to hand over other bytes than were stored. Success rate to reach: 0."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fastness.core.clock import SystemClock, system_entropy
from fastness.core.digests import BlobId
from fastness.core.errors import Corrupt, FastnessError, NotFound
from fastness.core.identity import DEFAULT_TENANT, PrincipalId, Scope, TenantId
from fastness.core.sources import BytesSource
from fastness.foundation.crypto import SealedKeyRing
from fastness.foundation.storage import FileBlobs, SqliteRecords
from fastness.foundation.storage.contracts import Exempt
from fastness.foundation.vault import LoadTicket, Vault
from fastness.foundation.vault.tables import BLOBS, DATA_KEYS

STEP = (1 << 18) - 32
ALICE = Scope(DEFAULT_TENANT, PrincipalId("user:alice"))
MALLORY = Scope(TenantId("mallory"), PrincipalId("user:mallory"))
NOW = SystemClock().now()


@dataclasses.dataclass
class Target:
    """A stored blob, another of the same size, and all that an attacker of the disk can reach."""

    folder: Path
    records: SqliteRecords
    vault: Vault
    data: bytes
    ticket: LoadTicket
    other: LoadTicket

    def path(self, blob: str) -> Path:
        return self.folder / blob[:2] / blob

    def put(self, data: bytes, scope: Scope) -> LoadTicket:
        candidate = self.vault.intake(BytesSource("m", data), scope, NOW)
        with self.records.begin(scope, NOW) as tx:
            blob = self.vault.commit(tx, candidate)
        return self.look(blob, scope)

    def look(self, blob: BlobId, scope: Scope = ALICE) -> LoadTicket:
        with self.records.read(scope) as reading:
            return self.vault.ticket(reading, blob)


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
    records = SqliteRecords(":memory:", system_entropy)
    records.create_all()
    blobs = FileBlobs(tmp_path)
    vault = Vault(blobs, SealedKeyRing.in_memory(system_entropy), system_entropy)
    rng = random.Random(3)
    data, decoy = rng.randbytes(3 * STEP + 1000), rng.randbytes(3 * STEP + 1000)
    house = Target(tmp_path, records, vault, data, None, None)
    house.ticket, house.other = house.put(data, ALICE), house.put(decoy, ALICE)
    yield house
    records.close()


def attempt(target: Target, ticket: LoadTicket | None = None) -> str:
    """Open and read everything in all three ways; the code of the refusal. Fails if any other bytes come out."""
    codes = set()
    for read in (_whole, _in_parts, _in_order):
        try:
            found = read(target, ticket or target.ticket)
        except FastnessError as error:
            codes.add(error.code)
        else:
            pytest.fail("accepted" + ("" if found == target.data else ", with other bytes"))
    assert len(codes) == 1
    return codes.pop()


def _whole(target: Target, ticket: LoadTicket) -> bytes:
    room = bytearray(b"\xaa" * ticket.size)
    with target.vault.open(ticket) as segments:
        try:
            segments.read_into(memoryview(room))
        except FastnessError:
            assert not any(room), "plain text was left in the buffer"
            raise
    return bytes(room)


def _in_parts(target: Target, ticket: LoadTicket) -> bytes:
    with target.vault.open(ticket) as segments:
        return b"".join(segments.read_at(at, 100_000) for at in range(0, ticket.size, 100_000))


def _in_order(target: Target, ticket: LoadTicket) -> bytes:
    with target.vault.open(ticket) as segments:
        return b"".join(bytes(piece) for piece in segments)


def test_a_flipped_bit_anywhere(target: Target) -> None:
    path = target.path(target.ticket.blob)
    content = path.read_bytes()
    rng = random.Random(4)
    borders = [74 + n * (STEP + 32) + k for n in range(4) for k in (0, 3, 4, 15, 16, 17)]
    places = [*range(0, 74, 3), 73, *borders, len(content) - 1, len(content) - 16, len(content) - 17]
    for at in places + [rng.randrange(len(content)) for _ in range(20)]:
        path.write_bytes(content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :])
        assert attempt(target) == "blob-corrupt", at
    path.write_bytes(content)
    assert _whole(target, target.ticket) == target.data


SEALED = STEP + 32
CHANGES: dict[str, Callable[[bytes, bytes], bytes]] = {
    "empty": lambda own, _: b"",
    "only the header": lambda own, _: own[:74],
    "half a header": lambda own, _: own[:40],
    "one byte less": lambda own, _: own[:-1],
    "one byte more": lambda own, _: own + b"\0",
    "last segment cut off": lambda own, _: own[: 74 + 3 * SEALED],
    "cut at the first border": lambda own, _: own[: 74 + SEALED],
    "last segment twice": lambda own, _: own + own[74 + 3 * SEALED :],
    "two segments swapped": lambda own, _: (
        own[:74] + own[74 + SEALED : 74 + 2 * SEALED] + own[74 : 74 + SEALED] + own[74 + 2 * SEALED :]
    ),
    "a segment twice": lambda own, _: own[: 74 + SEALED] + own[74 : 74 + SEALED] + own[74 + 2 * SEALED :],
    "a segment of another blob": lambda own, other: own[:74] + other[74 : 74 + SEALED] + own[74 + SEALED :],
    "all segments of another blob": lambda own, other: own[:74] + other[74:],
    "another blob's header": lambda own, other: other[:74] + own[74:],
    "another blob": lambda _, other: other,
    "zeros": lambda own, _: bytes(len(own)),
    "a bigger segment length": lambda own, _: own[:2] + (1 << 20).to_bytes(4, "big") + own[6:],
    "an absurd segment length": lambda own, _: own[:2] + b"\xff\xff\xff\xff" + own[6:],
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_container(target: Target, change: str) -> None:
    path = target.path(target.ticket.blob)
    path.write_bytes(CHANGES[change](path.read_bytes(), target.path(target.other.blob).read_bytes()))
    assert attempt(target) == "blob-corrupt"


def test_a_deleted_container(target: Target) -> None:
    target.path(target.ticket.blob).unlink()
    assert attempt(target) == "blob-missing"


def test_a_container_that_changes_while_it_is_read(target: Target) -> None:
    path = target.path(target.ticket.blob)
    with target.vault.open(target.ticket) as segments:
        assert segments.read_at(0, 10) == target.data[:10]
        path.write_bytes(target.path(target.other.blob).read_bytes())
        with pytest.raises(Corrupt):
            segments.read_at(STEP, 10)
        path.write_bytes(path.read_bytes()[:100])
        with pytest.raises(Corrupt):
            segments.read_at(2 * STEP, 10)
        path.unlink()
        with pytest.raises(NotFound):
            segments.read_at(2 * STEP, 10)


ROWS: dict[str, tuple[str, dict[str, object]]] = {
    "another size": ("blob-corrupt", {"size": 3 * STEP + 999}),
    "a smaller size": ("blob-corrupt", {"size": STEP}),
    "an empty blob": ("blob-corrupt", {"size": 0}),
    "an absurd size": ("blob-corrupt", {"size": 1 << 60}),
}


@pytest.mark.parametrize("row", ROWS)
def test_a_changed_row(target: Target, row: str) -> None:
    code, values = ROWS[row]
    _overwrite(target, BLOBS.update().where(BLOBS.c.id == target.ticket.blob).values(**values))
    with pytest.raises(Corrupt) as caught:
        target.vault.open(target.look(target.ticket.blob))
    assert caught.value.code == code


def test_the_wrapped_key_of_another_blob(target: Target) -> None:
    swapped = dataclasses.replace(target.ticket, key=target.other.key)
    assert attempt(target, swapped) == "key-corrupt"
    _overwrite(
        target,
        DATA_KEYS.update().where(DATA_KEYS.c.blob == target.ticket.blob).values(wrapped=target.other.key.wrapped),
    )
    assert attempt(target, target.look(target.ticket.blob)) == "key-corrupt"


def test_another_blobs_container_together_with_its_key(target: Target) -> None:
    # Container and wrapped key of the other blob, under this blob's name: the context of the key names the blob.
    target.path(target.ticket.blob).write_bytes(target.path(target.other.blob).read_bytes())
    assert attempt(target, dataclasses.replace(target.ticket, key=target.other.key)) == "key-corrupt"


def test_a_row_taken_to_another_tenant(target: Target) -> None:
    target.put(b"mallory has a key of her own", MALLORY)
    for table in (BLOBS, DATA_KEYS):
        column = table.c.id if table is BLOBS else table.c.blob
        _overwrite(target, table.update().where(column == target.ticket.blob).values(tenant=MALLORY.tenant))
    with pytest.raises(NotFound):
        target.look(target.ticket.blob)
    assert attempt(target, target.look(target.ticket.blob, MALLORY)) == "key-corrupt"


@pytest.mark.parametrize("values", [{"epoch": 2}, {"kek_version": 2}, {"kek_id": "kek-" + "0" * 32}, {"wrapped": b""}])
def test_a_changed_key_row(target: Target, values: dict[str, object]) -> None:
    _overwrite(target, DATA_KEYS.update().where(DATA_KEYS.c.blob == target.ticket.blob).values(**values))
    assert attempt(target, target.look(target.ticket.blob)) in {"key-corrupt", "key-unknown"}


def test_a_tenant_cannot_confirm_that_another_has_a_file(target: Target) -> None:
    """Deduplication across tenants would tell; here the same bytes give another blob and the same answer."""
    mine = target.put(target.data, MALLORY)
    assert mine.blob not in {target.ticket.blob, target.other.blob}
    own, theirs = (target.path(t.blob).read_bytes() for t in (target.ticket, mine))
    assert len(own) == len(theirs)
    assert own[74:200] != theirs[74:200]


def test_keeping_the_file_does_not_survive_shredding(target: Target) -> None:
    kept = target.path(target.ticket.blob).read_bytes()
    with target.records.begin(ALICE, NOW) as tx:
        target.vault.shred(tx, target.ticket.blob)
    with target.records.read(ALICE) as reading:
        target.vault.sweep(reading, NOW, -1)
    target.path(target.ticket.blob).write_bytes(kept)
    with pytest.raises(NotFound, match="shredded"):
        target.look(target.ticket.blob)
    with target.records.read(ALICE) as reading:
        rows = reading.execute(DATA_KEYS.select().where(DATA_KEYS.c.blob == target.ticket.blob))
    assert len(rows) == 0


def _overwrite(target: Target, statement: object) -> None:
    """Change rows as one who has the database file would: beside the vault."""

    with target.records.begin_unrecorded(ALICE, NOW, Exempt.PROJECTION) as tx:
        tx.execute(statement)
