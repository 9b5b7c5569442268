"""Signatures: Ed25519 to sign, Ed25519 and ECDSA P-256 with SHA-256 to verify."""

from __future__ import annotations

import hashlib
from typing import Protocol

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from fastness.core.clock import Entropy
from fastness.core.errors import Corrupt, Invalid
from fastness.core.secrets import SecretBytes

PublicKey = Ed25519PublicKey | ec.EllipticCurvePublicKey


class Signer(Protocol):
    """Who can sign with one Ed25519 key.

    Attributes:
        keyid: SHA-256, in hex, of `public_pem`.
        public_pem: the public key as SubjectPublicKeyInfo PEM.
        public_raw: the 32 bytes of the public key.
    """

    keyid: str
    public_pem: bytes
    public_raw: bytes

    def sign(self, data: bytes) -> bytes:
        """The signature of `data`, 64 bytes."""
        ...


class RingSigner:
    """A signer whose key stays inside: what a key ring hands out."""

    def __init__(self, seed: SecretBytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(bytes(seed.reveal()))
        public = self._key.public_key()
        self.public_pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        self.public_raw = public.public_bytes_raw()
        self.keyid = key_id(self.public_pem)

    def sign(self, data: bytes) -> bytes:
        """The signature of `data`, 64 bytes."""
        return self._key.sign(data)


class SoftwareSigner(RingSigner):
    """A person's own signing key, which that person may store."""

    @classmethod
    def create(cls, entropy: Entropy) -> SoftwareSigner:
        """A new key."""
        return cls(SecretBytes(entropy(32)))

    @classmethod
    def from_pem(cls, private: bytes) -> SoftwareSigner:
        """The key in an unencrypted PKCS #8 PEM.

        Raises:
            Invalid: not such a PEM, or not an Ed25519 key.
        """
        try:
            key = load_pem_private_key(private, None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise Invalid("key-malformed", "not an unencrypted private key in PEM") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise Invalid("key-unsupported", "not an Ed25519 key", "Make one with `fastness access enrol`.")
        return cls(SecretBytes(key.private_bytes_raw()))

    def private_pem(self) -> bytes:
        """The private key as unencrypted PKCS #8 PEM; write it to a file of mode 0600."""
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def key_id(public_pem: bytes) -> str:
    """The name of a public key: SHA-256 of its PEM, in hex."""
    return hashlib.sha256(public_pem).hexdigest()


def load_public(pem: bytes) -> PublicKey:
    """The public key in `pem`.

    Raises:
        Invalid: not PEM, or neither Ed25519 nor P-256.
    """
    try:
        key = load_pem_public_key(pem)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise Invalid("key-malformed", "not a public key in PEM") from error
    if isinstance(key, Ed25519PublicKey):
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    raise Invalid("key-unsupported", "only Ed25519 and ECDSA P-256 keys are verified")


def verify_signature(key: PublicKey, data: bytes, signature: bytes) -> None:
    """Return if `signature` (Ed25519, or ECDSA with SHA-256 in DER) is that of `data`.

    Raises:
        Corrupt: it is not.
    """
    try:
        if isinstance(key, Ed25519PublicKey):
            key.verify(signature, data)
        else:
            key.verify(signature, data, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature as error:
        raise Corrupt("signature-invalid", "the signature does not match") from error
