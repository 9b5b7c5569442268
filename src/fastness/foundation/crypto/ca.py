"""The embedded certificate authority: TLS certificates for the house's own names, and for those who call it.

One P-256 key, sealed in the key ring; leaves are short-lived, and for servers or for clients, never both. A client's
names one URI and nothing else, such as a SPIFFE id; its private key never comes here. What it misses: no intermediate,
no revocation lists (leaves are short-lived instead), and the authority's own certificate is not renewed.

Source: RFC 5280; RFC 9618 checks as OpenSSL's VERIFY_X509_STRICT makes them; SPIFFE X.509-SVID, sections 2 to 4.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fastness.core.clock import SECOND, Entropy, Instant, system_entropy
from fastness.core.errors import Corrupt, Invalid
from fastness.core.secrets import SecretBytes
from fastness.foundation.crypto.keyring import SealedKeyRing
from fastness.foundation.crypto.keys import Purpose
from fastness.foundation.crypto.signing import PublicKey, load_public

_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of P-256, SP 800-186
_AUTHORITY_DAYS = 1825
_MAX_LEAF_DAYS = 90
_SKEW = timedelta(minutes=1)  # a client's clock may be a little behind
_URI = re.compile(r"[a-z][a-z0-9+.-]*://[A-Za-z0-9._~:/-]{1,512}", re.ASCII)
_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)", re.ASCII)
_USES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


class CertificateAuthority:
    """Issues certificates; made by `create` or `open`.

    Attributes:
        ca_pem: the authority's certificate, which clients trust.
    """

    def __init__(self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate, entropy: Entropy) -> None:
        self._key = key
        self._certificate = certificate
        self._entropy = entropy
        self.ca_pem = certificate.public_bytes(Encoding.PEM)

    @classmethod
    def create(cls, ring: SealedKeyRing, now: Instant, entropy: Entropy = system_entropy) -> CertificateAuthority:
        """A new authority, valid for five years, its key sealed in `ring`.

        Raises:
            Conflict: `secret-exists`, the ring holds one already.
        """
        key = _new_key(entropy)
        name = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Fastness"),
                x509.NameAttribute(NameOID.COMMON_NAME, f"Fastness CA {entropy(4).hex()}"),
            ]
        )
        public = key.public_key()
        certificate = (
            _builder(name, name, public, entropy)
            .not_valid_before(_time(now) - _SKEW)
            .not_valid_after(_time(now) + timedelta(days=_AUTHORITY_DAYS))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage("key_cert_sign", "crl_sign"), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .sign(key, hashes.SHA256())
        )
        ring.seal(Purpose.TLS_CA.value, SecretBytes(_pem(key) + certificate.public_bytes(Encoding.PEM)))
        return cls(key, certificate, entropy)

    @classmethod
    def open(cls, ring: SealedKeyRing, entropy: Entropy = system_entropy) -> CertificateAuthority:
        """The authority whose key is sealed in `ring`.

        Raises:
            NotFound: `secret-unknown`, there is none.
            Corrupt: what is sealed there is something else.
        """
        sealed = ring.unseal(Purpose.TLS_CA.value)
        pem = bytes(sealed.reveal())
        sealed.wipe()
        try:
            key, certificate = load_pem_private_key(pem, None), x509.load_pem_x509_certificate(pem)
        except (ValueError, TypeError) as error:
            raise Corrupt("ca-corrupt", "the sealed authority is not a key and a certificate") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or certificate.public_key() != key.public_key():
            raise Corrupt("ca-corrupt", "the authority's key and certificate do not belong together")
        return cls(key, certificate, entropy)

    def issue(self, names: Sequence[str], days: int, now: Instant) -> tuple[bytes, bytes]:
        """A certificate chain and its private key, both PEM, for a TLS server.

        Args:
            names: DNS names and IP addresses, at least one.
            days: validity from `now`, 1 to 90.

        Raises:
            Invalid: a name is malformed, `days` is out of range, or the authority has expired.
        """
        if not names or not 1 <= days <= _MAX_LEAF_DAYS:
            raise Invalid("certificate-request", f"a certificate needs a name and 1 to {_MAX_LEAF_DAYS} days")
        ends = min(_time(now) + timedelta(days=days), self._certificate.not_valid_after_utc)
        if ends <= _time(now):
            raise Invalid("ca-expired", "the certificate authority has expired", "Make a new home, or a new authority.")
        key = _new_key(self._entropy)
        subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Fastness")])
        issuer_id = self._certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        leaf = (
            _builder(subject, self._certificate.subject, key.public_key(), self._entropy)
            .not_valid_before(max(_time(now) - _SKEW, self._certificate.not_valid_before_utc))
            .not_valid_after(ends)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage("digital_signature"), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectAlternativeName([_general_name(n) for n in names]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_id), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return leaf.public_bytes(Encoding.PEM) + self.ca_pem, _pem(key)

    def certify(self, uri: str, public_pem: bytes, days: int, now: Instant) -> bytes:
        """A certificate chain, PEM, by which the owner of a public key calls as `uri`.

        Args:
            public_pem: P-256 or Ed25519; the private half stays with its owner.
            days: validity from `now`, 1 to 90.

        Raises:
            Invalid: `days` is out of range, the key or URI is malformed, or the authority has expired.
        """
        if not _URI.fullmatch(uri) or not 1 <= days <= _MAX_LEAF_DAYS:
            raise Invalid("certificate-request", f"a certificate names a URI, for 1 to {_MAX_LEAF_DAYS} days")
        ends = min(_time(now) + timedelta(days=days), self._certificate.not_valid_after_utc)
        if ends <= _time(now):
            raise Invalid("ca-expired", "the certificate authority has expired", "Make a new home, or a new authority.")
        public = load_public(public_pem)
        subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Fastness")])
        issuer_id = self._certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        leaf = (
            _builder(subject, self._certificate.subject, public, self._entropy)
            .not_valid_before(max(_time(now) - _SKEW, self._certificate.not_valid_before_utc))
            .not_valid_after(ends)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage("digital_signature"), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
            .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_id), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return leaf.public_bytes(Encoding.PEM) + self.ca_pem


def _builder(subject: x509.Name, issuer: x509.Name, public: PublicKey, entropy: Entropy) -> x509.CertificateBuilder:
    serial = int.from_bytes(entropy(20)) >> 1 | 1  # positive, at most 20 octets: RFC 5280, section 4.1.2.2
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer)
    return builder.public_key(public).serial_number(serial)


def _usage(*on: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{use: use in on for use in _USES})


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    labels = name.lower().split(".")
    # A last label of digits only would be read as an address by some clients.
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels) or labels[-1].isdigit():
        raise Invalid("certificate-request", f"{name[:80]!r} is neither a DNS name nor an IP address")
    return x509.DNSName(name.lower())


def _new_key(entropy: Entropy) -> ec.EllipticCurvePrivateKey:
    # FIPS 186-5, appendix A.2.1: 64 extra bits make the bias of the modulus negligible.
    return ec.derive_private_key(int.from_bytes(entropy(40)) % (_ORDER - 1) + 1, ec.SECP256R1())


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _time(at: Instant) -> datetime:
    return datetime.fromtimestamp(at // SECOND, UTC)
