"""The certificate authority: a strict TLS 1.3 client accepts what it issues, for the names asked for only."""

from __future__ import annotations

import socket
import ssl
import threading
from pathlib import Path

import pytest
from cryptography import x509

from fastness.core.clock import SECOND, Instant, SystemClock, later, system_entropy
from fastness.core.errors import Conflict, Corrupt, FastnessError, Invalid, NotFound
from fastness.core.secrets import SecretBytes
from fastness.foundation.crypto import CertificateAuthority, SealedKeyRing

NOW = SystemClock().now()
RING = SealedKeyRing.in_memory(system_entropy)
AUTHORITY = CertificateAuthority.create(RING, NOW)


def shake_hands(tmp_path: Path, chain: bytes, key: bytes, trusted: bytes, name: str) -> str:
    """The TLS version that a strict client and a server with this certificate agree on."""
    (tmp_path / "leaf.pem").write_bytes(chain + key)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "leaf.pem")
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.minimum_version = ssl.TLSVersion.TLSv1_3
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    client.load_verify_locations(cadata=trusted.decode())
    ours, theirs = socket.socketpair()

    def serve() -> None:
        with ours:
            try:
                server.wrap_socket(ours, server_side=True).close()
            except OSError:
                return  # the client has refused

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with theirs, client.wrap_socket(theirs, server_hostname=name) as tls:
            return str(tls.version())
    finally:
        thread.join()


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1", "gateway.example.com"])
def test_a_strict_client_accepts_the_names_asked_for(tmp_path: Path, name: str) -> None:
    chain, key = AUTHORITY.issue(["localhost", "127.0.0.1", "::1", "gateway.example.com"], 30, NOW)
    assert shake_hands(tmp_path, chain, key, AUTHORITY.ca_pem, name) == "TLSv1.3"


def test_another_name_and_another_authority_are_refused(tmp_path: Path) -> None:
    chain, key = AUTHORITY.issue(["localhost"], 30, NOW)
    with pytest.raises(ssl.SSLCertVerificationError, match=r"[Hh]ostname"):
        shake_hands(tmp_path, chain, key, AUTHORITY.ca_pem, "example.com")
    other = CertificateAuthority.create(SealedKeyRing.in_memory(system_entropy), NOW)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(tmp_path, chain, key, other.ca_pem, "localhost")


def test_an_expired_certificate_is_refused(tmp_path: Path) -> None:
    past = Instant(NOW - 10 * 86_400 * SECOND)
    authority = CertificateAuthority.create(SealedKeyRing.in_memory(system_entropy), past)
    chain, key = authority.issue(["localhost"], 1, past)
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        shake_hands(tmp_path, chain, key, authority.ca_pem, "localhost")


def test_a_leaf_is_no_authority_and_has_a_serial_of_its_own() -> None:
    leaves = [x509.load_pem_x509_certificate(AUTHORITY.issue(["localhost"], 1, NOW)[0]) for _ in range(20)]
    assert len({leaf.serial_number for leaf in leaves}) == 20
    assert all(0 < leaf.serial_number < 1 << 159 for leaf in leaves)
    assert not leaves[0].extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_the_key_is_sealed_in_the_ring_once() -> None:
    again = CertificateAuthority.open(RING)
    assert again.ca_pem == AUTHORITY.ca_pem
    x509.load_pem_x509_certificate(again.issue(["localhost"], 1, NOW)[0]).verify_directly_issued_by(
        x509.load_pem_x509_certificate(AUTHORITY.ca_pem)
    )
    with pytest.raises(Conflict):
        CertificateAuthority.create(RING, NOW)


def test_a_ring_without_an_authority_or_with_something_else() -> None:
    ring = SealedKeyRing.in_memory(system_entropy)
    with pytest.raises(NotFound):
        CertificateAuthority.open(ring)
    ring.seal("tls-ca", SecretBytes(b"something else"))
    with pytest.raises(Corrupt):
        CertificateAuthority.open(ring)


@pytest.mark.parametrize("names", [[], ["*"], ["a b"], [""], ["-a.com"], ["a..b"], ["1.2.3"], ["a" * 64], ["é.com"]])
def test_what_is_no_name_is_refused(names: list[str]) -> None:
    with pytest.raises(Invalid):
        AUTHORITY.issue(names, 1, NOW)


def test_validity_is_bounded_by_ninety_days_and_by_the_authority() -> None:
    for days in (0, -1, 91):
        with pytest.raises(Invalid):
            AUTHORITY.issue(["localhost"], days, NOW)
    near_end = later(NOW, 1824 * 86_400)
    leaf = x509.load_pem_x509_certificate(AUTHORITY.issue(["localhost"], 90, near_end)[0])
    assert leaf.not_valid_after_utc == x509.load_pem_x509_certificate(AUTHORITY.ca_pem).not_valid_after_utc
    with pytest.raises(FastnessError, match="expired"):
        AUTHORITY.issue(["localhost"], 1, later(NOW, 1826 * 86_400))
