"""Signing keys: what comes out verifies elsewhere, and what is no such key is refused."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from fastness.core.clock import system_entropy
from fastness.core.errors import Corrupt, Invalid
from fastness.foundation.crypto import SoftwareSigner
from fastness.foundation.crypto.signing import load_public, verify_signature


def test_rfc_8032_first_test() -> None:
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    signer = SoftwareSigner.create(lambda count: seed[:count])
    assert signer.public_raw.hex() == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert signer.sign(b"").hex().startswith("e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155")


def test_a_stored_key_is_the_same_key() -> None:
    signer = SoftwareSigner.create(system_entropy)
    again = SoftwareSigner.from_pem(signer.private_pem())
    assert again.keyid == signer.keyid == hashlib.sha256(signer.public_pem).hexdigest()
    Ed25519PublicKey.from_public_bytes(signer.public_raw).verify(again.sign(b"data"), b"data")
    with pytest.raises(Corrupt):
        verify_signature(load_public(signer.public_pem), b"other", again.sign(b"data"))


def _private(key: ec.EllipticCurvePrivateKey | Ed25519PrivateKey, password: bytes | None = None) -> bytes:
    protection = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection)


@pytest.mark.parametrize(
    ("pem", "code"),
    [
        (b"", "key-malformed"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "key-malformed"),
        (_private(Ed25519PrivateKey.generate(), b"password"), "key-malformed"),
        (_private(ec.generate_private_key(ec.SECP256R1())), "key-unsupported"),
    ],
)
def test_what_is_no_signing_key_is_refused(pem: bytes, code: str) -> None:
    with pytest.raises(Invalid) as caught:
        SoftwareSigner.from_pem(pem)
    assert caught.value.code == code


def test_keys_of_other_kinds_are_not_verified() -> None:
    for key in (rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP384R1())):
        pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        with pytest.raises(Invalid, match="only Ed25519"):
            load_public(pem)
    with pytest.raises(Invalid, match="PEM"):
        load_public(b"ssh-ed25519 AAAA")
