"""The ring's folder: files that nobody else reads, and no byte that can be changed unseen."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import threading
from pathlib import Path

import msgspec
import pytest

from fastness.core.clock import system_entropy
from fastness.core.digests import BlobId
from fastness.core.errors import (
    Conflict,
    Corrupt,
    FastnessError,
    Forbidden,
    Invalid,
    NotFound,
    Unauthenticated,
    Unavailable,
)
from fastness.core.identity import TenantId
from fastness.core.secrets import SecretBytes
from fastness.foundation.crypto import KeyContext, Purpose, SealedKeyRing, Unlock
from fastness.foundation.crypto.unlock import RootRecord, ScryptCost, open_root

CHEAP = ScryptCost(log_n=14)
CONTEXT = KeyContext(TenantId("default"), BlobId("a" * 64), 1)


@pytest.fixture
def unlock(tmp_path: Path) -> Unlock:
    return Unlock.new_key_file(tmp_path / "unlock.key", system_entropy)


@pytest.fixture
def ring(tmp_path: Path, unlock: Unlock) -> SealedKeyRing:
    return SealedKeyRing.create(tmp_path / "keyring", unlock, system_entropy)


def passphrase(text: bytes, cost: ScryptCost = CHEAP) -> Unlock:
    return Unlock.passphrase(SecretBytes(text), cost)


def test_what_was_made_is_there_after_opening_again(tmp_path: Path, unlock: Unlock, ring: SealedKeyRing) -> None:
    wrapped = ring.wrap(SecretBytes(bytes(32)), CONTEXT)
    again = SealedKeyRing.open(tmp_path / "keyring", unlock)
    assert bytes(again.unwrap(wrapped, CONTEXT).reveal()) == bytes(32)
    assert again.signer(Purpose.ATTEST).keyid == ring.signer(Purpose.ATTEST).keyid
    assert again.mac(Purpose.DEDUP).digest(b"x") == ring.mac(Purpose.DEDUP).digest(b"x")


def test_files_are_for_the_owner_and_hold_no_key(tmp_path: Path, ring: SealedKeyRing) -> None:
    ring.seal("token", SecretBytes(b"a secret of the house"))
    folder = tmp_path / "keyring"
    pepper = bytes(ring.mac(Purpose.KEY_PEPPER).export().reveal())
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        content = path.read_bytes()
        assert pepper not in content
        assert b"a secret of the house" not in content
    assert stat.S_IMODE((tmp_path / "unlock.key").stat().st_mode) == 0o600
    assert not [p for p in folder.iterdir() if p.name.startswith(".")]


def test_nothing_is_overwritten(tmp_path: Path, unlock: Unlock, ring: SealedKeyRing) -> None:
    before = {p.name: p.read_bytes() for p in (tmp_path / "keyring").iterdir()}
    with pytest.raises(Conflict) as caught:
        SealedKeyRing.create(tmp_path / "keyring", unlock, system_entropy)
    assert caught.value.code == "keyring-exists"
    assert before == {p.name: p.read_bytes() for p in (tmp_path / "keyring").iterdir()}
    with pytest.raises(Conflict):
        Unlock.new_key_file(tmp_path / "unlock.key", system_entropy)
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for taken in ("file", "link"):
        with pytest.raises(Conflict):
            SealedKeyRing.create(tmp_path / taken, unlock, system_entropy)


def test_an_empty_folder_may_become_a_ring(tmp_path: Path, unlock: Unlock) -> None:
    (tmp_path / "empty").mkdir()
    SealedKeyRing.create(tmp_path / "empty", unlock, system_entropy)
    SealedKeyRing.open(tmp_path / "empty", unlock)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty", "unlock.key"]


def test_a_wrong_passphrase_is_not_damage(tmp_path: Path) -> None:
    SealedKeyRing.create(tmp_path / "keyring", passphrase(b"correct horse"), system_entropy)
    SealedKeyRing.open(tmp_path / "keyring", passphrase(b"correct horse"))
    for wrong in (b"correct horsf", b"correct horse ", b"x" * 100):
        with pytest.raises(Unauthenticated) as caught:
            SealedKeyRing.open(tmp_path / "keyring", passphrase(wrong))
        assert caught.value.code == "keyring-locked"
        assert "horse" not in str(caught.value)


def test_the_shipped_cost_is_stored_and_used(tmp_path: Path) -> None:
    SealedKeyRing.create(tmp_path / "keyring", Unlock.passphrase(SecretBytes(b"correct horse")), system_entropy)
    stored = json.loads((tmp_path / "keyring" / "root.json").read_bytes())
    assert stored["cost"] == {"log_n": 17, "r": 8, "p": 1}
    SealedKeyRing.open(tmp_path / "keyring", passphrase(b"correct horse"))  # the stored cost counts when opening


def test_the_other_kind_of_unlock_does_not_open(tmp_path: Path, unlock: Unlock, ring: SealedKeyRing) -> None:
    with pytest.raises(Unauthenticated, match="opens with a key-file"):
        SealedKeyRing.open(tmp_path / "keyring", passphrase(b"correct horse"))
    other = Unlock.new_key_file(tmp_path / "other.key", system_entropy)
    with pytest.raises(Unauthenticated, match="does not open"):
        SealedKeyRing.open(tmp_path / "keyring", other)


def test_every_flipped_byte_of_every_file_is_seen(tmp_path: Path, unlock: Unlock, ring: SealedKeyRing) -> None:
    ring.wrap(SecretBytes(bytes(32)), CONTEXT)
    accepted, codes = [], set()
    for path in sorted((tmp_path / "keyring").iterdir()):
        content = path.read_bytes()
        for at in range(len(content)):
            for bit in (1, 0x20):
                path.write_bytes(content[:at] + bytes([content[at] ^ bit]) + content[at + 1 :])
                try:
                    SealedKeyRing.open(tmp_path / "keyring", unlock)
                    accepted.append((path.name, at, bit))
                except Corrupt as error:
                    codes.add(error.code)
        path.write_bytes(content)
    assert not accepted
    assert codes == {"keyring-corrupt"}
    SealedKeyRing.open(tmp_path / "keyring", unlock)


@pytest.mark.parametrize("content", [b"", b"{}", b"null", b"\xff", b"[" * 10_000, b" " * (2 << 20)])
def test_files_of_another_form_are_damage(tmp_path: Path, unlock: Unlock, ring: SealedKeyRing, content: bytes) -> None:
    for name in ("root.json", "attest.sealed"):
        path = tmp_path / "keyring" / name
        before = path.read_bytes()
        path.write_bytes(content)
        with pytest.raises(Corrupt):
            SealedKeyRing.open(tmp_path / "keyring", unlock)
        path.write_bytes(before)


def test_white_space_is_damage_too(tmp_path: Path, unlock: Unlock, ring: SealedKeyRing) -> None:
    for name in ("root.json", "attest.sealed"):
        path = tmp_path / "keyring" / name
        before = path.read_bytes()
        path.write_bytes(before.replace(b",", b", ", 1))
        with pytest.raises(Corrupt):
            SealedKeyRing.open(tmp_path / "keyring", unlock)
        path.write_bytes(before)


def test_entries_cannot_trade_places_or_rings(tmp_path: Path, unlock: Unlock, ring: SealedKeyRing) -> None:
    folder = tmp_path / "keyring"
    own = (folder / "attest.sealed").read_bytes()
    (folder / "attest.sealed").write_bytes((folder / "alias.sealed").read_bytes())
    with pytest.raises(Corrupt):
        SealedKeyRing.open(folder, unlock)
    SealedKeyRing.create(tmp_path / "second", unlock, system_entropy)
    (folder / "attest.sealed").write_bytes((tmp_path / "second" / "attest.sealed").read_bytes())
    with pytest.raises(Corrupt):
        SealedKeyRing.open(folder, unlock)
    (folder / "attest.sealed").write_bytes(own)
    SealedKeyRing.open(folder, unlock)


def test_a_missing_file_is_named(tmp_path: Path, unlock: Unlock, ring: SealedKeyRing) -> None:
    folder = tmp_path / "keyring"
    (folder / "dedup.sealed").unlink()
    with pytest.raises(Corrupt, match="lacks dedup"):
        SealedKeyRing.open(folder, unlock)
    shutil.rmtree(folder)
    with pytest.raises(NotFound) as caught:
        SealedKeyRing.open(folder, unlock)
    assert caught.value.code == "keyring-missing"


def test_a_ring_made_before_a_purpose_gets_its_key_and_keeps_it(
    tmp_path: Path, unlock: Unlock, ring: SealedKeyRing
) -> None:
    folder = tmp_path / "keyring"
    (folder / "login.sealed").unlink()
    opened = SealedKeyRing.open(folder, unlock)
    again = SealedKeyRing.open(folder, unlock)
    assert opened.mac(Purpose.LOGIN).digest(b"x") == again.mac(Purpose.LOGIN).digest(b"x")
    assert opened.mac(Purpose.DEDUP).digest(b"x") == ring.mac(Purpose.DEDUP).digest(b"x")


@pytest.mark.parametrize(
    "cost", [{"log_n": 30}, {"log_n": 10}, {"r": 1 << 20}, {"p": 1000}, {"r": 1}, {"p": 0}, {"log_n": -1}]
)
def test_stored_costs_are_bounded_before_they_are_spent(tmp_path: Path, cost: dict[str, int]) -> None:
    with pytest.raises(Invalid):
        ScryptCost(**cost)
    SealedKeyRing.create(tmp_path / "keyring", passphrase(b"correct horse"), system_entropy)
    record = json.loads((tmp_path / "keyring" / "root.json").read_bytes())
    record["cost"] |= cost
    record["checksum"] = ""
    record["checksum"] = hashlib.sha256(msgspec.json.encode(record)).hexdigest()
    with pytest.raises(Corrupt):
        open_root(msgspec.json.encode(record), passphrase(b"correct horse"))


def test_a_cheaper_cost_within_bounds_gives_another_root(tmp_path: Path) -> None:
    SealedKeyRing.create(tmp_path / "keyring", passphrase(b"correct horse", ScryptCost(log_n=15)), system_entropy)
    path = tmp_path / "keyring" / "root.json"
    record = msgspec.json.decode(path.read_bytes(), type=RootRecord)
    weaker = msgspec.structs.replace(record, cost=CHEAP, checksum="")
    checksum = hashlib.sha256(msgspec.json.encode(weaker)).hexdigest()
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(weaker, checksum=checksum)))
    with pytest.raises(Unauthenticated):
        SealedKeyRing.open(tmp_path / "keyring", passphrase(b"correct horse"))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o777])
def test_a_key_file_that_others_can_reach_is_refused(tmp_path: Path, unlock: Unlock, mode: int) -> None:
    (tmp_path / "unlock.key").chmod(mode)
    with pytest.raises(Forbidden, match="chmod 600"):
        Unlock.key_file(tmp_path / "unlock.key")


def test_a_key_file_is_a_file_of_some_length(tmp_path: Path, unlock: Unlock) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "unlock.key")
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "folder").mkdir(mode=0o700)
    (tmp_path / "keyring" / "root.json").mkdir(parents=True)
    with pytest.raises(Unavailable):
        SealedKeyRing.open(tmp_path / "keyring", unlock)
    for name in ("link", "pipe", "folder"):
        with pytest.raises(Forbidden):
            Unlock.key_file(tmp_path / name)
    for size in (0, 31, 4097):
        path = tmp_path / f"of-{size}"
        path.touch(mode=0o600)
        path.write_bytes(bytes(size))
        with pytest.raises(Invalid):
            Unlock.key_file(path)
    with pytest.raises(NotFound):
        Unlock.key_file(tmp_path / "missing")


def test_a_short_passphrase_is_refused() -> None:
    with pytest.raises(Invalid) as caught:
        passphrase(b"1234567")
    assert caught.value.code == "passphrase-short"


def test_a_folder_that_cannot_be_written_is_said_so(tmp_path: Path, unlock: Unlock) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(FastnessError) as caught:
        SealedKeyRing.create(tmp_path / "file" / "keyring", unlock, system_entropy)
    assert caught.value.code in {"keyring-unwritable", "keyring-exists"}


def test_a_destroyed_key_is_gone_from_the_disk_and_stays_so(
    tmp_path: Path, unlock: Unlock, ring: SealedKeyRing
) -> None:
    wrapped = ring.wrap(SecretBytes(bytes(32)), CONTEXT)
    path = tmp_path / "keyring" / f"{wrapped.key_id}.sealed"
    before = path.read_bytes()
    os.link(path, tmp_path / "copy")  # another name for the same file shows that its content was overwritten
    receipt = ring.destroy(wrapped.key_id)
    assert receipt.fingerprint == hashlib.sha256(before).hexdigest()
    assert (tmp_path / "copy").read_bytes() == bytes(len(before))
    with pytest.raises(NotFound, match="destroyed"):
        SealedKeyRing.open(tmp_path / "keyring", unlock).unwrap(wrapped, CONTEXT)


def test_two_processes_share_a_folder(tmp_path: Path, unlock: Unlock, ring: SealedKeyRing) -> None:
    other = SealedKeyRing.open(tmp_path / "keyring", unlock)
    first = ring.wrap(SecretBytes(bytes(32)), CONTEXT)
    assert bytes(other.unwrap(first, CONTEXT).reveal()) == bytes(32)
    assert other.rotate(first.key_id) == 2
    assert ring.rotate(first.key_id) == 3  # it has read what the other wrote
    second = ring.wrap(SecretBytes(bytes(32)), CONTEXT)
    assert bytes(other.unwrap(second, CONTEXT).reveal()) == bytes(32)


def test_threads_that_meet_a_new_tenant_agree_on_its_key(ring: SealedKeyRing) -> None:
    wrapped = []
    threads = [
        threading.Thread(target=lambda: wrapped.append(ring.wrap(SecretBytes(bytes(32)), CONTEXT))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({w.wrapped for w in wrapped}) == 1
    assert len(wrapped) == 8


def test_secrets_do_not_show(tmp_path: Path, unlock: Unlock) -> None:
    assert unlock.secret.reveal().hex() not in repr(unlock)
    assert "***" in repr(passphrase(b"correct horse"))
