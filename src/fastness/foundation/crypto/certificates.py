"""Certificates of clients, and requests for them, as they come from outside.

A request (PKCS #10) is signed by the key that it is for, so who sends one has shown to hold that key; its common name says
for whom it was made. What it misses: no chain is judged here, TLS does that.

Source: RFC 5280; RFC 2986; RFC 8705, section 3 (the thumbprint).
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from fastness.core.clock import SECOND, Instant
from fastness.core.errors import Invalid
from fastness.foundation.crypto.signing import load_public

__all__ = [
    "Certificate",
    "certificate_request",
    "new_private_key",
    "public_of",
    "read_certificate",
    "read_request",
    "signing_id",
    "thumbprint",
]

_LONGEST = 32_768
_SMALLEST_RSA = 2048
_KEYS = (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey, ed25519.Ed25519PrivateKey)


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a certificate says of itself.

    Attributes:
        public: the key in it, SubjectPublicKeyInfo in DER.
    """

    der: bytes
    thumbprint: str
    public: bytes
    issued_at: Instant
    expires_at: Instant


def thumbprint(der: bytes) -> str:
    """What a certificate is named by, and tokens are bound to: base64url SHA-256 of it, `x5t#S256`."""
    return base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode("ascii")


def read_certificate(pem: bytes) -> Certificate:
    """The first certificate in `pem`; others, such as those of authorities, may follow.

    Raises:
        Invalid: there is none, or its key is too weak.
    """
    try:
        found = x509.load_pem_x509_certificates(pem[:_LONGEST])[0]
        public = _strong(found.public_key())
    except (ValueError, TypeError, IndexError, UnsupportedAlgorithm) as error:
        raise Invalid("certificate-malformed", "this is no certificate in PEM", "Send what openssl wrote.") from error
    der = found.public_bytes(Encoding.DER)
    issued, ends = (int(at.timestamp()) * SECOND for at in (found.not_valid_before_utc, found.not_valid_after_utc))
    return Certificate(der, thumbprint(der), public, Instant(issued), Instant(ends))


def read_request(pem: bytes) -> tuple[str, bytes]:
    """The common name in a certificate request (empty without one), and its public key as SubjectPublicKeyInfo in DER.

    Raises:
        Invalid: it is none, it is not signed by the key in it, or that key is too weak.
    """
    try:
        found = x509.load_pem_x509_csr(pem[:_LONGEST])
        good = found.is_signature_valid
        public = _strong(found.public_key())
        names = [str(name.value) for name in found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    except (ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature) as error:
        hint = "Make one: openssl req -new -key KEY.pem -subj /CN=TENANT/KIND:NAME"
        raise Invalid("request-malformed", "this is no certificate request in PEM", hint) from error
    if not good:
        raise Invalid("request-forged", "the certificate request is not signed by the key in it")
    return (names[0] if len(names) == 1 else ""), public


def certificate_request(private_pem: bytes, name: str) -> bytes:
    """A certificate request, PEM, for the key in `private_pem`.

    Args:
        name: its common name, up to 64 characters.

    Raises:
        Invalid: not an unencrypted private key in PEM, or the name is too long.
    """
    key = _private(private_pem)
    try:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    except ValueError as error:
        raise Invalid("request-name", f"{name[:80]!r} does not fit into a certificate request") from error
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    made = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, algorithm)
    return made.public_bytes(Encoding.PEM)


def new_private_key() -> bytes:
    """A new P-256 key, unencrypted PKCS #8 PEM; write it to a file of mode 0600."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_of(der: bytes) -> bytes:
    """A public key in DER as PEM.

    Raises:
        Invalid: it is neither Ed25519 nor P-256.
    """
    body = base64.b64encode(der)
    lines = b"\n".join(body[at : at + 64] for at in range(0, len(body), 64))
    pem = b"-----BEGIN PUBLIC KEY-----\n" + lines + b"\n-----END PUBLIC KEY-----\n"
    return load_public(pem).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def signing_id(public_pem: bytes) -> tuple[str, str, bytes]:
    """The id of a public key (base64url SHA-256 of its DER), its algorithm as in RFC 9421, and its one PEM.

    Raises:
        Invalid: not PEM, or neither Ed25519 nor P-256.
    """
    key = load_public(public_pem)
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    algorithm = "ed25519" if isinstance(key, ed25519.Ed25519PublicKey) else "ecdsa-p256-sha256"
    return thumbprint(der), algorithm, key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _private(pem: bytes) -> rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey:
    try:
        key = load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise Invalid("key-malformed", "not an unencrypted private key in PEM") from error
    if not isinstance(key, _KEYS):
        raise Invalid("key-unsupported", "only RSA, ECDSA and Ed25519 keys are used here")
    return key


def _strong(key: object) -> bytes:
    """The key in DER. Raises ValueError where it is of a kind or size that is not taken."""
    short = isinstance(key, rsa.RSAPublicKey) and key.key_size < _SMALLEST_RSA
    if short or not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey):
        raise ValueError("a key that is short, or of another kind")
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
