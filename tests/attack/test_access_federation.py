"""Providers that lie, and those who pretend to be one: SSRF, mix-up, poisoned keys, forged and moved id tokens.

The provider here is a server on the loopback that says whatever the test wants. Success rate of the attacks below: 0.
Sources: OpenID Connect Core 1.0, section 16; RFC 9700, section 4.4; Mainka et al., "SoK: Single Sign-On Security: An
Evaluation of OpenID Connect", EuroS&P 2017; OWASP SSRF Prevention Cheat Sheet.
"""

from __future__ import annotations

import hashlib
import hmac
import http.server
import json
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from cryptography.hazmat.primitives import serialization
from sqlalchemy import update

from fastness.access import federation
from fastness.access.federation import Authentication, Fetcher, Provider
from fastness.access.federation.fetching import LARGEST, read_address
from fastness.access.federation.tables import FEDERATION_LOGIN, FEDERATION_PROVIDER
from fastness.access.tokens.jose import SigningKey, base64url, make_key, public_jwk, sign
from fastness.core.clock import SECOND, SystemClock
from fastness.core.errors import Corrupt, FastnessError, Invalid, NotFound, Unauthenticated, Unavailable
from fastness.core.identity import PrincipalId, Role, Strength
from fastness.core.secrets import SecretBytes
from fastness.foundation.crypto import CertificateAuthority, SealedKeyRing
from tests.unit.access.federated import Gate, settled
from tests.unit.access.house import ADMIN

ALICE = PrincipalId("user:alice")


class Liar:
    """A provider that signs whatever it is told to."""

    def __init__(self) -> None:
        self.key = make_key("ES256")
        self.document: dict[str, Any] = {}
        self.keys: Any = None
        self.claims: dict[str, Any] = {}
        self.answer: dict[str, Any] = {}
        self.asked: list[str] = []
        self.forms: list[dict[str, str]] = []
        self.signing: Callable[[dict[str, Any]], str] = lambda claims: sign(self.key, "JWT", claims)
        self.raw: dict[str, Callable[[http.server.BaseHTTPRequestHandler], None]] = {}
        liar = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                liar.serve(self)

            def do_POST(self) -> None:
                liar.serve(self)

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.issuer = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def serve(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        self.asked.append(handler.path)
        if handler.path in self.raw:
            self.raw[handler.path](handler)
            return
        length = int(handler.headers.get("Content-Length", 0))
        if length:
            self.forms.append(dict(parse_qsl(handler.rfile.read(length).decode())))
        if handler.path.endswith("/openid-configuration"):
            self.reply(handler, self.whole_document())
        elif handler.path == "/jwks":
            self.reply(handler, self.keys if self.keys is not None else {"keys": [self.jwk()]})
        else:
            self.reply(
                handler, {"access_token": "the access token", "id_token": self.signing(self.claims)} | self.answer
            )

    def jwk(self, key: SigningKey | None = None, **changes: Any) -> dict[str, Any]:
        key = key or self.key
        return {**public_jwk(key.key), "kid": key.kid, "alg": key.alg, "use": "sig", **changes}

    def whole_document(self) -> Any:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/auth",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/jwks",
        } | self.document

    @staticmethod
    def reply(handler: http.server.BaseHTTPRequestHandler, value: Any, status: int = 200) -> None:
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)


class Scene(Gate):
    def __init__(self, liar: Liar, **changes: Any) -> None:
        super().__init__()
        self.liar = liar
        self.settle(liar.issuer, **changes)

    def attempt(self, name: str = "acme", *, fresh: bool = False, **claims: Any) -> federation.Proven:
        begun = self.begun(name, fresh=fresh)
        asked = dict(parse_qsl(urlsplit(begun.location).query))
        now_s = self.clock.now() // SECOND
        whole = {
            "iss": self.liar.issuer,
            "aud": "fastness",
            "sub": "subject-of-alice",
            "exp": now_s + 60,
            "iat": now_s,
            "auth_time": now_s,
            "nonce": asked["nonce"],
        } | claims
        self.liar.claims = {name: value for name, value in whole.items() if value is not None}
        return self.proven(self.resumed({"code": "code", "state": asked["state"]}, begun.browser, name))

    def attempt_with(self, key: SigningKey) -> federation.Proven:
        self.liar.signing = lambda claims: sign(key, "JWT", claims)
        return self.attempt()

    def why(self, **claims: Any) -> str:
        with pytest.raises(Unauthenticated) as caught:
            self.attempt(**claims)
        assert caught.value.code == "federation-refused"
        return caught.value.audit_code


@pytest.fixture
def liar() -> Iterator[Liar]:
    made = Liar()
    yield made
    made.close()


@pytest.fixture
def scene(liar: Liar) -> Iterator[Scene]:
    made = Scene(liar)
    yield made
    made.records.close()


def test_the_good_login_passes_so_the_others_are_not_refused_for_another_reason(scene: Scene) -> None:
    proven = scene.attempt()
    assert (proven.subject, proven.strength) == ("subject-of-alice", Strength.PASSWORD)
    assert scene.admitted(proven).principal.id == ALICE
    form = scene.liar.forms[0]
    assert form["redirect_uri"] == "https://fastness.example/console/login/oidc/acme/callback"
    assert len(form["code_verifier"]) == 43


# Where it is fetched from

INSIDE = {
    "loopback": "127.0.0.1",
    "loopback, another": "127.8.8.8",
    "this host": "0.0.0.0",
    "private 10": "10.0.0.1",
    "private 172": "172.16.5.5",
    "private 192": "192.168.1.1",
    "link-local, cloud metadata": "169.254.169.254",
    "carrier": "100.64.0.1",
    "multicast": "224.0.0.1",
    "broadcast": "255.255.255.255",
    "reserved": "240.0.0.1",
    "documentation": "192.0.2.1",
    "IPv6 loopback": "::1",
    "IPv6 unspecified": "::",
    "IPv6 private": "fd00::1",
    "IPv6 link-local": "fe80::1",
    "IPv6 multicast": "ff02::1",
    "IPv4 mapped": "::ffff:169.254.169.254",
    "IPv4 by NAT64": "64:ff9b::a9fe:a9fe",
    "IPv4 by 6to4": "2002:a9fe:a9fe::1",
    "IPv4 by Teredo": "2001:0:4136:e378:8000:63bf:5601:5601",
    "nothing": "",
}


@pytest.mark.parametrize("address", INSIDE.values(), ids=INSIDE)
def test_a_name_that_leads_inside(address: str) -> None:
    """Nothing is connected to: the refusal stands before the socket (which no test could open to the outside)."""
    fetcher = Fetcher(resolve=lambda *_: [address] if address else [])
    with pytest.raises((Invalid, Unavailable)) as caught:
        fetcher.get("https://provider.example/x")
    assert caught.value.code in {"address-refused", "provider-unreachable"}


def test_one_inner_address_among_outer_ones_is_enough() -> None:
    fetcher = Fetcher(resolve=lambda *_: ["93.184.216.34", "10.0.0.1"])
    with pytest.raises(Invalid, match="address-refused"):
        fetcher.get("https://provider.example/x")


def test_a_name_is_resolved_once_and_its_answer_is_what_is_connected_to(liar: Liar) -> None:
    """DNS rebinding: the second answer would lead inside, and is never asked for."""
    answers = iter([["127.0.0.1"]])
    fetcher = Fetcher(loopback=True, resolve=lambda *_: next(answers))
    assert json.loads(fetcher.get(f"{liar.issuer}/jwks"))["keys"]


def test_private_networks_only_where_they_are_settled() -> None:
    allowed = Fetcher(networks=("127.0.0.0/8", "10.20.0.0/16"), resolve=lambda *_: ["10.21.0.1"])
    with pytest.raises(Invalid):
        allowed.get("https://provider.example/x")
    with pytest.raises(Invalid):
        Fetcher(networks=("inside",))


ADDRESSES = [
    "http://provider.example/",
    "http://127.0.0.1:80/",
    "ftp://provider.example/",
    "file:///etc/passwd",
    "gopher://provider.example/",
    "https://user@provider.example/",
    "https://provider.example@127.0.0.1/",
    "https://provider.example#@127.0.0.1/",
    "https://provider.example\\@127.0.0.1/",
    "https://",
    "https:///x",
    "//provider.example/",
    "https://2130706433/",
    "https://0x7f.1/",
    "https://127.1/",
    "https://provider.example:99999/",
    "https://provider..example/",
    "https://provider.example/a b",
    "https://provider.example/\r\nHost: inside",
    "https://prov\u0131der.example/",
    "https://[::1",
    "",
    "x" * 5000,
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_what_is_no_address_to_fetch_from(address: str) -> None:
    with pytest.raises(Invalid, match="address-refused"):
        read_address(address, loopback=False)


def test_redirections_are_not_followed(scene: Scene) -> None:
    def elsewhere(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", f"{scene.liar.issuer}/inside")
        handler.end_headers()

    scene.liar.raw["/jwks"] = elsewhere
    with pytest.raises(Unavailable, match="302"):
        scene.attempt()
    assert "/inside" not in scene.liar.asked


def test_an_answer_without_end(liar: Liar) -> None:
    def endless(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        for _ in range(LARGEST // 1000):
            handler.wfile.write(b"x" * 1001)

    liar.raw["/jwks"] = endless
    with pytest.raises(Corrupt, match="too large"):
        Fetcher(loopback=True, timeout_s=30).get(f"{liar.issuer}/jwks")


@pytest.mark.parametrize("where", ["before the status", "in the head", "in the body"])
def test_an_answer_that_drips(liar: Liar, where: str) -> None:
    """Each read is answered in time, the whole never: it is ended as a whole."""
    over = threading.Event()

    def drip(handler: http.server.BaseHTTPRequestHandler) -> None:
        if where == "in the head":
            handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        elif where == "in the body":
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        else:
            handler.wfile.write(b"H")
        try:
            while not over.is_set():
                handler.wfile.write(b"a")
                handler.wfile.flush()
                time.sleep(0.02)
        except OSError:
            pass

    liar.raw["/jwks"] = drip
    try:
        with pytest.raises(Unavailable):
            Fetcher(loopback=True, timeout_s=0.3).get(f"{liar.issuer}/jwks")
    finally:
        over.set()


def test_a_compressed_answer(liar: Liar) -> None:
    """A small answer that becomes a large one."""

    def compressed(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Encoding", "gzip")
        handler.end_headers()
        handler.wfile.write(b"x")

    liar.raw["/jwks"] = compressed
    with pytest.raises(Corrupt, match="compressed"):
        Fetcher(loopback=True).get(f"{liar.issuer}/jwks")


def test_a_certificate_of_another_name_or_authority(tmp_path: Path) -> None:
    """TLS is checked against the name that was asked for, though the address was resolved before."""
    now = SystemClock().now()
    authority = CertificateAuthority.create(SealedKeyRing.in_memory(os.urandom), now)
    chain, key = authority.issue(["provider.example"], 1, now)
    (tmp_path / "server").write_bytes(chain + key)
    (tmp_path / "ca").write_bytes(authority.ca_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    here: dict[str, Any] = {"loopback": True, "resolve": lambda *_: ["127.0.0.1"], "timeout_s": 10.0}
    port = server.server_port
    try:
        with pytest.raises(Unavailable, match="501"):  # it was reached, and has no GET
            Fetcher(ca_file=str(tmp_path / "ca"), **here).get(f"https://provider.example:{port}/")
        with pytest.raises(Unavailable, match="does not answer"):
            Fetcher(ca_file=str(tmp_path / "ca"), **here).get(f"https://other.example:{port}/")
        with pytest.raises(Unavailable, match="does not answer"):
            Fetcher(**here).get(f"https://provider.example:{port}/")
    finally:
        server.shutdown()
        server.server_close()


# What it publishes

DOCUMENTS: dict[str, dict[str, Any]] = {
    "another issuer": {"issuer": "https://evil.example"},
    "no issuer": {"issuer": None},
    "issuer with a slash": {"issuer": "http://127.0.0.1/"},
    "token endpoint elsewhere": {"token_endpoint": "https://evil.example/token"},
    "keys elsewhere": {"jwks_uri": "https://evil.example/jwks"},
    "authorization elsewhere": {"authorization_endpoint": "https://evil.example/auth"},
    "another port": {"token_endpoint": "http://127.0.0.1:1/token"},
    "script": {"authorization_endpoint": "javascript:alert(1)"},
    "file": {"jwks_uri": "file:///etc/passwd"},
    "metadata": {"jwks_uri": "http://169.254.169.254/latest"},
    "no keys": {"jwks_uri": None},
    "no text": {"token_endpoint": ["x"]},
    "no codes": {"response_types_supported": ["id_token"]},
    "no PKCE": {"code_challenge_methods_supported": ["plain"]},
}


@pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS)
def test_documents_that_lead_elsewhere(scene: Scene, document: dict[str, Any]) -> None:
    scene.liar.document = document
    with pytest.raises(Corrupt, match="provider-document"):
        scene.begun()


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b'{"issuer": 1, "issuer": 2}', b"\xff", b"[" * 100_000, b"null"])
def test_documents_that_are_none(scene: Scene, data: bytes) -> None:
    scene.liar.raw["/.well-known/openid-configuration"] = lambda handler: scene.liar.reply(handler, data)
    with pytest.raises(Corrupt):
        scene.begun()


def test_hosts_that_are_settled_are_fine(liar: Liar) -> None:
    scene = Scene(liar, hosts=("keys.example",))
    liar.document = {"jwks_uri": "https://keys.example/jwks"}
    scene.begun()
    scene.records.close()


def poisoned() -> dict[str, Any]:
    mine = make_key("ES256")
    ec = {**public_jwk(mine.key), "kid": "k"}
    return {
        "symmetric": {"keys": [{"kty": "oct", "k": "AAAA", "kid": "k", "alg": "HS256"}]},
        "private": {"keys": [{**mine.key.as_dict(private=True), "kid": "k"}]},
        "without a name": {"keys": [public_jwk(mine.key)]},
        "two of one name": {"keys": [ec, ec]},
        "another type than its algorithm": {"keys": [{**ec, "kty": "RSA", "alg": "ES256"}]},
        "another curve": {"keys": [{**ec, "crv": "P-521", "alg": "ES256"}]},
        "a point that is none": {"keys": [{**ec, "x": "A" * 43}]},
        "too many": {"keys": [{**ec, "kid": str(number)} for number in range(33)]},
        "no list": {"keys": {"k": ec}},
        "no objects": {"keys": ["k"]},
        "nothing": {},
        "a small RSA key": {"keys": [{"kty": "RSA", "n": base64url(b"\xff" * 64).decode(), "e": "AQAB", "kid": "k"}]},
    }


@pytest.mark.parametrize("name", poisoned())
def test_key_sets_that_are_poisoned(scene: Scene, name: str) -> None:
    scene.liar.keys = poisoned()[name]
    with pytest.raises(Corrupt, match="provider-keys"):
        scene.attempt()


@pytest.mark.parametrize("changes", [{"use": "enc"}, {"alg": "RS512"}, {"alg": "HS256"}, {"alg": "none"}])
def test_keys_for_something_else_verify_nothing(scene: Scene, changes: dict[str, str]) -> None:
    scene.liar.keys = {"keys": [scene.liar.jwk(**changes)]}
    assert scene.why() == "token-key-unknown"


def test_a_known_name_does_not_change_its_key(scene: Scene) -> None:
    """Poisoning of a set that is remembered: an unknown name fetches it anew, and the known one is another key now."""
    scene.attempt()
    own = replace(make_key("ES256"), kid=scene.liar.key.kid)
    fresh = make_key("ES256")
    scene.liar.keys = {"keys": [scene.liar.jwk(own), scene.liar.jwk(fresh)]}
    scene.clock.advance(61)
    with pytest.raises(Corrupt, match="kept its name"):
        scene.attempt_with(fresh)
    scene.liar.signing = lambda claims: sign(scene.liar.key, "JWT", claims)
    scene.attempt()  # the old one is still good


def test_unknown_names_do_not_make_the_house_hammer_a_provider(scene: Scene) -> None:
    scene.attempt()
    before = scene.liar.asked.count("/jwks")
    for _ in range(20):
        own = make_key("ES256")
        scene.liar.signing = lambda claims, own=own: sign(own, "JWT", claims)
        assert scene.why() == "token-key-unknown"
    assert scene.liar.asked.count("/jwks") == before
    scene.clock.advance(61)
    for _ in range(5):
        assert scene.why() == "token-key-unknown"
    assert scene.liar.asked.count("/jwks") == before + 1


def test_a_provider_that_does_not_answer_lets_nobody_in(scene: Scene) -> None:
    scene.attempt()
    scene.liar.raw["/token"] = lambda handler: scene.liar.reply(handler, {"error": "x"}, 500)
    assert scene.why() == "code-refused"
    scene.clock.advance(3601)
    scene.liar.raw["/.well-known/openid-configuration"] = lambda handler: scene.liar.reply(handler, {}, 500)
    with pytest.raises(Unavailable):
        scene.attempt()


# What it says of a person

CLAIMS: dict[str, tuple[dict[str, Any], str]] = {
    "another issuer": ({"iss": "https://evil.example"}, "issuer-other"),
    "no issuer": ({"iss": None}, "issuer-other"),
    "for another client": ({"aud": "other"}, "audience-other"),
    "for several": ({"aud": ["fastness", "other"]}, "audience-other"),
    "for several, by us": ({"aud": ["fastness", "other"], "azp": "fastness"}, "audience-other"),
    "for nobody": ({"aud": None}, "audience-other"),
    "for nobody, listed": ({"aud": []}, "audience-other"),
    "by another party": ({"azp": "other"}, "party-other"),
    "without end": ({"exp": None}, "token-claims"),
    "without beginning": ({"iat": None}, "token-claims"),
    "end as text": ({"exp": "9999999999"}, "token-claims"),
    "without a subject": ({"sub": None}, "id-token-claims"),
    "an empty subject": ({"sub": ""}, "id-token-claims"),
    "a long subject": ({"sub": "x" * 256}, "id-token-claims"),
    "a subject as a number": ({"sub": 1}, "id-token-claims"),
    "without a nonce": ({"nonce": None}, "nonce-other"),
    "another nonce": ({"nonce": "x" * 43}, "nonce-other"),
    "a nonce as a list": ({"nonce": ["x"]}, "nonce-other"),
    "no time of login": ({"auth_time": None}, "id-token-claims"),
    "another access token": ({"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}, "access-token-other"),
    "an at_hash that is none": ({"at_hash": 1}, "access-token-other"),
}


@pytest.mark.parametrize(("claims", "audit_code"), CLAIMS.values(), ids=CLAIMS)
def test_id_tokens_that_are_wrong_though_the_provider_signed_them(
    scene: Scene, claims: dict[str, Any], audit_code: str
) -> None:
    assert scene.why(**claims) == audit_code


@pytest.mark.parametrize(
    ("claim", "offset", "audit_code"),
    [
        ("exp", -31, "id-token-expired"),
        ("iat", -601, "id-token-expired"),
        ("iat", 31, "id-token-early"),
        ("nbf", 31, "id-token-early"),
        ("auth_time", -28_831, "login-old"),
        ("auth_time", 31, "login-old"),
    ],
)
def test_id_tokens_out_of_their_time(scene: Scene, claim: str, offset: int, audit_code: str) -> None:
    assert scene.why(**{claim: scene.clock.now() // SECOND + offset}) == audit_code


def test_a_step_up_wants_a_login_of_now(scene: Scene) -> None:
    now_s = scene.clock.now() // SECOND
    scene.attempt(fresh=True, auth_time=now_s - 200)
    assert scene.why(fresh=True, auth_time=now_s - 400) == "login-old"


def test_the_access_token_that_belongs_to_it(scene: Scene) -> None:
    half = hashlib.sha256(b"the access token").digest()[:16]
    scene.attempt(at_hash=base64url(half).decode())


def test_id_tokens_that_the_provider_did_not_sign(scene: Scene) -> None:
    scene.attempt()
    own = make_key("ES256")
    scene.liar.signing = lambda claims: sign(replace(own, kid=scene.liar.key.kid), "JWT", claims)
    assert scene.why() == "token-forged"
    scene.liar.signing = lambda claims: unsigned({"alg": "none", "kid": scene.liar.key.kid}, claims)
    assert scene.why() == "token-algorithm"
    scene.liar.signing = lambda claims: unsigned({"alg": "none"}, claims)
    assert scene.why() == "token-key-unknown"
    scene.liar.signing = lambda claims: under_public_key(scene.liar.key, claims)
    assert scene.why() == "token-algorithm"
    embedded = {"alg": "ES256", "kid": scene.liar.key.kid, "jwk": public_jwk(own.key)}
    scene.liar.signing = lambda claims: unsigned(embedded, claims)
    assert scene.why() == "token-header"
    scene.liar.signing = lambda claims: sign(scene.liar.key, "at+jwt", claims)
    assert scene.why() == "token-type"
    scene.liar.answer = {"id_token": None}
    assert scene.why() == "id-token-missing"
    scene.liar.answer = {"id_token": "x.y.z"}
    assert scene.why() == "token-malformed"


def unsigned(header: dict[str, Any], claims: dict[str, Any]) -> str:
    parts = [json.dumps(header).encode(), json.dumps(claims).encode(), bytes(64)]
    return b".".join(map(base64url, parts)).decode()


def under_public_key(key: SigningKey, claims: dict[str, Any]) -> str:
    signed = unsigned({"alg": "HS256", "kid": key.kid}, claims).rpartition(".")[0].encode()
    pem = key.key.public_key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    signature = hmac.digest(pem, signed, "sha256")
    return (signed + b"." + base64url(signature.ljust(64, b"\0"))).decode()


def test_the_token_of_one_provider_is_none_of_another(liar: Liar) -> None:
    """Mix-up: both are settled, and one of them lies."""
    honest = Liar()
    scene = Scene(liar)
    scene.settle(honest.issuer, name="honest", people={"subject-of-root": PrincipalId("user:alice")})
    liar.signing = lambda claims: sign(liar.key, "JWT", claims | {"iss": honest.issuer, "sub": "subject-of-root"})
    assert scene.why() == "issuer-other"
    begun = scene.begun("honest")
    state = dict(parse_qsl(urlsplit(begun.location).query))["state"]
    assert scene.resumed({"code": "code", "state": state}, begun.browser, "acme") is None
    honest.close()
    scene.records.close()


def test_the_same_subject_at_another_provider_is_somebody_else(liar: Liar) -> None:
    scene, other = Scene(liar), Liar()
    scene.admitted(scene.attempt())
    scene.settle(other.issuer, name="other", people={"somebody": PrincipalId("user:alice")})
    scene.liar = other
    proven = scene.attempt("other")
    with pytest.raises(Unauthenticated) as caught:
        scene.admitted(proven)
    assert caught.value.audit_code == "identity-unknown"
    other.close()
    scene.records.close()


@pytest.mark.parametrize("verified", [True, False, None, "true"])
def test_an_address_of_mail_makes_nobody(liar: Liar, verified: object) -> None:
    """Addresses change hands, verified or not: neither settled as what tells people apart, nor looked at otherwise."""
    for claim in ("claim", "name_claim"):
        with pytest.raises(Invalid, match="provider-claim"):
            settled(liar.issuer, **{claim: "email"})
    scene = Scene(liar, people={"alice@example.org": PrincipalId("user:alice")})
    with pytest.raises(Unauthenticated) as caught:
        scene.admitted(scene.attempt(sub="somebody", email="alice@example.org", email_verified=verified))
    assert (caught.value.code, caught.value.audit_code) == ("identity-refused", "identity-unknown")
    scene.records.close()


@pytest.mark.parametrize("claims", [{}, {"hd": "evil.example"}, {"hd": ["evil.example"]}, {"hd": True}, {"hd": None}])
def test_who_lacks_a_required_claim_stays_out(liar: Liar, claims: dict[str, Any]) -> None:
    scene = Scene(liar, required={"hd": "example.org"})
    with pytest.raises(Unauthenticated) as caught:
        scene.admitted(scene.attempt(**claims))
    assert caught.value.audit_code == "claims-other"
    for held in ("example.org", ["evil.example", "example.org"]):
        assert scene.admitted(scene.attempt(hd=held)).principal.id == ALICE
    scene.records.close()


@pytest.mark.parametrize("groups", ["administrators", {"administrators": True}, [1], ["x"] * 1001])
def test_groups_that_are_none(liar: Liar, groups: object) -> None:
    scene = Scene(liar, groups_claim="groups", groups={"administrators": (Role.ADMINISTRATOR,)})
    proven = scene.attempt(groups=groups)
    with pytest.raises(Unauthenticated) as caught:
        scene.admitted(proven)
    assert caught.value.audit_code == "groups-malformed"
    scene.records.close()


def test_a_provider_gives_only_the_roles_that_are_settled(liar: Liar) -> None:
    scene = Scene(liar, groups_claim="groups", groups={"staff": (Role.VIEWER,)})
    claims = {"groups": ["administrator", "role:administrator", "staff"], "roles": ["administrator"]}
    admitted = scene.admitted(scene.attempt(**claims, acr="mfa", amr=["mfa"]))
    assert admitted.principal.roles == {Role.DEVELOPER, Role.VIEWER}
    assert admitted.principal.strength is Strength.PASSWORD
    assert scene.admitted(scene.attempt()).principal.roles == {Role.DEVELOPER}
    scene.records.close()


@pytest.mark.parametrize("name", [None, "", "alice", "ALICE", "../root", "user:root", "a b", "root\0", 1])
def test_nobody_takes_a_name_that_is_taken_or_none(liar: Liar, name: object) -> None:
    scene = Scene(liar, provision=True, people={})
    proven = scene.attempt(sub="somebody", preferred_username=name)
    with pytest.raises(Unauthenticated):
        scene.admitted(proven)
    scene.records.close()


# The house's own part

RETURNS = [
    "//evil.example",
    "/\\evil.example",
    "https://evil.example",
    "javascript:alert(1)",
    "",
    "models",
    "/a\r\nb",
    "/" + "a" * 8300,
    "/ä",
]


@pytest.mark.parametrize("address", RETURNS)
def test_one_returns_to_this_house_alone(scene: Scene, address: str) -> None:
    with pytest.raises(Invalid, match="return-address"):
        scene.begun(return_to=address)


@pytest.mark.parametrize("state", ["", "x", "' OR 1=1 --", "a" * 43, "a" * 42 + "\n", "é" * 43])
def test_states_that_began_nothing(scene: Scene, state: str) -> None:
    begun = scene.begun()
    assert scene.resumed({"code": "code", "state": state}, begun.browser) is None
    with scene.records.read(ADMIN) as reading:
        assert scene.federation.scope_of(reading, {"state": state}).tenant == "default"


@pytest.mark.parametrize("browser", ["", "x", "é", "a" * 43])
def test_browsers_that_began_nothing(scene: Scene, browser: str) -> None:
    begun = scene.begun()
    state = dict(parse_qsl(urlsplit(begun.location).query))["state"]
    assert scene.resumed({"code": "code", "state": state}, browser) is None


def test_what_is_stored_finishes_no_login(scene: Scene) -> None:
    begun = scene.begun()
    asked = dict(parse_qsl(urlsplit(begun.location).query))
    with scene.records.read(ADMIN) as reading:
        dump = repr(list(reading.execute(FEDERATION_LOGIN.select()))) + repr(scene.events())
    for secret in (asked["state"], asked["nonce"], begun.browser, begun.browser.encode().hex()):
        assert secret not in dump
    assert begun.browser not in repr(begun)


def test_the_secret_with_a_provider_is_wrapped_and_bound_to_it(scene: Scene) -> None:
    with scene.records.read(ADMIN) as reading:
        row = next(iter(reading.execute(FEDERATION_PROVIDER.select())))
    assert b"a secret of 32" not in row.secret_wrapped
    assert "a secret" not in repr(scene.known())
    scene.settle("https://other.example", name="other")
    with scene.begin() as tx:
        tx.execute(
            update(FEDERATION_PROVIDER)
            .where(FEDERATION_PROVIDER.c.name == "other")
            .values(secret_wrapped=row.secret_wrapped)
        )
        federation.note_failure(tx, "acme", "test")
    with pytest.raises(Corrupt):
        scene.known("other")


PROVIDERS: dict[str, dict[str, Any]] = {
    "plain": {"issuer": "http://provider.example"},
    "with a query": {"issuer": "https://provider.example?x=1"},
    "its document": {"issuer": "https://provider.example/.well-known/openid-configuration"},
    "HMAC": {"algorithms": ("HS256",)},
    "none": {"algorithms": ("none",)},
    "no algorithm": {"algorithms": ()},
    "memberships without a claim": {"memberships": {"x": ("group",)}},
    "a secret that is no reference": {"secret_ref": "hunter2"},
    "a required claim without a value": {"required": {"hd": ""}},
    "a service": {"people": {"x": PrincipalId("service:robot")}},
    "groups without a claim": {"groups": {"x": (Role.VIEWER,)}},
    "a claim without groups": {"groups_claim": "groups"},
    "no client": {"client_id": ""},
    "a scope of two": {"scopes": ("a b",)},
    "no age": {"max_age_s": -1},
    "a name that is none": {"name": "../x"},
}


@pytest.mark.parametrize("changes", PROVIDERS.values(), ids=PROVIDERS)
def test_settlements_that_are_none(changes: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        settled(changes.pop("issuer", "https://provider.example"), **changes)


def test_a_secret_goes_with_its_way_of_authenticating(scene: Scene) -> None:
    provider: Provider = settled("https://provider.example")
    with scene.begin() as tx, pytest.raises(Invalid):
        federation.providers.set_provider(tx, scene.ring, provider, None)
    open_one = settled("https://provider.example", authentication=Authentication.NONE)
    with scene.begin() as tx, pytest.raises(Invalid):
        federation.providers.set_provider(tx, scene.ring, open_one, SecretBytes(b"x"))


def test_a_row_that_somebody_changed(scene: Scene) -> None:
    with scene.begin() as tx:
        tx.execute(update(FEDERATION_PROVIDER).values(document='{"name": "acme", "issuer": "http://evil.example"}'))
        federation.note_failure(tx, "acme", "test")
    with pytest.raises(Corrupt, match="access-changed"):
        scene.known()
    with pytest.raises(NotFound):
        scene.known("nobody")


def test_every_refusal_is_one_of_ours(scene: Scene) -> None:
    """Whatever the provider answers, what comes out is an error of this house."""
    for data in (b"", b"\xff", b"[]", b'{"access_token": 1, "id_token": {}}', b'{"id_token": "a"}', os.urandom(100)):
        scene.liar.raw["/token"] = lambda handler, data=data: scene.liar.reply(handler, data)
        with pytest.raises(FastnessError):
            scene.attempt()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
    with pytest.raises(Unavailable):
        Fetcher(loopback=True).get(f"http://127.0.0.1:{port}/")
