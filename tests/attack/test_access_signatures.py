"""Signed requests that were changed, moved, cut down, delayed or sent twice.

Success rate of the attacks below: 0. Sources: RFC 9421, section 7 (security considerations); RFC 9530, section 6.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from http_message_signatures import ContentDigest, HTTPMessageSigner
from http_message_signatures.algorithms import ECDSA_P256_SHA256, ED25519, HMAC_SHA256

from fastness.access.members import UNBOUND, KeyTerms
from fastness.access.possession import (
    Kind,
    Nonce,
    Nonces,
    PossessionKeys,
    PossessionProjection,
    SignatureSettings,
    add_signing_key,
    revoke_possession,
)
from fastness.access.possession.signatures import (
    Head,
    Rule,
    SignedRequest,
    _Message,
    is_signed,
    open_request,
    refuse_replay,
)
from fastness.access.standing import deactivate
from fastness.client import RequestSigner, SignedTransport
from fastness.client.signing import content_digest
from fastness.core.clock import SECOND, later
from fastness.core.errors import Conflict, Invalid, Unauthenticated, Unavailable
from fastness.core.identity import PrincipalId, Role, Strength
from fastness.core.limits import Limit
from fastness.foundation.crypto import SoftwareSigner
from fastness.foundation.crypto.certificates import new_private_key
from fastness.foundation.storage.seen import MemorySeen
from tests.unit.access.house import ADMIN, House, Person

HOST = "fastness.example"
RULE = Rule(SignatureSettings(max_age_s=60), frozenset({HOST, "fastness.example:8443"}))
BODY = b'{"inputs": []}'
FIELDS = (
    ("host", HOST),
    ("authorization", "Bearer fst_x"),
    ("content-type", "application/json"),
    ("content-digest", content_digest(BODY)),
    ("user-agent", "test"),
)
HEAD = Head("POST", HOST, "/v2/models/digits/infer", "trace=1&x=%20", FIELDS)


class Unchecked(ContentDigest):
    """Signs whatever digest stands there."""

    @classmethod
    def prepare(cls, headers: Any, body: bytes | None, *, use_existing_digest: bool) -> None:
        del headers, body, use_existing_digest


class Door:
    """A house, somebody with a signing key, and a server that remembers nonces."""

    def __init__(self) -> None:
        self.house = House()
        self.alice: Person = self.house.person("alice", Role.DEVELOPER)
        self.seen = MemorySeen()
        self.nonces = Nonces(self.seen, None, 5)
        self.signer = SoftwareSigner.create(os.urandom)
        self.keyid = self.register(self.alice.id, self.signer.public_pem)

    def register(self, principal: PrincipalId, pem: bytes, days: float = 30, **more: Any) -> str:
        terms = KeyTerms(Limit(10, 10), later(self.house.clock.now(), days * 86_400), **more)
        with self.house.begin() as tx:
            row = add_signing_key(tx, principal, pem, terms, UNBOUND)
        return f"{row.tenant}/{row.id}"

    def keys(self) -> PossessionKeys:
        with self.house.records.read(ADMIN) as reading:
            return PossessionProjection().load(reading)

    def signed(self, head: Head = HEAD, signer: SoftwareSigner | bytes | None = None, keyid: str = "") -> Head:
        """By the SDK."""
        private = signer if isinstance(signer, bytes) else (signer or self.signer).private_pem()
        own = RequestSigner(private)
        own.keyid = keyid or own.keyid
        path = f"{head.path}?{head.query}" if head.query else head.path
        work = SignedTransport(None, own, f"{head.scheme}://{head.authority}", self.house.clock)  # type: ignore[arg-type]
        added = work.signed(head.method, path, dict(head.fields))
        return replace(head, fields=(*head.fields, *added.items()))

    def open(self, head: Head, address: str = "192.0.2.1") -> SignedRequest:
        now = self.house.clock.now()
        signed = open_request(head, self.keys(), RULE, now, address)
        if not self.nonces.once(signed.nonce, now):
            refuse_replay()
        return signed

    def why(self, head: Head) -> str:
        with pytest.raises(Unauthenticated) as caught:
            self.open(head)
        assert caught.value.code == "signature-refused"
        return caught.value.audit_code

    def crafted(self, covered: list[str], head: Head = HEAD, **options: Any) -> Head:
        """Signed by the library with whatever one likes: the true key, other coverage or parameters."""
        message = _Message(head)
        created = options.pop("created", self.house.clock.now() // 1_000_000_000)
        values: dict[str, Any] = {"key_id": self.keyid, "nonce": "n" * 20, "tag": "fastness"} | options
        signer = HTTPMessageSigner(signature_algorithm=ED25519)
        signer.content_digest_class = Unchecked
        prepared = signer.prepare(message, covered_component_ids=covered, created=_at(created), **values)
        signer.apply(message, prepared, self.signer.sign(prepared.signature_base))
        added = [(n, v) for n, v in message.headers.items() if n in {"Signature", "Signature-Input"}]
        return replace(head, fields=(*head.fields, *added))


def _at(seconds: int) -> Any:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC)


ALL = ["@method", "@authority", "@path", "@query", "authorization", "content-type", "content-digest"]


@pytest.fixture
def door() -> Iterator[Door]:
    made = Door()
    yield made
    made.house.records.close()


def with_field(head: Head, name: str, value: str | None) -> Head:
    kept = tuple((other, old) for other, old in head.fields if other.lower() != name)
    return replace(head, fields=kept if value is None else (*kept, (name, value)))


def test_the_good_request_is_taken_so_the_others_are_not_refused_for_another_reason(door: Door) -> None:
    head = door.signed()
    assert is_signed(head)
    assert not is_signed(HEAD)
    signed = door.open(head)
    who = signed.key.owner(door.house.clock.now(), signed=True).principal
    assert (who.id, who.strength, who.signed) == (door.alice.id, Strength.SIGNED, True)
    assert who.roles == {Role.DEVELOPER}
    for place in range(0, len(BODY), 3):
        signed.body.update(BODY[place : place + 3])
    signed.body.finish()
    assert door.open(door.crafted(ALL, nonce="m" * 20)).key.principal == door.alice.id
    assert door.open(door.crafted(["@method", "@target-uri", *ALL[4:]], nonce="o" * 20)).key.principal == door.alice.id
    digested = door.crafted(ALL, nonce="p" * 20)
    assert door.open(replace(digested, authority=HOST.upper())).keyid == door.keyid


CHANGED = {
    "method": lambda head: replace(head, method="DELETE"),
    "path": lambda head: replace(head, path="/v2/models/faces/infer"),
    "path, encoded": lambda head: replace(head, path="/v2/models/%64igits/infer"),
    "path, doubled": lambda head: replace(head, path="//v2/models/digits/infer"),
    "query": lambda head: replace(head, query="trace=2&x=%20"),
    "query, cut": lambda head: replace(head, query=""),
    "query, reordered": lambda head: replace(head, query="x=%20&trace=1"),
    "query, longer": lambda head: replace(head, query=head.query + "&admin=1"),
    "authority": lambda head: replace(head, authority="fastness.example:8443"),
    "authorization": lambda head: with_field(head, "authorization", "Bearer fst_y"),
    "authorization, cut": lambda head: with_field(head, "authorization", None),
    "type": lambda head: with_field(head, "content-type", "text/plain"),
    "digest": lambda head: with_field(head, "content-digest", content_digest(b"other")),
    "digest, cut": lambda head: with_field(head, "content-digest", None),
}


@pytest.mark.parametrize("change", CHANGED.values(), ids=CHANGED)
def test_nothing_that_was_signed_can_be_changed(door: Door, change: Any) -> None:
    assert door.why(change(door.signed())) in {"signature-forged", "signature-malformed"}


def test_a_target_that_was_signed_whole_is_of_one_scheme(door: Door) -> None:
    covered = ["@method", "@target-uri", *ALL[4:]]
    door.open(door.crafted(covered))
    assert door.why(replace(door.crafted(covered, nonce="m" * 20), scheme="http")) == "signature-forged"


COUNTS = [
    "authorization", "content-type", "content-digest", "content-encoding", "fastness-elevation", "fastness-anything",
    "idempotency-key", "if-match", "inference-header-content-length",
]  # fmt: skip


@pytest.mark.parametrize("name", COUNTS)
def test_nothing_that_counts_can_be_added(door: Door, name: str) -> None:
    """A field that was not there when the request was signed, or a second one beside the signed one."""
    bare = replace(HEAD, fields=(("host", HOST),))
    assert door.why(with_field(door.signed(bare), name, "x")) == "signature-uncovered"
    head = door.signed()
    twice = replace(head, fields=(*head.fields, (name.title(), "x")))
    assert door.why(twice) in {"signature-malformed", "signature-uncovered"}


@pytest.mark.parametrize("left_out", ALL)
def test_a_signature_that_covers_less(door: Door, left_out: str) -> None:
    assert door.why(door.crafted([name for name in ALL if name != left_out])) == "signature-uncovered"


@pytest.mark.parametrize(
    "covered",
    [
        [*ALL[:-1], '"content-digest";key="sha-256"'],
        [*ALL[:-1], '"content-digest";sf'],
        [*ALL[:-1], '"content-digest";bs'],
        ["@authority", "@target-uri", *ALL[4:]],
        ["@method", "@authority", "@path", *ALL[4:]],
        ["@method", "@authority", "@path", '"@query-param";name="trace"', *ALL[4:]],
        ["@request-target", *ALL[4:]],
        [],
    ],
)
def test_a_signature_that_covers_it_in_another_way(door: Door, covered: list[str]) -> None:
    assert door.why(door.crafted(covered)) == "signature-uncovered"


def test_a_request_is_good_once(door: Door) -> None:
    head = door.signed()
    door.open(head)
    assert door.why(head) == "signature-replayed"
    door.house.clock.advance(30)
    assert door.why(head) == "signature-replayed"
    door.open(door.crafted(ALL))
    assert door.why(door.crafted(ALL)) == "signature-replayed"  # the same nonce in another request


def test_a_request_is_good_for_a_minute(door: Door) -> None:
    head = door.signed()
    door.house.clock.advance(66)
    assert door.why(head) == "signature-stale"
    now_s = door.house.clock.now() // 1_000_000_000
    assert door.why(door.crafted(ALL, created=now_s + 6)) == "signature-stale"
    assert door.why(door.crafted(ALL, created=now_s - 3600)) == "signature-stale"
    assert door.why(door.crafted(ALL, expires=_at(now_s))) == "signature-stale"
    door.open(door.crafted(ALL, created=now_s + 4))


def test_a_nonce_is_remembered_for_as_long_as_the_request_is_good(door: Door) -> None:
    now_s = door.house.clock.now() // 1_000_000_000
    head = door.crafted(ALL, created=now_s + 5)
    door.open(head)
    for _ in range(23):
        door.house.clock.advance(3)
        assert door.why(head) in {"signature-replayed", "signature-stale"}


@pytest.mark.parametrize("nonce", [None, "", "short", "x" * 65, "with space in the middle", "ümlaut-ümlaut-ümlaut"])
def test_a_nonce_is_needed(door: Door, nonce: str | None) -> None:
    try:
        head = door.crafted(ALL, nonce=nonce)
    except Exception:  # the library does not write it
        return
    assert door.why(head) in {"signature-malformed", "signature-forged"}


def test_a_request_to_another_house_is_none_to_this_one(door: Door) -> None:
    other = replace(HEAD, authority="evil.example", fields=(("host", "evil.example"), *FIELDS[1:]))
    assert door.why(door.signed(other)) == "signature-authority"


def test_only_registered_keys_of_those_in_good_standing(door: Door) -> None:
    own = SoftwareSigner.create(os.urandom)
    assert door.why(door.signed(signer=own, keyid=door.keyid)) == "signature-forged"
    enrolled = door.alice.signer  # signs approvals, and nothing else
    for keyid in (
        "",
        "default/" + enrolled.keyid,
        door.keyid.removeprefix("default/"),
        "../x",
        "other/" + door.keyid[8:],
    ):
        assert door.why(door.signed(signer=enrolled, keyid=keyid)) == "signature-key-unknown"
    bob, his = door.house.person("bob"), SoftwareSigner.create(os.urandom)
    registered = door.register(bob.id, his.public_pem)
    head, mine = door.signed(signer=his), door.signed()
    assert door.open(head).keyid == registered
    with door.house.begin() as tx:
        deactivate(tx, bob.id)
        revoke_possession(tx, Kind.SIGNING_KEY, door.keyid[8:])
    assert door.why(door.signed(signer=his)) == "signature-key-revoked"
    assert door.why(mine) == "signature-key-revoked"


def test_a_key_ends_and_is_good_from_its_addresses_alone(door: Door) -> None:
    short = SoftwareSigner.create(os.urandom)
    door.register(door.alice.id, short.public_pem, days=1, networks=("192.0.2.0/24",))
    door.open(door.signed(signer=short))
    with pytest.raises(Unauthenticated) as caught:
        door.open(door.signed(signer=short), "198.51.100.1")
    assert caught.value.audit_code == "signature-key-address"
    door.house.clock.advance(86_400)
    assert door.why(door.signed(signer=short)) == "signature-key-expired"


def test_a_key_is_registered_once_and_not_by_everybody(door: Door) -> None:
    with pytest.raises(Conflict, match="signing-key-taken"):
        door.register(door.house.person("carol").id, door.signer.public_pem)
    spki = bytes.fromhex("302a300506032b6570032100") + bytes(32)
    weak = b"-----BEGIN PUBLIC KEY-----\n" + base64.b64encode(spki) + b"\n-----END PUBLIC KEY-----\n"
    for pem in (weak, b"", b"x", door.signer.private_pem()):
        with pytest.raises(Invalid):
            door.register(door.alice.id, pem)


def test_keys_of_p256(door: Door) -> None:
    """Signed as RFC 9421, section 3.3.4 says; the key alone says by which algorithm."""
    private = new_private_key()
    key = load_pem_private_key(private, None).public_key()
    door.register(door.alice.id, key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    head = door.signed(signer=private)
    assert door.open(head).key.principal == door.alice.id
    described = door.signed(signer=private).all("signature-input")[0]
    assert door.why(with_field(head, "signature-input", described + ';alg="ed25519"')) == "signature-forged"
    assert ECDSA_P256_SHA256.algorithm_id == "ecdsa-p256-sha256"


def test_a_memory_that_began_anew_lets_nothing_through_that_it_cannot_know() -> None:
    """After a restart a request of before would be taken again: what was signed by then waits until it is too old."""
    now = House().clock.now()
    again = Nonces(MemorySeen(), now, 5)
    now_s = now // SECOND
    for created_s in (now_s - 299, now_s, now_s + 5):
        with pytest.raises(Unavailable, match="nonces-young"):
            again.once(Nonce("default/k:n", created_s, 306.0), now)
    assert again.once(Nonce("default/k:n", now_s + 6, 306.0), now)
    assert not again.once(Nonce("default/k:n", now_s + 6, 306.0), now)


@pytest.mark.parametrize("alg", ["hmac-sha256", "rsa-v1_5-sha256", "ecdsa-p256-sha256", "none", "ED25519"])
def test_the_request_does_not_choose_the_algorithm(door: Door, alg: str) -> None:
    head = door.signed()
    described = head.all("signature-input")[0]
    assert door.why(with_field(head, "signature-input", f'{described};alg="{alg}"')) == "signature-forged"


def test_an_hmac_under_the_public_key(door: Door) -> None:
    message = _Message(HEAD)

    class Resolver:
        def resolve_private_key(self, key_id: str) -> bytes:
            del key_id
            return door.signer.public_pem

    signer = HTTPMessageSigner(signature_algorithm=HMAC_SHA256, key_resolver=Resolver())  # type: ignore[arg-type]
    for include in (True, False):
        message = _Message(HEAD)
        signer.sign(
            message,
            key_id=door.keyid,
            created=_at(door.house.clock.now() // 1_000_000_000),
            nonce="n" * 20,
            tag="fastness",
            include_alg=include,
            covered_component_ids=ALL,
            use_existing_digest=True,
        )
        added = [(n, v) for n, v in message.headers.items() if n.startswith("Signature")]
        assert door.why(replace(HEAD, fields=(*FIELDS, *added))) == "signature-forged"


@pytest.mark.parametrize("tag", [None, "other", "", "FASTNESS"])
def test_a_signature_for_another_purpose(door: Door, tag: str | None) -> None:
    assert door.why(door.crafted(ALL, tag=tag)) in {"signature-forged", "signature-malformed"}


def test_two_signatures(door: Door) -> None:
    one, other = door.signed(), door.crafted(ALL)
    joined = ", ".join([one.all("signature-input")[0], other.all("signature-input")[0].replace("pyhms", "two")])
    values = ", ".join([one.all("signature")[0], other.all("signature")[0].replace("pyhms", "two")])
    both = replace(HEAD, fields=(*FIELDS, ("signature-input", joined), ("signature", values)))
    assert door.why(both) == "signature-malformed"
    assert door.why(replace(one, fields=(*one.fields, ("signature", one.all("signature")[0])))) == "signature-malformed"


MALFORMED = [
    "",
    "x",
    "fastness=()",
    'fastness=("@method");created=1',
    'fastness=("@method";created=1',
    "fastness=(" + '"a" ' * 2000 + ")",
    'fastness=("@method" "@method");created=1700000000;keyid="x";tag="fastness";nonce="nnnnnnnnnnnnnnnnnnnn"',
    'fastness=("@status");created=1700000000;keyid="x";tag="fastness"',
    'fastness=("@nonsense");created=1700000000;keyid="x";tag="fastness"',
    'fastness=("signature");created=1700000000;keyid="x";tag="fastness"',
    'fastness=(1 2 3);created=1700000000;keyid="x";tag="fastness"',
    'fastness=("@method");created="yesterday";keyid="x";tag="fastness"',
    'fastness=("@method");created=1700000000.5;keyid="x";tag="fastness"',
    'fastness=("@method");created=99999999999999;keyid="x";tag="fastness"',
    'fastness=("@method");created=1700000000;keyid=:AAAA:;tag="fastness"',
    'fastness=("@method");created=1700000000;tag="fastness"',
    'fastness=("@method");created=1700000000;keyid="x";tag="fastness";secret="y"',
    "\xff\xfe",
    "\0",
]


@pytest.mark.parametrize("described", MALFORMED)
def test_fields_that_are_none(door: Door, described: str) -> None:
    head = with_field(door.signed(), "signature-input", described)
    assert door.why(head).startswith("signature-")
    assert door.why(with_field(door.signed(), "signature", described)).startswith("signature-")


@pytest.mark.parametrize("cut", ["signature", "signature-input"])
def test_half_a_signature(door: Door, cut: str) -> None:
    head = with_field(door.signed(), cut, None)
    assert is_signed(head)
    assert door.why(head) == "signature-malformed"
    assert door.why(HEAD) == "signature-missing"


def test_a_body_that_was_not_signed(door: Door) -> None:
    signed = door.open(door.signed())
    signed.body.update(BODY + b" ")
    with pytest.raises(Unauthenticated, match="signature-refused"):
        signed.body.finish()
    short = door.open(door.signed())
    short.body.update(BODY[:-1])
    with pytest.raises(Unauthenticated):
        short.body.finish()
    none = door.open(door.signed(replace(HEAD, fields=(("host", HOST),))))
    none.body.update(b"")
    none.body.finish()
    with pytest.raises(Unauthenticated):
        none.body.update(b"x")


SHA256 = base64.b64encode(hashlib.sha256(BODY).digest()).decode()
SHA512 = base64.b64encode(hashlib.sha512(BODY).digest()).decode()


@pytest.mark.parametrize(
    "digest",
    [
        "",
        "sha-256=",
        f"sha-256={SHA256}",
        "md5=:AAAAAAAAAAAAAAAAAAAAAA==:",
        f"sha-256=:{SHA256}:, md5=:AAAAAAAAAAAAAAAAAAAAAA==:",
        f"sha-256=:{SHA256}:, sha-256=:{SHA256}:",
        f"sha-512=:{SHA256}:",
        f"sha-256=:{SHA512}:",
        f"SHA-256=:{SHA256}:",
        f"sha-256=:{SHA256}:;x=1",
        "unixsum=30637",
        "id-sha-256=:AAAA:",
    ],
)
def test_digests_that_bind_nothing(door: Door, digest: str) -> None:
    """Weak, unknown, repeated or malformed: signed or not, they are refused."""
    assert door.why(door.crafted(ALL, with_field(HEAD, "content-digest", digest))) == "signature-malformed"


def test_two_digests_must_both_be_right(door: Door) -> None:
    both = f"sha-512=:{SHA512}:, sha-256=:{SHA256}:"
    signed = door.open(door.signed(with_field(HEAD, "content-digest", both)))
    signed.body.update(BODY)
    signed.body.finish()
    wrong = f"sha-512=:{base64.b64encode(bytes(64)).decode()}:, sha-256=:{SHA256}:"
    signed = door.open(door.signed(with_field(HEAD, "content-digest", wrong)))
    signed.body.update(BODY)
    with pytest.raises(Unauthenticated):
        signed.body.finish()


def test_only_the_owner_of_a_key_fills_the_memory_of_nonces(door: Door) -> None:
    for _ in range(50):
        door.why(door.signed(signer=SoftwareSigner.create(os.urandom), keyid=door.keyid))
    assert not door.seen._until
