"""Whatever comes in as a token, a scope, a form, a signature or a provider's answer: an answer, or an error of ours."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastness.access import oauth
from fastness.access.federation.discovery import read_document, read_keys
from fastness.access.federation.fetching import read_address
from fastness.access.members import UNBOUND, KeyTerms
from fastness.access.oauth import doors
from fastness.access.oauth.clients import redirect_matches
from fastness.access.possession import PossessionProjection, SignatureSettings, add_signing_key
from fastness.access.possession.signatures import Head, Rule, open_request
from fastness.access.tokens import Rights, Verifier, parse_scope
from fastness.access.tokens.jose import base64url, make_key, public_jwk, sign, strict_object, unbase64
from fastness.access.tokens.snapshot import Holder, PublicKey, TokenKeys
from fastness.access.tokens.verifier import judged
from fastness.core.clock import SECOND, Instant
from fastness.core.errors import Corrupt, Invalid, Unauthenticated
from fastness.core.identity import Action, PrincipalKind, Role
from fastness.core.limits import Limit
from fastness.foundation.crypto import SoftwareSigner
from tests.unit.access.authority import Authority
from tests.unit.access.federated import settled
from tests.unit.access.house import ADMIN, House

NOW = Instant(1_700_000_000_000_000_000)
KEY = make_key("ES256")
KEYS = TokenKeys(
    "https://house.example",
    "api",
    {KEY.kid: PublicKey("ES256", public_jwk(KEY.key))},
    {"default/user:alice": Holder(PrincipalKind.USER, frozenset({Role.VIEWER}), active=True)},
    frozenset({"default/gone"}),
)
CLAIMS: dict[str, Any] = {
    "iss": "https://house.example",
    "aud": "api",
    "iat": 1_700_000_000,
    "exp": 1_700_000_600,
    "jti": "1",
    "sub": "user:alice",
    "tenant": "default",
    "client_id": "c",
    "scope": "model.infer model:digits",
}
GOOD = sign(KEY, "at+jwt", CLAIMS).encode()
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=8,
)
MODELS = st.frozensets(st.sampled_from(["digits", "faces", "a.b", "x-1"]), min_size=1)
RIGHTS = st.builds(Rights, st.frozensets(st.sampled_from(list(Action))), st.none() | MODELS)


def opened(token: bytes) -> object:
    try:
        return Verifier(KEYS, bytes(32)).verify(token, NOW)
    except Unauthenticated:
        return None


def test_the_good_token_is_taken() -> None:
    assert opened(GOOD) is not None


@given(st.binary(max_size=600) | st.text(max_size=300).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_bytes_are_no_token(data: bytes) -> None:
    assert opened(data) is None


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_one_byte_changed_is_no_token(place: int, change: int) -> None:
    assert opened(GOOD[:place] + bytes([GOOD[place] ^ change]) + GOOD[place + 1 :]) is None


@given(st.integers(0, len(GOOD)), st.integers(0, len(GOOD)))
def test_a_part_of_a_token_is_none(start: int, end: int) -> None:
    if (start, end) != (0, len(GOOD)):
        assert opened(GOOD[start:end]) is None


@given(JSON, JSON, st.binary(min_size=64, max_size=64))
def test_any_json_is_no_token(header: object, claims: object, signature: bytes) -> None:
    parts = [json.dumps(part).encode() for part in (header, claims)]
    assert opened(b".".join(map(base64url, [*parts, signature]))) is None


@given(
    st.dictionaries(
        st.sampled_from([*CLAIMS, "act", "cnf", "via", "family", "acr", "auth_time", "nbf"]), JSON, max_size=3
    )
)
def test_claims_of_any_kind_are_judged_or_refused(changes: dict[str, Any]) -> None:
    """Also where the house signed them: nothing but its own error, and never more than the scope says."""
    claims = CLAIMS | changes
    try:
        bearer = judged(claims, KEYS)
    except Unauthenticated:
        return
    assert bearer.rights == parse_scope(claims["scope"])
    assert bearer.principal.actions == bearer.rights.actions
    assert bearer.principal.roles == {Role.VIEWER}


@given(RIGHTS)
def test_a_scope_goes_round(rights: Rights) -> None:
    assert parse_scope(rights.scope()) == rights


@given(RIGHTS, RIGHTS, RIGHTS)
def test_rights_only_narrow(one: Rights, two: Rights, three: Rights) -> None:
    met = one.met(two)
    assert met == two.met(one)
    assert met.within(one)
    assert met.within(two)
    assert met.met(three) == one.met(two.met(three))
    assert one.met(one) == one
    assert one.within(two) == (met == one)


@given(st.text(max_size=100))
def test_any_text_is_a_scope_or_refused(text: str) -> None:
    try:
        assert parse_scope(text).scope().split() == sorted(text.split(), key=lambda w: (w.startswith("model:"), w))
    except Invalid:
        return


@given(st.binary(max_size=200))
def test_base64_has_one_spelling(data: bytes) -> None:
    with suppress(ValueError):
        assert base64url(unbase64(data)) == data
    assert unbase64(base64url(data)) == data


@given(JSON)
def test_strict_json_reads_what_json_writes(value: object) -> None:
    data = json.dumps({"a": value}).encode()
    try:
        assert json.dumps(strict_object(data)).encode() == data
    except ValueError:
        assert b"NaN" in data or b"Infinity" in data or any(len(word) > 18 for word in data.split())


HOUSE = Authority()
NAMES = [
    "grant_type",
    "client_id",
    "client_secret",
    "code",
    "redirect_uri",
    "code_verifier",
    "refresh_token",
    "scope",
    "device_code",
    "subject_token",
    "subject_token_type",
    "client_assertion",
    "client_assertion_type",
    "tenant",
    "audience",
    "resource",
    "response_type",
    "state",
    "code_challenge",
    "code_challenge_method",
    "token",
]
VALUES = st.text(max_size=40) | st.sampled_from(
    [
        HOUSE.app.client_id,
        HOUSE.robot.client_id,
        HOUSE.robot_secret,
        "https://app.example/callback",
        "code",
        "S256",
        "A" * 43,
        *oauth.GrantType,
        "urn:ietf:params:oauth:token-type:access_token",
        "model.infer",
        "default",
        "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
    ]
)


@settings(max_examples=300)
@given(st.dictionaries(st.sampled_from(NAMES), VALUES), st.none() | st.text(max_size=60))
def test_any_form_gets_a_reply_and_nobody_a_token(form: dict[str, str], authorization: str | None) -> None:
    form = {name: value.encode("utf-8", "replace").decode() for name, value in form.items()}
    request = HOUSE.request("POST", authorization, **form)
    known = form.get("client_secret") == HOUSE.robot_secret
    for door in (doors.token, doors.revoke, doors.introspect, doors.device):
        with HOUSE.begin(HOUSE.scope(request)) as tx:
            reply = door(tx, HOUSE.oauth, request)
        assert reply.status in {200, 400, 401}
        assert known or "access_token" not in reply.body
        json.dumps(reply.body)
    reply = HOUSE.authorize(**form) if form.get("redirect_uri") else None
    assert reply is None or reply.location == "" or reply.location.startswith("https://app.example/callback?")


@given(st.binary(max_size=300))
def test_any_bytes_are_a_request_or_refused(data: bytes) -> None:
    try:
        oauth.read_request("POST", data)
    except Invalid:
        return


@given(st.text(max_size=60))
def test_no_address_matches_but_the_registered_ones(text: str) -> None:
    registered = ("https://app.example/callback", "http://127.0.0.1/callback")
    for given_address in (text, f"https://app.example{text}", f"http://127.0.0.1:{text}", registered[0] + text):
        if redirect_matches(registered, given_address) and given_address not in registered:
            port = given_address.removeprefix("http://127.0.0.1:").removesuffix("/callback")
            assert port.isascii()
            assert port.isdigit()


@given(st.text(max_size=80) | st.text(max_size=60).map("https://".__add__))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    try:
        place = read_address(text, loopback=False)
    except Invalid:
        return
    assert place.secure
    assert place.path.startswith("/")
    assert place.host.isascii()
    assert not set("@#\\ \r\n") & set(place.host)


@given(
    JSON
    | st.builds(
        lambda keys: {"keys": keys},
        JSON
        | st.lists(
            st.dictionaries(st.sampled_from(["kty", "kid", "alg", "crv", "x", "y", "n", "e", "use", "key_ops"]), JSON),
            max_size=3,
        ),
    )
)
def test_any_json_is_a_key_set_or_refused(value: object) -> None:
    provider = settled("https://provider.example")
    data = json.dumps(value).encode()
    for reader in (lambda: read_keys(provider, data), lambda: read_document(provider, data, loopback=False)):
        with suppress(Corrupt):
            reader()


SIGNED = House()
_alice = SIGNED.person("alice").id
with SIGNED.begin() as _tx:
    _terms = KeyTerms(Limit(1, 1), Instant(NOW + 3600 * SECOND))
    SIGNING_KEY = add_signing_key(_tx, _alice, SoftwareSigner.create(os.urandom).public_pem, _terms, UNBOUND)
with SIGNED.records.read(ADMIN) as _reading:
    SIGNING_KEYS = PossessionProjection().load(_reading)
RULE = Rule(SignatureSettings(), frozenset({"a.example"}))
FIELD = st.text(max_size=120) | st.builds(
    lambda names, rest: "fastness=(" + " ".join(f'"{name}"' for name in names) + ")" + rest,
    st.lists(st.sampled_from(["@method", "@authority", "@path", "@query", "@status", "host", "x"]), max_size=5),
    st.sampled_from(
        [
            "",
            ";created=1700000000",
            ";created=x",
            ';tag="fastness"',
            ';created=1700000000;keyid="x";tag="fastness"',
            f';created=1700000000;keyid="{SIGNING_KEY.tenant}/{SIGNING_KEY.id}";nonce="0123456789abcdef01";tag="fastness"',
        ]
    )
    | st.text(max_size=30),
)


@given(
    FIELD,
    FIELD | st.binary(max_size=70).map(lambda data: f"fastness=:{base64url(data).decode()}:"),
    st.text(max_size=20),
)
def test_any_field_is_no_signature(described: str, signature: str, path: str) -> None:
    fields = (("host", "a.example"), ("signature-input", described), ("signature", signature))
    head = Head("GET", "a.example", "/" + path, "", fields)
    with pytest.raises(Unauthenticated, match="signature-refused"):
        open_request(head, SIGNING_KEYS, RULE, NOW, None)
