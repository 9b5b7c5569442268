"""Certificates and signatures at the control plane, over real TLS: what is shown has to be of one principal, and counts once.

Success rate of the attacks below: 0. The single rules of signatures are attacked in `test_access_signatures.py`.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
import pytest
import uvicorn

from fastness.app import House
from fastness.app.control import _Leaves
from fastness.app.leaf import load_leaf, strict_context
from fastness.client import ClientCertificate, ControlClient, HttpTransport, RequestSigner, SignedTransport
from fastness.client.signing import content_digest
from fastness.core.errors import FastnessError
from fastness.core.events import EventKind
from fastness.foundation.crypto.certificates import certificate_request, new_private_key, public_of, read_request
from fastness.interfaces.api import create_api
from fastness.interfaces.api.peer import PeerProtocol
from fastness.wire import control, possession
from tests.unit.interfaces.api.town import Town, founded, refused

ROBOT = "service:robot"


@dataclass
class Port:
    """The control plane behind TLS, and its people."""

    town: Town
    folder: Path
    port: int
    opened: list[HttpTransport] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    def pair(self, name: str, request: possession.CertificateRequest | None = None) -> ClientCertificate:
        """A certificate of the house, in files."""
        private = new_private_key()
        asked = request or possession.CertificateRequest(ROBOT, name, "")
        asked = msgspec.structs.replace(asked, request=certificate_request(private, "x").decode())
        made = self.town.client("admin").certificates.create(asked)
        files = ClientCertificate(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        files.certificate.write_text(made.chain)
        files.key.write_bytes(private)
        return files

    def signer(self, principal: str = ROBOT) -> RequestSigner:
        private = new_private_key()
        public = public_of(read_request(certificate_request(private, "x"))[1]).decode()
        maker = "admin" if principal == ROBOT else principal.partition(":")[2]  # a person's key is made by that person
        self.town.client(maker).signing_keys.add(possession.SigningKeyRequest(principal, "signs", public))
        return RequestSigner(private)

    def carrier(self, certificate: ClientCertificate | None = None) -> HttpTransport:
        made = HttpTransport(self.url, self.town.house.home.ca, 20, certificate)
        self.opened.append(made)
        return made

    def by(self, signer: RequestSigner) -> ControlClient:
        return ControlClient(SignedTransport(self.carrier(), signer, self.url))

    def raw(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None) -> tuple[int, str]:
        """Status and code of one request, sent as it is."""
        with contextlib.closing(self.carrier()) as carrier:
            reply = carrier.send(method, path, headers, body)
            data = reply.read()
        code = msgspec.json.decode(data)["type"].rpartition(":")[2] if reply.status >= 400 else ""
        return reply.status, code

    def reason(self) -> str:
        return self.town.events(EventKind.ACCESS_DENIED)[-1].reason


@contextlib.contextmanager
def listening(town: Town, house: House) -> Iterator[int]:
    """The control plane of `house` on a port, as its process serves it."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    house.settings = replace(house.settings, server=house.settings.server.listening(port))
    config = uvicorn.Config(
        create_api(house), lifespan="off", log_level="warning", ws="none", interface="asgi3", proxy_headers=False,
        timeout_graceful_shutdown=5, http=PeerProtocol,
    )  # fmt: skip
    config.load()
    config.ssl = strict_context()
    load_leaf(config.ssl, _Leaves(house).load())
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        time.sleep(0.005)
    try:
        yield port
    finally:
        server.should_exit = True
        thread.join(20)
        listener.close()


@pytest.fixture(scope="module")
def port() -> Iterator[Port]:
    with tempfile.TemporaryDirectory(prefix="fst-") as folder, founded(Path(folder) / "home") as town:
        house = town.house
        house.settings = replace(house.settings, server=replace(house.settings.server, client_certificates="optional"))
        house.nonces._floor_s = None  # the house is old enough
        with listening(town, house) as number:
            yield Port(town, Path(folder), number)


@pytest.fixture(autouse=True)
def hung_up(port: Port) -> Iterator[None]:
    yield
    while port.opened:
        port.opened.pop().close()


def test_a_certificate_is_all_it_takes(port: Port) -> None:
    files = port.pair("good")
    with contextlib.closing(ControlClient(port.carrier(files))) as client:
        me = client.login.me()
        assert (me.principal, me.strength) == (ROBOT, "signed")
        assert me.credential.startswith("certificate:")
        assert client.models.list() == []
        port.town.client("admin").certificates.revoke(me.credential.partition(":")[2])
        assert refused(client.login.me).code == "certificate-refused"  # on the same connection
        assert port.reason() == "certificate-revoked"
    assert ControlClient(port.carrier(), port.town.keys["robot"]).login.me().credential.startswith("key:")


def test_proofs_of_several_principals(port: Port) -> None:
    files = port.pair("mixed")
    assert ControlClient(port.carrier(files), port.town.keys["robot"]).login.me().principal == ROBOT
    assert refused(ControlClient(port.carrier(files), port.town.keys["viewer"]).login.me).code == "credentials-mixed"
    signed = SignedTransport(port.carrier(files), port.signer("user:viewer"), port.url)
    assert refused(ControlClient(signed).login.me).code == "credentials-mixed"
    both = SignedTransport(port.carrier(files), port.signer(), port.url)
    assert ControlClient(both, port.town.keys["robot"]).login.me().credential.startswith("key:")


def test_no_header_stands_for_a_certificate(port: Port) -> None:
    files = port.pair("claimed")
    claimed = port.town.client("auditor").certificates.list()[-1].id
    text = files.certificate.read_text().replace("\n", "%0A")
    for name in (
        "x-client-cert",
        "client-cert",
        "x-forwarded-client-cert",
        "forwarded",
        "fastness-peer",
        "fastness.peer",
    ):
        for value in (claimed, text, f"Hash={claimed}"):
            assert port.raw("GET", "/api/v1/me", {name: value}) == (401, "key-missing")


def test_a_narrow_certificate_makes_no_wider_credential(port: Port) -> None:
    asked = possession.CertificateRequest(
        ROBOT, "n", "", actions=("key.create",), networks=("127.0.0.1/32",), models=("digits",)
    )
    with contextlib.closing(ControlClient(port.carrier(port.pair("narrow", asked)))) as client:
        wide = control.KeyRequest(ROBOT, "wide", actions=("key.create", "model.read"))
        assert refused(lambda: client.access.create_key(wide)).code in {"key-wider", "credential-narrowed"}
        assert refused(client.models.list).code == "credential-narrowed"


def test_signed_requests(port: Port) -> None:
    signer = port.signer("user:operator")
    with contextlib.closing(port.by(signer)) as client:
        assert client.login.me().principal == "user:operator"
        made = client.access.create_key(control.KeyRequest("user:operator", "by signature"))
        assert made.key_id in {key.key_id for key in port.town.all_keys()}
        event = port.town.events(EventKind.ACCESS_ALLOWED)[-2]
        assert str(event.details["credential"]).startswith(("signing-key:", "key:"))
        assert refused(lambda: client.models.deploy("x", 1, "development")).code in {
            "step-up-required",
            "version-unknown",
        }


def test_a_body_under_another_ones_signature_and_a_request_sent_again(port: Port) -> None:
    signer = port.signer("user:operator")
    work = SignedTransport(port.carrier(), signer, port.url)
    body = msgspec.json.encode(control.KeyRequest("user:operator", "mine"))
    other = msgspec.json.encode(control.KeyRequest("user:operator", "evil"))
    given = {"content-type": "application/json", "content-digest": content_digest(body)}
    for sent in (other, body + b" ", b"", None):
        headers = given | work.signed("POST", "/api/v1/keys", given)
        assert port.raw("POST", "/api/v1/keys", headers, sent) == (401, "signature-refused")
    assert "evil" not in {key.name for key in port.town.all_keys()}
    headers = given | work.signed("POST", "/api/v1/keys", given)
    assert port.raw("POST", "/api/v1/keys", headers, body) == (201, "")
    assert port.raw("POST", "/api/v1/keys", headers, body) == (401, "signature-refused")
    assert port.reason() == "signature-replayed"
    once = {"idempotency-key": "k1"}
    uncovered = given | work.signed("POST", "/api/v1/keys", given) | once
    assert port.raw("POST", "/api/v1/keys", uncovered, body) == (401, "signature-refused")
    moved = given | work.signed("POST", "/api/v1/signing-keys", given)
    assert port.raw("POST", "/api/v1/keys", moved, body) == (401, "signature-refused")
    query = work.signed("GET", "/api/v1/keys?limit=1", {})
    assert port.raw("GET", "/api/v1/keys?limit=2", query) == (401, "signature-refused")
    assert port.raw("GET", "/api/v1/keys?limit=1", query | {"x": "y"})[0] in {200, 403}
    for value in ("", "x", "fastness=()", "\xff", '"', "fastness=(((((((((((("):
        changed = work.signed("GET", "/api/v1/me", {}) | {"signature-input": value}
        assert port.raw("GET", "/api/v1/me", changed) == (401, "signature-refused")


def test_a_push_under_another_ones_signature(port: Port) -> None:
    """A body that flows is held against the digest as it comes; what is wrong is not taken in."""
    signer = port.signer("user:publisher")
    work = SignedTransport(port.carrier(), signer, port.url)
    path = "/api/v1/models/swapped/versions?file=model.onnx"
    given = {"content-type": "application/octet-stream", "content-digest": content_digest(b"x" * 1000)}
    headers = given | work.signed("POST", path, given)
    with contextlib.closing(port.carrier()) as carrier:
        reply = carrier.send("POST", path, headers, [b"y" * 500, b"y" * 500])
        said = reply.read()
    assert b"signature-refused" in said, said
    assert port.town.client("viewer").models.list() == []


def test_a_session_is_no_signature(port: Port) -> None:
    headers = {"cookie": "__Host-fastness=x"} | SignedTransport(port.carrier(), port.signer(), port.url).signed(
        "GET", "/api/v1/me", {}
    )
    assert port.raw("GET", "/api/v1/me", headers) == (401, "credentials-mixed")


def test_revocation_and_leaving(port: Port) -> None:
    port.town.enrol("leaving", ("viewer",))
    with contextlib.closing(port.by(port.signer("user:leaving"))) as client:
        assert client.login.me().principal == "user:leaving"
        port.town.client("admin").access.deactivate("user:leaving")
        assert refused(client.login.me).code == "signature-refused"
        assert port.reason() == "signature-key-revoked"


def test_the_routes_tell_what_counts(port: Port) -> None:
    view = port.town.client("admin").access.routes()
    assert view.guarded == view.total
    ways = {route.plane: route.credentials for route in view.routes if route.proof == "credential"}
    assert ways["data"] == ("key", "token", "signature", "certificate")
    assert ways["control"] == ("key", "token", "session", "signature", "certificate")


def test_where_certificates_are_required(port: Port) -> None:
    house = port.town.house
    before = house.settings
    house.settings = replace(before, server=replace(before.server, client_certificates="required"))
    files = port.pair("required")
    with listening(port.town, house) as number:
        strict = replace(port, port=number)
        with contextlib.closing(strict.carrier()) as nothing, pytest.raises((FastnessError, ssl.SSLError)):
            nothing.send("GET", "/api/v1/me", {"authorization": f"Bearer {port.town.keys['robot']}"}).read()
        assert ControlClient(strict.carrier(files), port.town.keys["robot"]).login.me().principal == ROBOT
        mixed = ControlClient(strict.carrier(files), port.town.keys["viewer"])
        assert refused(mixed.login.me).code == "credentials-mixed"
        while port.opened:
            port.opened.pop().close()
    house.settings = before
    assert port.town.client("viewer").login.me().principal == "user:viewer"  # over the socket of the house: no TLS
