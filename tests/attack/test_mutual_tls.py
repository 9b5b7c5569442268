"""Connections to the gateway with no certificate, a stranger's, another tenant's, one that ended, or a header that claims one.

Over real sockets, with OpenSSL on both sides. Success rate of the attacks below: 0. What refuses a certificate is either the
handshake, which leaves no event, or the gateway, which does. Not covered: a proxy that ends TLS before the house.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fastness.access.members import UNBOUND, KeyTerms
from fastness.access.possession import Kind, PossessionProjection, PossessionRow, revoke_possession
from fastness.access.possession.certificates import Authority, bind_certificate, issue_certificate
from fastness.access.tokens import TokenKeys
from fastness.app.leaf import Leaf
from fastness.client import Client, ClientCertificate
from fastness.core.clock import SystemClock, later
from fastness.core.errors import Invalid, Unavailable
from fastness.core.identity import Action, PrincipalId, PrincipalKind, Role, Scope, TenantId
from fastness.core.limits import Limit
from fastness.foundation.crypto import CertificateAuthority, SealedKeyRing
from fastness.foundation.crypto.certificates import certificate_request, new_private_key, public_of, read_request
from tests.unit.access.house import ADMIN
from tests.unit.access.house import House as Records
from tests.unit.gateway.house import House, Served, digit, json_body, read_reply, serving

PATH = "/v2/models/digits/infer"
CALLER, VIEWER = PrincipalId("service:caller"), PrincipalId("service:viewer")
ELSEWHERE = Scope(TenantId("elsewhere"), PrincipalId("user:root"))
DAY_S = 86_400


class Shore:
    """A gateway behind TLS that asks for certificates, and the records of who holds which."""

    def __init__(self, folder: Path, clients: str = "optional") -> None:
        self.folder = folder
        self.records = Records()
        self.records.clock.advance((SystemClock().now() - self.records.clock.now()) / 1e9)
        now = self.records.clock.now()
        self.ours = CertificateAuthority.create(SealedKeyRing.in_memory(os.urandom), now)
        old = later(now, -9 * DAY_S)
        self.partner = CertificateAuthority.create(SealedKeyRing.in_memory(os.urandom), old)
        self.strange = CertificateAuthority.create(SealedKeyRing.in_memory(os.urandom), now)
        for scope in (ADMIN, ELSEWHERE):
            for name, role in (("caller", Role.DEVELOPER), ("viewer", Role.VIEWER)):
                self.records.person(name, role, kind=PrincipalKind.SERVICE, scope=scope)
        self.house = House(folder, certified=clients == "required")
        chain, key = self.ours.issue(["127.0.0.1"], 1, now)
        trusted = (self.ours.ca_pem + self.partner.ca_pem).decode()
        self.leaf = Leaf(chain, key, clients, trusted)
        self.private = new_private_key()

    def terms(self, days: float = 1, **more: Any) -> KeyTerms:
        return KeyTerms(Limit(1e4, 1e4), later(self.records.clock.now(), days * DAY_S), **more)

    def issued(
        self, principal: PrincipalId = CALLER, scope: Scope = ADMIN, **terms: Any
    ) -> tuple[PossessionRow, bytes]:
        """A certificate of the house, counting already."""
        with self.records.begin(scope) as tx:
            request = certificate_request(self.private, "x")
            made = issue_certificate(
                tx, Authority(self.ours, "fastness.internal"), principal, request, self.terms(**terms), UNBOUND
            )
        self.publish()
        return made

    def of(
        self, authority: CertificateAuthority, principal: PrincipalId | None = None, *, days: int = 1, ago: int = 0
    ) -> bytes:
        """A certificate of another authority, bound to `principal` if there is one."""
        public = public_of(read_request(certificate_request(self.private, "x"))[1])
        made = authority.certify("spiffe://partner/x", public, days, later(self.records.clock.now(), -ago * DAY_S))
        if principal is not None:
            self.change(lambda tx: bind_certificate(
                tx, principal, (made, certificate_request(self.private, f"default/{principal}")), self.terms(9), UNBOUND
            ))  # fmt: skip
        return made

    def change(self, act: Any) -> None:
        with self.records.begin() as tx:
            act(tx)
        self.publish()

    def publish(self) -> None:
        with self.records.records.read(ADMIN) as reading:
            self.house.publish(self.house.possession, PossessionProjection().load(reading))

    def files(self, chain: bytes, private: bytes | None = None) -> tuple[Path, Path]:
        certificate, key = self.folder / "client.pem", self.folder / "client.key"
        certificate.write_bytes(chain)
        key.write_bytes(private or self.private)
        return certificate, key


@pytest.fixture
def shore(tmp_path: Path) -> Iterator[Shore]:
    made = Shore(tmp_path)
    yield made
    made.records.records.close()


@contextlib.contextmanager
def open_shore(shore: Shore) -> Iterator[Served]:
    with serving(shore.house, leaf=shore.leaf) as served:
        yield served


def showing(served: Served, shore: Shore, chain: bytes | None, private: bytes | None = None) -> Served:
    """The same server, met with a certificate."""
    context = ssl.create_default_context(cadata=shore.leaf.clients_pem)
    if chain is not None:
        context.load_cert_chain(*shore.files(chain, private))
    return replace(served, context=context)


def asked(served: Served, key: str | None = None, **headers: str) -> tuple[int, str]:
    """Status and code; (0, "") where the handshake or the connection ended without a word."""
    try:
        reply = served.ask("POST", PATH, json_body(), served.house.headers(key, **headers))
    except (ssl.SSLError, ConnectionResetError, BrokenPipeError):
        return 0, ""
    return reply.status, "" if reply.status in {0, 200} else reply.code


def audited(house: House) -> str:
    return house.events()[-1].reason


def test_a_certificate_that_counts_is_all_it_takes(shore: Shore) -> None:
    row, chain = shore.issued()
    bound = shore.of(shore.partner, VIEWER)
    with open_shore(shore) as served:
        reply = showing(served, shore, chain).ask("POST", PATH, json_body(), shore.house.headers(None))
        assert reply.status == 200
        event = shore.house.event(reply.request_id)
        assert (event.principal, event.details["certificate"]) == (CALLER, row.id)
        assert asked(showing(served, shore, bound)) == (403, "access-denied")  # a viewer, by the partner's certificate
        assert asked(served, "caller") == (200, "")  # keys count as before
        assert asked(showing(served, shore, chain), "caller") == (200, "")
        certificate, key = shore.files(chain)
        url, ca = f"https://127.0.0.1:{served.port}", shore.folder / "ca.pem"
        ca.write_bytes(shore.ours.ca_pem)
        with Client(url, ClientCertificate(certificate, key), ca) as client:
            assert client.infer("digits", {"X": digit()}).version == "1"


def test_what_the_handshake_refuses(shore: Shore) -> None:
    """Certificates of strangers, out of their time, self-signed, for servers, or without their key."""
    shore.issued()
    expired = shore.of(shore.partner, days=1, ago=3)
    early = shore.of(shore.partner, ago=-2)
    server = shore.ours.issue(["x.example"], 1, shore.records.clock.now())
    with open_shore(shore) as served:
        for chain, private in (
            (shore.of(shore.strange), None),
            (expired, None),
            (early, None),
            server,
            (_self_signed(shore), None),
        ):
            assert asked(showing(served, shore, chain, private)) == (0, "")
        with pytest.raises(ssl.SSLError):
            showing(served, shore, shore.of(shore.partner), new_private_key())
        served.serves()
        with pytest.raises(Unavailable, match=r"certificate-refused|unreachable"):
            _sdk(shore, served, shore.of(shore.strange)).metadata("digits")
    for files in (
        (shore.folder / "none", shore.folder / "none"),
        (shore.folder / "client.pem", shore.folder / "client.pem"),
    ):
        with pytest.raises(Invalid, match="certificate-unusable"):
            Client("https://127.0.0.1:1", ClientCertificate(*files))
    with pytest.raises(Invalid, match="target-malformed"):
        Client("http://127.0.0.1:1", ClientCertificate(*shore.files(b"", None)))


def test_what_the_gateway_refuses(shore: Shore) -> None:
    """Good to TLS, and nobody's; or somebody's who left; or of somebody else."""
    loose = shore.of(shore.partner)
    row, chain = shore.issued()
    gone, gones = shore.issued(VIEWER)
    shore.change(lambda tx: revoke_possession(tx, Kind.CERTIFICATE, gone.id))
    _, confined = shore.issued(networks=("203.0.113.0/24",))
    _, narrow = shore.issued(actions=frozenset({Action.MODEL_READ}))
    _, foreign = shore.issued(scope=ELSEWHERE)
    with open_shore(shore) as served:
        assert asked(showing(served, shore, None)) == (401, "key-missing")
        for made, why in ((loose, "unknown"), (gones, "revoked"), (confined, "address")):
            assert asked(showing(served, shore, made)) == (401, "certificate-refused")
            assert audited(shore.house) == f"certificate-{why}"
        assert asked(showing(served, shore, narrow)) == (403, "access-denied")
        assert asked(showing(served, shore, foreign)) == (404, "model-unknown")
        # a key beside it: of the same principal, or none; and who shows a revoked certificate is trusted with nothing
        assert asked(showing(served, shore, chain), "viewer") == (401, "credentials-mixed")
        assert asked(showing(served, shore, foreign), "caller") == (401, "credentials-mixed")
        assert asked(showing(served, shore, gones), "viewer") == (401, "certificate-refused")
        assert asked(showing(served, shore, loose), "caller") == (200, "")
        shore.change(lambda tx: revoke_possession(tx, Kind.CERTIFICATE, row.id))
        assert asked(showing(served, shore, chain), "caller") == (401, "certificate-refused")


CLAIMS = (
    "x-client-cert", "x-ssl-client-cert", "x-ssl-client-verify", "x-forwarded-client-cert", "x-client-certificate",
    "client-cert", "client-cert-chain", "ssl-client-s-dn", "forwarded", "x-forwarded-for", "x-forwarded-proto", "via",
    "fastness-peer", "fastness.peer", "x-arr-clientcert", "x-amzn-mtls-clientcert", "cf-client-cert-sha256",
)  # fmt: skip


def test_no_header_stands_for_a_certificate(shore: Shore) -> None:
    """RFC 9440 and its many elders: what a proxy would write, a client can write."""
    row, chain = shore.issued()
    flat = chain.decode().replace("\n", "%0A")
    with open_shore(shore) as served:
        for name in CLAIMS:
            for value in (row.id, flat, f":{row.id}:", f"Hash={row.id}", 'for=127.0.0.1;proto=https;host="gateway"'):
                headers = served.house.headers(None) | {name: value}
                reply = served.ask("POST", PATH, json_body(), headers)
                assert (reply.status, reply.code) == (401, "key-missing"), name
            seen = served.ask("POST", PATH, json_body(), served.house.headers("caller") | {name: row.id})
            assert served.house.event(seen.request_id).details.get("certificate") is None


def test_revocation_counts_on_open_connections_and_on_resumed_ones(shore: Shore) -> None:
    row, chain = shore.issued()
    with open_shore(shore) as served:
        context = showing(served, shore, chain).context
        assert context is not None
        first = _connected(served, context)
        assert _over(first, served) == 200
        session = first.session
        resumed = _connected(served, context, session)
        assert _over(resumed, served) == 200
        assert resumed.session_reused
        shore.change(lambda tx: revoke_possession(tx, Kind.CERTIFICATE, row.id))
        assert _over(first, served) == _over(resumed, served) == 401
        again = _connected(served, context, session)
        assert _over(again, served) == 401
        assert audited(shore.house) == "certificate-revoked"
        for each in (first, resumed, again):
            each.close()


def test_expiry_counts_on_open_connections(shore: Shore) -> None:
    _, chain = shore.issued(days=1 / 86_400 * 3)
    with open_shore(shore) as served:
        context = showing(served, shore, chain).context
        assert context is not None
        with contextlib.closing(_connected(served, context)) as connection:
            assert _over(connection, served) == 200
            deadline = time.monotonic() + 10
            while (status := _over(connection, served)) == 200 and time.monotonic() < deadline:
                time.sleep(0.2)
            assert status == 401
            assert audited(shore.house) == "certificate-expired"


def test_nothing_older_than_tls_1_3_so_no_renegotiation_and_no_certificate_later(shore: Shore) -> None:
    _, chain = shore.issued()
    with open_shore(shore) as served:
        old = ssl.create_default_context(cadata=shore.leaf.clients_pem)
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises(ssl.SSLError), socket.create_connection(("127.0.0.1", served.port), 10) as raw:
            old.wrap_socket(raw, server_hostname="127.0.0.1")
        context = showing(served, shore, None).context
        assert context is not None
        context.post_handshake_auth = True
        with contextlib.closing(_connected(served, context)) as connection:
            context.load_cert_chain(*shore.files(chain))
            assert _over(connection, served) == 401


def test_tokens_are_bound_to_the_connection(shore: Shore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token with `cnf` is good over its certificate's connections alone (RFC 8705, section 3)."""
    from tests.unit.access.issuing import AUDIENCE, ISSUER, Mint

    del monkeypatch
    row, chain = shore.issued()
    _, other = shore.issued()
    mint = Mint()
    mint.clock.advance((SystemClock().now() - mint.clock.now()) / 1e9)
    mint.person("caller", Role.DEVELOPER, kind=PrincipalKind.SERVICE)
    token = mint.issued(principal=CALLER, thumbprint=row.id)
    snapshot = mint.snapshot()
    assert (snapshot.issuer, snapshot.audience) == (ISSUER, AUDIENCE)
    shore.house.publish(
        shore.house.tokens, TokenKeys(*(getattr(snapshot, name) for name in snapshot.__struct_fields__))
    )
    with open_shore(shore) as served:
        assert asked(showing(served, shore, chain), token) == (200, "")
        assert asked(showing(served, shore, other), token) == (401, "token-refused")
        assert asked(served, token) == (401, "token-refused")
        assert audited(shore.house) == "token-binding"
        shore.change(lambda tx: revoke_possession(tx, Kind.CERTIFICATE, row.id))
        assert asked(showing(served, shore, chain), token) == (401, "certificate-refused")
    mint.records.close()


def test_where_certificates_are_required_a_key_alone_is_nothing(tmp_path: Path) -> None:
    shore = Shore(tmp_path, "required")
    row, chain = shore.issued()
    loose = shore.of(shore.partner)
    with open_shore(shore) as served:
        assert asked(showing(served, shore, None), "caller") == (0, "")
        assert asked(showing(served, shore, loose), "caller") == (401, "certificate-refused")
        assert asked(showing(served, shore, chain), "viewer") == (401, "credentials-mixed")
        assert asked(showing(served, shore, chain), "caller") == asked(showing(served, shore, chain)) == (200, "")
        shore.change(lambda tx: revoke_possession(tx, Kind.CERTIFICATE, row.id))
        assert asked(showing(served, shore, chain), "caller") == (401, "certificate-refused")
    shore.records.records.close()


def test_a_stale_snapshot_refuses(shore: Shore) -> None:
    _, chain = shore.issued()
    with open_shore(shore) as served:
        shore.house.now_ns += 2 * 10**9
        assert asked(showing(served, shore, chain)) == (503, "snapshot-stale")


def _connected(served: Served, context: ssl.SSLContext, session: ssl.SSLSession | None = None) -> ssl.SSLSocket:
    raw = socket.create_connection(("127.0.0.1", served.port), 20)
    return context.wrap_socket(raw, server_hostname="127.0.0.1", session=session)


def _over(connection: ssl.SSLSocket, served: Served) -> int:
    """The status of one more request on an open connection."""
    body = json_body()
    headers = served.house.headers(None) | {"content-length": str(len(body))}
    lines = [f"POST {PATH} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    connection.sendall("\r\n".join(lines).encode() + body)
    return read_reply(connection).status


def _sdk(shore: Shore, served: Served, chain: bytes) -> Client:
    ca = shore.folder / "ca.pem"
    ca.write_bytes(shore.ours.ca_pem)
    return Client(f"https://127.0.0.1:{served.port}", ClientCertificate(*shore.files(chain)), ca)


def _self_signed(shore: Shore) -> bytes:
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
    from cryptography.x509.oid import NameOID

    key = load_pem_private_key(shore.private, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    ours = x509.load_pem_x509_certificate(shore.ours.ca_pem)
    assert ours.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    builder = (
        x509.CertificateBuilder().subject_name(ours.subject).issuer_name(ours.subject)
    )  # the name of the authority
    builder = builder.public_key(key.public_key()).serial_number(7)
    builder = builder.not_valid_before(datetime.now(UTC) - timedelta(1)).not_valid_after(
        datetime.now(UTC) + timedelta(1)
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
