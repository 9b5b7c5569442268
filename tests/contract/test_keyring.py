"""One suite over every key ring: what is wrapped opens for its own context and version, and for nothing else."""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
from collections.abc import Callable
from pathlib import Path

import pytest

from fastness.core.clock import system_entropy
from fastness.core.digests import BlobId
from fastness.core.errors import Conflict, Corrupt, FastnessError, Forbidden, Invalid, NotFound
from fastness.core.identity import TenantId
from fastness.core.secrets import SecretBytes
from fastness.foundation.crypto import KeyContext, KeyRing, Purpose, SealedKeyRing, Unlock, WrappedKey
from fastness.foundation.crypto.signing import load_public, verify_signature
from fastness.foundation.crypto.unlock import ScryptCost

TENANT = TenantId("default")
CONTEXT = KeyContext(TENANT, BlobId("a" * 64), 1)
DEK = bytes(range(32))


def _memory(_: Path) -> SealedKeyRing:
    return SealedKeyRing.in_memory(system_entropy)


def _by_key_file(folder: Path) -> SealedKeyRing:
    unlock = Unlock.new_key_file(folder / "unlock.key", system_entropy)
    return SealedKeyRing.create(folder / "keyring", unlock, system_entropy)


def _by_passphrase(folder: Path) -> SealedKeyRing:
    unlock = Unlock.passphrase(SecretBytes(b"correct horse"), ScryptCost(log_n=14))
    return SealedKeyRing.create(folder / "keyring", unlock, system_entropy)


@pytest.fixture(params=[_memory, _by_key_file, _by_passphrase])
def ring(request: pytest.FixtureRequest, tmp_path: Path) -> KeyRing:
    make: Callable[[Path], KeyRing] = request.param
    return make(tmp_path)


def test_a_wrapped_key_opens_for_its_context(ring: KeyRing) -> None:
    wrapped = ring.wrap(SecretBytes(DEK), CONTEXT)
    assert DEK not in wrapped.wrapped
    assert wrapped.version == 1
    assert bytes(ring.unwrap(wrapped, CONTEXT).reveal()) == DEK


@pytest.mark.parametrize(
    "context",
    [
        KeyContext(TENANT, BlobId("b" * 64), 1),
        KeyContext(TENANT, BlobId("a" * 64), 2),
        KeyContext(TenantId("other"), BlobId("a" * 64), 1),
        KeyContext(TENANT, BlobId("a" * 64), 1 << 62),
    ],
)
def test_a_wrapped_key_opens_for_no_other_blob_epoch_or_tenant(ring: KeyRing, context: KeyContext) -> None:
    wrapped = ring.wrap(SecretBytes(DEK), CONTEXT)
    ring.wrap(SecretBytes(DEK), dataclasses.replace(context, epoch=1))  # so that its key-encryption key exists
    with pytest.raises(Corrupt) as caught:
        ring.unwrap(wrapped, context)
    assert caught.value.code == "key-corrupt"


def test_every_flipped_bit_of_a_wrapped_key_is_seen(ring: KeyRing) -> None:
    wrapped = ring.wrap(SecretBytes(DEK), CONTEXT)
    for at in range(len(wrapped.wrapped)):
        changed = bytearray(wrapped.wrapped)
        changed[at] ^= 1 << (at % 8)
        with pytest.raises(Corrupt):
            ring.unwrap(dataclasses.replace(wrapped, wrapped=bytes(changed)), CONTEXT)
    for cut in (b"", wrapped.wrapped[:-1], wrapped.wrapped[:-8], wrapped.wrapped + bytes(8), bytes(16)):
        with pytest.raises(Corrupt):
            ring.unwrap(dataclasses.replace(wrapped, wrapped=cut), CONTEXT)


def test_after_a_rotation_old_keys_open_and_new_ones_are_of_the_new_version(ring: KeyRing) -> None:
    old = ring.wrap(SecretBytes(DEK), CONTEXT)
    assert ring.rotate(old.key_id) == 2
    new = ring.wrap(SecretBytes(DEK), CONTEXT)
    assert (old.version, new.version) == (1, 2)
    assert old.wrapped != new.wrapped
    for wrapped in (old, new):
        assert bytes(ring.unwrap(wrapped, CONTEXT).reveal()) == DEK
    with pytest.raises(Corrupt):
        ring.unwrap(dataclasses.replace(old, version=2), CONTEXT)
    with pytest.raises(NotFound) as caught:
        ring.unwrap(dataclasses.replace(old, version=3), CONTEXT)
    assert caught.value.code == "key-unknown"


def test_after_destruction_nothing_opens_and_nothing_is_wrapped(ring: KeyRing) -> None:
    wrapped = ring.wrap(SecretBytes(DEK), CONTEXT)
    other = KeyContext(TenantId("other"), BlobId("c" * 64), 1)
    kept = ring.wrap(SecretBytes(DEK), other)
    receipt = ring.destroy(wrapped.key_id)
    assert receipt.destroyed
    assert receipt.subject == f"key:{wrapped.key_id}"
    assert len(bytes.fromhex(receipt.fingerprint)) == 32
    attempts: list[Callable[[], object]] = [
        lambda: ring.unwrap(wrapped, CONTEXT),
        lambda: ring.wrap(SecretBytes(DEK), CONTEXT),
        lambda: ring.rotate(wrapped.key_id),
        lambda: ring.destroy(wrapped.key_id),
    ]
    for attempt in attempts:
        with pytest.raises(NotFound) as caught:
            attempt()
        assert caught.value.code == "key-destroyed"
    assert bytes(ring.unwrap(kept, other).reveal()) == DEK


@pytest.mark.parametrize("key_id", ["", "kek-", "kek-" + "0" * 32, "attest", "../root", "secret-tls-ca"])
def test_only_key_encryption_keys_can_be_named(ring: KeyRing, key_id: str) -> None:
    attempts: list[Callable[[], object]] = [
        lambda: ring.unwrap(WrappedKey(key_id, 1, bytes(40)), CONTEXT),
        lambda: ring.rotate(key_id),
        lambda: ring.destroy(key_id),
    ]
    for attempt in attempts:
        with pytest.raises(NotFound) as caught:
            attempt()
        assert caught.value.code == "key-unknown"


def test_each_purpose_has_a_key_of_its_own_and_the_right_kind(ring: KeyRing) -> None:
    signers = [ring.signer(p) for p in (Purpose.ATTEST, Purpose.CHECKPOINT, Purpose.ALIAS)]
    assert len({s.keyid for s in signers}) == 3
    for signer in signers:
        verify_signature(load_public(signer.public_pem), b"data", signer.sign(b"data"))
        assert not hasattr(signer, "private_pem")
    assert ring.signer(Purpose.ALIAS).keyid == signers[2].keyid
    assert ring.mac(Purpose.KEY_PEPPER).digest(b"x") != ring.mac(Purpose.DEDUP).digest(b"x")
    for purpose in (Purpose.KEY_PEPPER, Purpose.DEDUP, Purpose.TLS_CA):
        with pytest.raises(Invalid):
            ring.signer(purpose)
    for purpose in (Purpose.ATTEST, Purpose.CHECKPOINT, Purpose.ALIAS, Purpose.TLS_CA):
        with pytest.raises(Invalid):
            ring.mac(purpose)


def test_only_the_pepper_leaves_the_ring(ring: KeyRing) -> None:
    pepper = ring.mac(Purpose.KEY_PEPPER)
    elsewhere = hmac.digest(bytes(pepper.export().reveal()), b"key", hashlib.sha256)
    assert elsewhere == pepper.digest(b"key")
    for mac in (ring.mac(Purpose.DEDUP), pepper.derived(b"x")):
        with pytest.raises(Forbidden):
            mac.export()


def test_derived_hashes_differ_by_context_and_from_any_digest(ring: KeyRing) -> None:
    mac = ring.mac(Purpose.DEDUP)
    one, other = mac.derived(b"one"), mac.derived(b"other")
    assert len({mac.digest(b"x"), one.digest(b"x"), other.digest(b"x"), one.derived(b"one").digest(b"x")}) == 4
    assert mac.derived(b"one").digest(b"x") == one.digest(b"x")


def test_a_sealed_secret_is_kept_once(tmp_path: Path) -> None:
    for make in (_memory, _by_key_file):
        ring = make(tmp_path)
        ring.seal("token", SecretBytes(b"value"))
        assert bytes(ring.unseal("token").reveal()) == b"value"
        with pytest.raises(Conflict):
            ring.seal("token", SecretBytes(b"other"))
        with pytest.raises(NotFound):
            ring.unseal("another")
        for name, value in [("../x", b"v"), ("x", bytes((1 << 16) + 1))]:
            with pytest.raises(FastnessError):
                ring.seal(name, SecretBytes(value))
