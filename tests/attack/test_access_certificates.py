"""Certificates of others, for others, of another kind, or of those who left. Success rate of the attacks below: 0."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from fastness.access import certificates, tokens
from fastness.access.certificates import Peer, Trust, spiffe_id
from fastness.access.standing import deactivate
from fastness.core.clock import SECOND, SystemClock
from fastness.core.errors import Conflict, Corrupt, Invalid, NotFound, Unauthenticated
from fastness.core.identity import PrincipalId, PrincipalKind, Role, Strength
from fastness.foundation.crypto import CertificateAuthority, SealedKeyRing, SoftwareSigner
from tests.unit.access.house import TENANT
from tests.unit.access.issuing import ALICE, Mint

DOMAIN = "fastness.example"
ROBOT = PrincipalId("service:robot")


class Door(Mint):
    def __post_init__(self) -> None:
        super().__post_init__()
        self.authority = CertificateAuthority.create(self.ring, self.clock.now())
        self.trust = Trust(DOMAIN, self.authority.ca_pem)
        self.person("robot", Role.DEVELOPER, kind=PrincipalKind.SERVICE)
        self.key = ec.generate_private_key(ec.SECP256R1())

    def public(self) -> bytes:
        return self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def certified(self, principal: PrincipalId = ROBOT, days: int = 1) -> bytes:
        with self.begin() as tx:
            return certificates.certify(tx, self.authority, self.trust, principal, self.public(), days)

    def peer(self, certificate: bytes) -> Peer:
        return certificates.peer_of(certificate, self.trust, self.snapshot(), self.clock.now())

    def why(self, certificate: bytes) -> str:
        with pytest.raises(Unauthenticated) as caught:
            self.peer(certificate)
        assert caught.value.code == "certificate-refused"
        return caught.value.audit_code


def der(pem: bytes) -> bytes:
    return x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)


@pytest.fixture
def door() -> Iterator[Door]:
    made = Door()
    yield made
    made.records.close()


def test_the_good_certificate_is_taken_so_the_others_are_not_refused_for_another_reason(door: Door) -> None:
    peer = door.peer(der(door.certified()))
    assert (peer.principal.id, peer.principal.strength) == (ROBOT, Strength.SIGNED)
    assert peer.principal.roles == {Role.DEVELOPER}
    token = door.issued(principal=ROBOT, thumbprint=peer.thumbprint)
    door.refresh()
    assert door.verified(token, peer.thumbprint).principal.id == ROBOT


def test_a_key_of_ed25519_is_certified_too(door: Door) -> None:
    signer = SoftwareSigner.create(os.urandom)
    with door.begin() as tx:
        chain = certificates.certify(tx, door.authority, door.trust, ROBOT, signer.public_pem)
    assert door.peer(der(chain)).principal.id == ROBOT


def test_a_certificate_of_another_authority_of_the_same_name(door: Door) -> None:
    other = CertificateAuthority.create(SealedKeyRing.in_memory(os.urandom), door.clock.now())
    uri = spiffe_id(DOMAIN, TENANT, ROBOT)
    assert door.why(der(other.certify(uri, door.public(), 1, door.clock.now()))) == "certificate-refused"


@pytest.mark.parametrize(
    "uri",
    [
        "spiffe://evil.example/default/service/robot",
        "spiffe://fastness.example.evil.example/default/service/robot",
        "spiffe://fastness.exampleevil/default/service/robot",
        "spiffe://fastness.example/default/service",
        "spiffe://fastness.example/default/service/robot/more",
        "spiffe://fastness.example/default/system/fastness",
        "spiffe://fastness.example//service/robot",
        "spiffe://fastness.example/default/service/../user/root",
        "https://fastness.example/default/service/robot",
        "spiffe://fastness.example:443/default/service/robot",
    ],
)
def test_a_name_that_is_not_one_of_ours(door: Door, uri: str) -> None:
    made = door.authority.certify(uri, door.public(), 1, door.clock.now())
    assert door.why(der(made)) == "certificate-domain"


@pytest.mark.parametrize("principal", ["service:nobody", "user:robot", "agent:robot"])
def test_a_name_of_nobody(door: Door, principal: str) -> None:
    made = door.authority.certify(spiffe_id(DOMAIN, TENANT, PrincipalId(principal)), door.public(), 1, door.clock.now())
    assert door.why(der(made)) == "certificate-principal"


def test_a_servers_certificate_names_nobody(door: Door) -> None:
    chain, _ = door.authority.issue(["fastness.example"], 1, door.clock.now())
    assert door.why(der(chain)) == "certificate-refused"
    assert door.why(der(door.authority.ca_pem)) == "certificate-refused"


@pytest.mark.parametrize("certificate", [b"", b"x", b"0" * 5000, b"\x30\x82"])
def test_what_is_no_certificate(door: Door, certificate: bytes) -> None:
    assert door.why(certificate) == "certificate-refused"


def test_one_flipped_bit(door: Door) -> None:
    whole = der(door.certified())
    for place in range(20, len(whole), 37):
        assert door.why(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]) == "certificate-refused"


def test_before_and_after_its_time(door: Door) -> None:
    made = der(door.certified())
    door.clock.advance(86_401)
    assert door.why(made) == "certificate-refused"
    door.clock.advance(-2 * 86_400)
    assert door.why(made) == "certificate-refused"


def test_a_principal_that_left_or_signed_out_everywhere(door: Door) -> None:
    made = der(door.certified())
    with door.begin() as tx:
        tokens.revoke_all(tx, ROBOT, "lost")
    assert door.why(made) == "certificate-revoked"
    door.clock.advance(1)
    again = der(door.certified())
    door.peer(again)
    with door.begin() as tx:
        deactivate(tx, ROBOT)
    assert door.why(again) == "certificate-principal"


def test_one_certificate_is_revoked_and_another_is_not(door: Door) -> None:
    one, other = der(door.certified()), der(door.certified())
    with door.begin() as tx:
        assert certificates.revoke(tx, door.peer(one).thumbprint, ROBOT, "stolen")
    assert door.why(one) == "certificate-revoked"
    door.clock.advance(3600)
    assert door.why(one) == "certificate-revoked"
    assert door.peer(other).principal.id == ROBOT


def test_a_denial_outlives_the_certificate(door: Door) -> None:
    made = der(door.certified(days=30))
    with door.begin() as tx:
        certificates.revoke(tx, door.peer(made).thumbprint, ROBOT, "stolen")
    door.clock.advance(29 * 86_400)
    with door.begin() as tx:
        tokens.revoke(tx, "something else", ALICE, "sweeps what is over")
    assert door.why(made) == "certificate-revoked"


def test_certificates_that_are_not_made(door: Door) -> None:
    for principal, error in ((PrincipalId("user:nobody"), NotFound), (ALICE, Conflict)):
        with door.begin() as tx:
            if error is Conflict:
                deactivate(tx, ALICE)
        with door.begin() as tx, pytest.raises(error):
            certificates.certify(tx, door.authority, door.trust, principal, door.public())
    for days in (0, 31, -1):
        with pytest.raises(Invalid):
            door.certified(days=days)
    for pem in (
        b"",
        b"x",
        ec.generate_private_key(ec.SECP384R1())
        .public_key()
        .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    ):
        with door.begin() as tx, pytest.raises(Invalid):
            certificates.certify(tx, door.authority, door.trust, ROBOT, pem)
    for uri in ("", "x", "spiffe://a b", "spiffe://a\nb/c", "spiffe://ä/b"):
        with pytest.raises(Invalid):
            door.authority.certify(uri, door.public(), 1, door.clock.now())
    for domain in ("", "UPPER", "a b", "evil/path", "x" * 300):
        with pytest.raises(Invalid):
            Trust(domain, door.authority.ca_pem)


def test_two_names_or_none_are_no_identity(door: Door) -> None:
    from datetime import UTC, datetime, timedelta

    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import ExtendedKeyUsageOID

    start = datetime.fromtimestamp(door.clock.now() // SECOND, UTC)
    uri = x509.UniformResourceIdentifier(spiffe_id(DOMAIN, TENANT, ROBOT))
    other = x509.UniformResourceIdentifier(spiffe_id(DOMAIN, TENANT, ALICE))
    for names in ([uri, other], [uri, x509.DNSName("a.example")], [x509.DNSName("a.example")], None):
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(x509.load_pem_x509_certificate(door.authority.ca_pem).subject)
            .public_key(door.key.public_key())
            .serial_number(1)
            .not_valid_before(start - timedelta(minutes=1))
            .not_valid_after(start + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        )
        if names is not None:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        made = builder.sign(door.authority._key, hashes.SHA256())
        with pytest.raises(Corrupt):
            CertificateAuthority.identify(door.authority.ca_pem, made.public_bytes(Encoding.DER), door.clock.now())


def test_over_a_real_connection(tmp_path: Path) -> None:
    """OpenSSL on both sides: the server asks for a certificate, and strictly holds it against the authority."""
    door = Door()
    now = SystemClock().now()
    authority = CertificateAuthority.create(SealedKeyRing.in_memory(os.urandom), now)
    door.clock.advance((now - door.clock.now()) / SECOND)
    door.authority, door.trust = authority, Trust(DOMAIN, authority.ca_pem)
    chain, key = authority.issue(["localhost"], 1, now)
    private = door.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for name, data in (("server", chain + key), ("client", door.certified() + private), ("ca", authority.ca_pem)):
        (tmp_path / name).write_bytes(data)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "server")
    server.load_verify_locations(tmp_path / "ca")
    server.verify_mode = ssl.CERT_REQUIRED
    server.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
    seen: list[bytes] = []

    def serve(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with server.wrap_socket(connection, server_side=True) as secured:
            seen.append(secured.getpeercert(binary_form=True) or b"")
            secured.sendall(b"x")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, args=(listening,))
        thread.start()
        client = ssl.create_default_context(cafile=str(tmp_path / "ca"))
        client.load_cert_chain(tmp_path / "client")
        with (
            socket.create_connection(listening.getsockname(), 10) as plain,
            client.wrap_socket(plain, server_hostname="localhost") as secured,
        ):
            assert secured.recv(1) == b"x"
        thread.join(10)
    assert door.peer(seen[0]).principal.id == ROBOT
    door.records.close()
