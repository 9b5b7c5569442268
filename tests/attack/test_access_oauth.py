"""The authorization server under attack: codes, refresh tokens, redirects, scopes, clients, devices and delegation.

Success rate of the attacks below: 0. Sources: RFC 9700 (OAuth 2.0 security best current practice), RFC 6819, RFC 8252,
RFC 8628 section 5, RFC 8693 section 5.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from fastness.access import create_principal, oauth, tokens
from fastness.access.oauth import GrantType, Wanted, clients, doors
from fastness.access.oauth.clients import redirect_matches
from fastness.access.oauth.grants import user_code
from fastness.access.standing import deactivate, set_roles
from fastness.access.tokens import Rights, parse_scope
from fastness.access.tokens.jose import SigningKey, base64url, make_key, sign
from fastness.core.errors import Forbidden, Invalid, Limited, NotFound, Unauthenticated
from fastness.core.events import EventKind
from fastness.core.identity import Action, PrincipalId, PrincipalKind, Role, Strength, TenantId
from fastness.foundation.storage import METADATA
from tests.unit.access.authority import APP, CHALLENGE, OTHER, SERVICE, VERIFIER, Authority, alice, basic, query_of
from tests.unit.access.house import ADMIN
from tests.unit.access.issuing import ALICE, claims_of

OURS = {name for name in METADATA.tables if name.startswith(("oauth_", "token_"))}
DELEGABLE = "model.infer model.read token.delegate"


@pytest.fixture
def house() -> Iterator[Authority]:
    made = Authority()
    yield made
    made.records.close()


def refused(house: Authority, token: str, thumbprint: str = "") -> str:
    house.refresh()
    with pytest.raises(Unauthenticated) as caught:
        house.verified(token, thumbprint)
    return caught.value.audit_code


# Redirects

STRANGE = {
    "another host": "https://evil.example/callback",
    "another path": "https://app.example/callback/evil",
    "path above": "https://app.example/callback/../evil",
    "with a query": "https://app.example/callback?next=https://evil.example",
    "with a fragment": "https://app.example/callback#x",
    "upper case": "https://APP.example/callback",
    "plain": "http://app.example/callback",
    "port": "https://app.example:443/callback",
    "credentials": "https://app.example@evil.example/callback",
    "suffix": "https://app.example.evil.example/callback",
    "slash": "https://app.example/callback/",
    "backslash": "https://app.example\\@evil.example/callback",
    "tab": "https://app.example/callback\t",
    "encoded": "https://app.example/%63allback",
    "script": "javascript:alert(1)",
    "data": "data:text/html,x",
    "scheme-relative": "//evil.example/callback",
    "quote": 'https://app.example/"onload=x',
    "line break": "https://app.example/callback\r\nSet-Cookie: a=b",
    "letters that look alike": "https://app.exаmple/callback",
}


@pytest.mark.parametrize("address", STRANGE.values(), ids=STRANGE)
@pytest.mark.parametrize("response_type", ["code", "token", "nonsense"])
def test_the_browser_is_never_sent_to_an_address_that_is_not_registered(
    house: Authority, address: str, response_type: str
) -> None:
    """Open redirect: not with a code, and not with an error either."""
    reply = house.authorize(redirect_uri=address, response_type=response_type)
    assert reply.location == ""
    assert reply.status == 400
    assert "evil" not in str(reply.body.get("error", ""))


def test_an_address_must_be_named(house: Authority) -> None:
    assert house.authorize(redirect_uri=None).location == ""
    assert house.authorize(client_id=house.web.client_id, redirect_uri=None).location == ""
    assert house.authorize(client_id="nobody").location == ""
    assert house.authorize(client_id=None).location == ""


LOOPBACK = ("http://127.0.0.1/callback", "http://[::1]/callback")


@pytest.mark.parametrize(
    ("given", "fine"),
    [
        ("http://127.0.0.1:51004/callback", True),
        ("http://[::1]:8000/callback", True),
        ("http://127.0.0.1/callback", True),
        ("http://127.0.0.1:51004/other", False),
        ("http://localhost:51004/callback", False),
        ("http://127.0.0.2:1/callback", False),
        ("http://127.0.0.1.evil.example/callback", False),
        ("http://127.0.0.1:51004@evil.example/callback", False),
        ("http://127.0.0.1:/callback", False),
        ("http://127.0.0.1:123456/callback", False),
        ("http://127.0.0.1:1/callback?x=1", False),
        ("https://127.0.0.1:1/callback", False),
        ("http://[::1%25lo]:1/callback", False),
        ("http://0.0.0.0:1/callback", False),
        ("http://127.1:1/callback", False),
    ],
)
def test_only_the_port_of_a_loopback_address_is_free(given: str, fine: bool) -> None:
    """RFC 8252, section 7.3."""
    assert redirect_matches(LOOPBACK, given) is fine


def test_the_port_of_any_other_address_is_not_free() -> None:
    assert not redirect_matches((APP,), "https://app.example:8443/callback")


@pytest.mark.parametrize(
    "address",
    [
        "http://app.example/callback",
        "http://localhost/callback",
        "https://",
        "https://*.example/callback",
        "https://user:word@app.example/",
        "https://app.example/#x",
        "javascript:alert(1)",
        "app://callback",
        "https://app.example/ x",
        "https://app.example/\n",
        "",
    ],
)
def test_addresses_that_are_not_registered_at_all(house: Authority, address: str) -> None:
    with house.begin() as tx, pytest.raises(Invalid):
        clients.create_client(tx, house.oauth, Wanted("a", "model.infer", frozenset({GrantType.CODE}), (address,)))


# PKCE


@pytest.mark.parametrize(
    "changes",
    [
        {"code_challenge": None, "code_challenge_method": None},
        {"code_challenge": None},
        {"code_challenge_method": None},
        {"code_challenge_method": "plain"},
        {"code_challenge_method": "plain", "code_challenge": VERIFIER},
        {"code_challenge_method": "s256"},
        {"code_challenge_method": "S256 plain"},
        {"code_challenge": "short"},
        {"code_challenge": "a" * 128},
        {"code_challenge": "a" * 42 + "="},
        {"code_challenge": "a" * 42 + "\n"},
    ],
)
@pytest.mark.parametrize("confidential", [False, True])
def test_no_code_without_s256(house: Authority, changes: dict[str, str | None], confidential: bool) -> None:
    """Downgrade: neither leaving it out nor asking for less, whatever the client."""
    client = house.web if confidential else house.app
    reply = house.authorize(client_id=client.client_id, **changes)
    assert query_of(reply)["error"] == "invalid_request"
    assert "code" not in query_of(reply)


@pytest.mark.parametrize("verifier", ["", "w" * 43, "v" * 42, "v" * 44, CHALLENGE, "v" * 42 + "\n"])
def test_a_stolen_code_is_worth_nothing_without_its_verifier(house: Authority, verifier: str) -> None:
    code = house.code()
    reply = house.redeem(code, code_verifier=verifier)
    assert reply.body["error"] in {"invalid_grant", "invalid_request"}
    assert house.redeem(code).body["error"] == "invalid_grant"  # it was used up by the attempt


# Codes


def test_a_code_works_once_and_the_second_use_ends_what_the_first_gave(house: Authority) -> None:
    code = house.code()
    body = house.redeem(code).body
    house.verified(body["access_token"])
    assert house.redeem(code).body["error"] == "invalid_grant"
    assert refused(house, body["access_token"]) == "token-revoked"
    assert house.refreshed(body["refresh_token"]).body["error"] == "invalid_grant"


def test_a_code_is_short_lived(house: Authority) -> None:
    code = house.code()
    house.clock.advance(60)
    assert house.redeem(code).body["error"] == "invalid_grant"


def test_a_code_is_for_its_client_and_its_address(house: Authority) -> None:
    code = house.code()
    reply = house.token(
        basic(house.web.client_id, house.web_secret),
        grant_type="authorization_code",
        code=code,
        redirect_uri=APP,
        code_verifier=VERIFIER,
    )
    assert reply.body["error"] == "invalid_grant"
    assert house.redeem(code).body["error"] == "invalid_grant"
    for address in ("https://app.example/other", "", "https://evil.example/"):
        assert house.redeem(house.code(), redirect_uri=address).body["error"] == "invalid_grant"


def test_a_code_of_one_who_left(house: Authority) -> None:
    code = house.code()
    with house.begin() as tx:
        deactivate(tx, ALICE)
    assert house.redeem(code).body["error"] == "invalid_grant"


@pytest.mark.parametrize(
    "code", ["", "x", "fsa_" + "0" * 43, "' OR 1=1 --", "\ud800".encode("utf-8", "replace").decode(), "a" * 8000]
)
def test_codes_that_are_none(house: Authority, code: str) -> None:
    assert house.redeem(code).body["error"] in {"invalid_grant", "invalid_request"}


def test_another_tenant_sees_neither_client_nor_code(house: Authority) -> None:
    request = house.request("GET", **house.authorization())
    with house.begin(OTHER) as tx:
        reply = doors.answer(tx, house.oauth, request, alice(tenant=TenantId("other")), granted=True)
    assert isinstance(reply, oauth.Reply)
    assert (reply.location, reply.body["error"]) == ("", "invalid_client")
    with house.begin(OTHER) as tx, pytest.raises(Forbidden):
        doors.answer(tx, house.oauth, request, alice(), granted=True)
    form = house.request("POST", grant_type="authorization_code", client_id=clients.CLI, tenant="other", code=house.code(),
                         redirect_uri=APP, code_verifier=VERIFIER)  # fmt: skip
    with house.begin(house.scope(form)) as tx:
        assert doors.token(tx, house.oauth, form).body["error"] == "invalid_grant"


# Consent


@pytest.mark.parametrize(
    "changes",
    [
        {"strength": Strength.KEY},
        {"strength": Strength.NONE},
        {"kind": PrincipalKind.SERVICE},
        {"kind": PrincipalKind.AGENT},
        {"actor": SERVICE},
        {"tenant": TenantId("other")},
    ],
)
def test_only_a_person_who_is_logged_in_grants(house: Authority, changes: dict[str, Any]) -> None:
    """A stolen API key must not turn into refresh tokens that live on when it is revoked."""
    with pytest.raises(Forbidden):
        house.authorize(alice(**changes))
    started = house.device()
    with pytest.raises(Forbidden):
        house.let_in(started["user_code"], alice(**changes))


def test_nobody_hands_on_more_than_the_credential_in_use_leaves(house: Authority) -> None:
    narrow = alice(actions=frozenset({Action.MODEL_READ}), models=frozenset({"digits"}))
    request = house.request("GET", **house.authorization(scope="model.infer model.read"))
    with house.begin() as tx:
        asked = doors.ask(tx, house.oauth, request, narrow)
    assert isinstance(asked, oauth.Asked)
    assert (asked.actions, asked.models) == ((Action.MODEL_READ,), ("digits",))
    code = query_of(house.authorize(narrow, scope="model.infer model.read"))["code"]
    assert house.redeem(code).body["scope"] == "model.read model:digits"
    assert query_of(house.authorize(narrow, scope="model.infer"))["error"] == "invalid_scope"
    started = house.device(scope="model.infer model.read")
    house.let_in(started["user_code"], narrow)
    assert house.polled(started["device_code"]).body["scope"] == "model.read model:digits"


# Scopes


@pytest.mark.parametrize(
    "scope",
    [
        "keyring.rotate",
        "model.infer keyring.rotate",
        "*",
        "admin",
        "model.infer  model.read",
        "model:../x",
        "model:",
        "MODEL.INFER",
    ],
)
def test_no_scope_beyond_what_the_client_may_have(house: Authority, scope: str) -> None:
    assert query_of(house.authorize(scope=scope))["error"] == "invalid_scope"
    assert house.as_robot(scope=scope).body["error"] == "invalid_scope"


def test_a_client_confined_to_models_stays_confined(house: Authority) -> None:
    client, secret = house.client(
        Wanted(
            "small", "model.infer model:digits", frozenset({GrantType.MACHINE}), confidential=True, principal=SERVICE
        )
    )
    header = basic(client.client_id, secret)
    grant = {"grant_type": "client_credentials"}
    assert house.token(header, **grant).body["scope"] == "model.infer model:digits"
    assert house.token(header, **grant, scope="model.infer").body["scope"] == "model.infer model:digits"
    for scope in ("model.infer model:faces", "model.infer model:digits model:faces"):
        assert house.token(header, **grant, scope=scope).body["error"] == "invalid_scope"


def test_refreshing_never_widens(house: Authority) -> None:
    body = house.login(scope="model.infer")
    for scope in ("model.read", "model.infer model.read", "nonsense"):
        assert house.refreshed(body["refresh_token"], scope=scope).body["error"] == "invalid_scope"
    assert house.refreshed(body["refresh_token"], scope="model.infer").status == 200
    confined = house.login(scope="model.infer model:digits")
    for scope in ("model.infer", "model.infer model:faces"):
        assert house.refreshed(confined["refresh_token"], scope=scope).body["error"] == "invalid_scope"


def test_a_role_lost_after_the_grant_is_lost_to_the_token(house: Authority) -> None:
    token = house.login()["access_token"]
    with house.begin() as tx:
        set_roles(tx, ALICE, frozenset({Role.VIEWER}))
    house.refresh()
    assert house.verified(token).principal.roles == {Role.VIEWER}


# Refresh tokens


def test_a_refresh_token_used_twice_ends_the_whole_family(house: Authority) -> None:
    first = house.login()
    second = house.refreshed(first["refresh_token"]).body
    third = house.refreshed(second["refresh_token"]).body
    house.verified(third["access_token"])
    assert house.refreshed(first["refresh_token"]).body["error"] == "invalid_grant"
    assert house.refreshed(third["refresh_token"]).body["error"] == "invalid_grant"
    for body in (first, second, third):
        assert refused(house, body["access_token"]) == "token-revoked"
    reasons = [event.reason for event in house.events() if event.kind is EventKind.TOKEN_REVOKED]
    assert reasons == ["refresh-reused"]


def test_a_refresh_token_of_another_client_ends_the_family(house: Authority) -> None:
    body = house.login()
    reply = house.token(
        basic(house.web.client_id, house.web_secret), grant_type="refresh_token", refresh_token=body["refresh_token"]
    )
    assert reply.body["error"] == "invalid_grant"
    assert house.refreshed(body["refresh_token"]).body["error"] == "invalid_grant"


def test_a_refresh_token_bound_to_a_certificate(house: Authority) -> None:
    body = house.login("thumb-a")
    assert claims_of(body["access_token"])["cnf"] == {"x5t#S256": "thumb-a"}
    assert house.refreshed(body["refresh_token"], "thumb-b").body["error"] == "invalid_grant"
    other = house.login("thumb-a")
    assert house.refreshed(other["refresh_token"]).body["error"] == "invalid_grant"


def test_a_refresh_token_is_no_access_token_and_the_other_way_round(house: Authority) -> None:
    body = house.login()
    assert refused(house, body["refresh_token"]) == "token-malformed"
    assert house.refreshed(body["access_token"]).body["error"] == "invalid_grant"


def test_a_refresh_token_of_one_who_left(house: Authority) -> None:
    body = house.login()
    with house.begin() as tx:
        deactivate(tx, ALICE)
    assert "error" in house.refreshed(body["refresh_token"]).body


def test_nothing_that_opens_anything_stands_in_the_tables(house: Authority) -> None:
    body = house.login()
    started = house.device()
    code = house.code()
    secrets = [body["refresh_token"], body["access_token"], code, started["device_code"], started["user_code"],
               started["user_code"].replace("-", ""), house.web_secret, house.robot_secret]  # fmt: skip
    with house.records.read(ADMIN) as reading:
        dump = repr([list(reading.execute(table.select())) for table in METADATA.tables.values() if table.name in OURS])
    assert house.app.client_id in dump
    digests = [hashlib.sha256(secret.encode()).hexdigest() for secret in secrets]
    for secret in [*secrets, *digests]:
        assert secret not in dump
        assert secret not in repr(house.events())


# Clients


def test_a_client_proves_itself_in_one_way_only(house: Authority) -> None:
    name, secret = house.robot.client_id, house.robot_secret
    grant = {"grant_type": "client_credentials"}
    tries = [
        house.token(**grant),
        house.token(**grant, client_id=name),
        house.token(**grant, client_id=name, client_secret="wrong"),
        house.token(**grant, client_id=name, client_secret=""),
        house.token(basic(name, "wrong"), **grant),
        house.token(basic(name, ""), **grant),
        house.token(basic("nobody", secret), **grant),
        house.token(basic(name, secret), **grant, client_secret=secret),
        house.token(basic(name, secret), **grant, client_id=house.web.client_id),
        house.token("Basic !!!", **grant),
        house.token(f"Bearer {secret}", **grant, client_id=name),
        house.token(**grant, client_id=house.signer.client_id, client_secret=secret),
        house.token(basic(house.signer.client_id, ""), **grant),
        house.token(basic(name, secret), **grant, client_assertion="a.b.c", client_assertion_type="x"),
    ]
    assert {(reply.status, reply.body["error"]) for reply in tries} == {(401, "invalid_client")}
    assert len({reply.body["error_description"] for reply in tries}) == 1  # who exists is not told


def test_a_secret_is_compared_in_constant_time_and_also_for_nobody(
    house: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = sys.modules["fastness.access.oauth.clients"]
    steps: list[str] = []
    real = hmac.compare_digest
    monkeypatch.setattr(module.hmac, "compare_digest", lambda a, b: (steps.append("compared"), real(a, b))[1])
    taken = []
    for name in (house.robot.client_id, "nobody", house.app.client_id, house.signer.client_id):
        steps.clear()
        house.token(basic(name, "wrong"), grant_type="client_credentials")
        taken.append(tuple(steps))
    assert set(taken) == {("compared",)}


def test_a_public_client_gets_nothing_in_its_own_name(house: Authority) -> None:
    for grant in (GrantType.MACHINE, GrantType.EXCHANGE):
        reply = house.token(grant_type=grant.value, client_id=house.app.client_id)
        assert reply.body["error"] in {"unauthorized_client", "invalid_request"}


ASSERTIONS: dict[str, dict[str, Any]] = {
    "another issuer": {"iss": "robot"},
    "another subject": {"sub": "robot"},
    "another audience": {"aud": "https://evil.example/token"},
    "several audiences": {"aud": ["https://fastness.example", "https://evil.example"]},
    "no audience": {"aud": None},
    "no id": {"jti": None},
    "no expiry": {"exp": None},
    "expired": {"exp": 1_699_999_999},
    "long-lived": {"exp": 1_700_000_301},
    "from the future": {"iat": 1_700_000_100},
}


@pytest.mark.parametrize("changes", ASSERTIONS.values(), ids=ASSERTIONS)
def test_assertions_that_are_not_good(house: Authority, changes: dict[str, Any]) -> None:
    assert house.as_signer(house.assertion(**changes)).body["error"] == "invalid_client"


def test_an_assertion_is_used_once_and_by_its_owner(house: Authority) -> None:
    assertion = house.assertion()
    assert house.as_signer(assertion).status == 200
    assert house.as_signer(assertion).body["error"] == "invalid_client"
    assert house.as_signer(house.assertion(), client_id=house.robot.client_id).body["error"] == "invalid_client"


def test_an_assertion_by_another_key_or_none(house: Authority) -> None:
    claims = claims_of(house.assertion())
    own = make_key("ES256")
    forged = SigningKey(house.key.kid, "ES256", own.key)
    assert house.as_signer(sign(forged, "JWT", claims)).body["error"] == "invalid_client"
    assert house.as_signer(sign(own, "JWT", claims)).body["error"] == "invalid_client"
    assert house.as_signer(sign(house.key, "at+jwt", claims)).body["error"] == "invalid_client"
    header = base64url(f'{{"alg":"HS256","kid":"{house.key.kid}"}}'.encode())
    payload = house.assertion().split(".")[1].encode()
    pem = house.key.key.as_bytes(encoding="PEM", private=False)
    signature = base64url(hmac.digest(pem, header + b"." + payload, "sha256").ljust(64, b"\0"))
    assert house.as_signer((header + b"." + payload + b"." + signature).decode()).body["error"] == "invalid_client"
    assert house.as_signer("a.b.c").body["error"] == "invalid_client"


def test_parameters_that_stand_twice_or_are_too_much(house: Authority) -> None:
    for data in (
        b"grant_type=a&grant_type=b",
        b"client_id=a&client_id=",
        b"%ff=%ff",
        b"a=%ff",
        b"a" * 20_000,
        b"&".join(b"p%d=1" % number for number in range(50)),
        b"novalue",
        "a=é".encode(),
    ):
        with pytest.raises(Invalid, match="oauth-request"):
            oauth.read_request("POST", data)


@pytest.mark.parametrize(
    "name", ["client_id", "redirect_uri", "response_type", "scope", "state", "code_challenge_method"]
)
@pytest.mark.parametrize(
    "value", ['"', "\\", "\r\nSet-Cookie: a=b", "\0", "é", "<script>", "' OR 1=1 --", "%00", "x" * 3000]
)
def test_no_parameter_breaks_out_of_a_reply(house: Authority, name: str, value: str) -> None:
    """Response splitting, script, SQL, and the texts of errors that Authlib refuses to make."""
    reply = house.authorize(**{name: value})
    for _, header in reply.headers:
        assert "\n" not in header
    assert reply.location.isascii()
    assert not set(' "<>\\\r\n\0') & set(reply.location)
    if reply.location:
        assert urlsplit(reply.location)._replace(query="").geturl() == APP
    told = house.token(grant_type=value, client_id=house.app.client_id)
    assert told.body["error"] in {"unsupported_grant_type", "invalid_request"}


@pytest.mark.parametrize(
    "extra", [{"request": "a.b.c"}, {"request_uri": "https://evil.example/r"}, {"response_mode": "fragment"}]
)
def test_variants_that_are_not_offered_are_refused_and_nothing_is_fetched(
    house: Authority, extra: dict[str, str]
) -> None:
    reply = house.authorize(**extra)
    assert "code" not in query_of(reply)
    assert reply.location == ""


@pytest.mark.parametrize(
    "grant", ["password", "implicit", "urn:ietf:params:oauth:grant-type:jwt-bearer", "", "authorization_code "]
)
def test_grants_that_are_not_offered(house: Authority, grant: str) -> None:
    reply = house.token(
        basic(house.robot.client_id, house.robot_secret), grant_type=grant, username="alice", password="x"
    )
    assert reply.body["error"] in {"unsupported_grant_type", "invalid_request"}


def test_tokens_are_asked_for_by_post_alone(house: Authority) -> None:
    request = house.request("GET", grant_type="client_credentials", client_id="x")
    with house.begin() as tx:
        assert doors.token(tx, house.oauth, request).body["error"] == "invalid_request"
    for endpoint in (doors.revoke, doors.introspect):
        with house.begin() as tx:
            assert endpoint(tx, house.oauth, request).body["error"] == "invalid_request"


def test_each_refusal_leaves_evidence(house: Authority) -> None:
    before = len(house.events())
    house.as_signer("a.b.c")
    house.redeem("wrong")
    house.exchange("a.b.c")
    failed = house.events()[before:]
    assert {event.kind for event in failed} == {EventKind.AUTHENTICATION_FAILED}
    assert len(failed) == 3


# Devices


def test_a_device_code_cannot_be_guessed(house: Authority) -> None:
    codes = {user_code(os.urandom) for _ in range(500)}
    assert len(codes) == 500
    assert all(len(code) == 9 and not set(code) & set("AEIOUY0123456789") for code in codes)
    for number in range(5):
        with house.begin() as tx, pytest.raises(NotFound):
            doors.ask_device(tx, house.oauth, alice(), f"BCDF-GHJ{'KLMNP'[number]}")
    with house.begin() as tx, pytest.raises(Limited):
        doors.ask_device(tx, house.oauth, alice(), house.device()["user_code"])


def test_letters_of_a_user_code_are_equally_likely() -> None:
    """Bytes of 240 and more are thrown away: `% 20` over all 256 would prefer sixteen letters."""
    assert user_code(lambda count: bytes([255] * (count - 8) + list(range(8)))) == "BCDF-GHJK"


def test_a_device_that_asks_too_often_waits_longer(house: Authority) -> None:
    started = house.device()
    poll = lambda: house.polled(started["device_code"]).body["error"]  # noqa: E731
    house.clock.advance(1)
    assert poll() == "authorization_pending"
    house.clock.advance(4)
    assert poll() == "slow_down"
    house.clock.advance(9)
    assert poll() == "slow_down"
    house.clock.advance(15)
    assert poll() == "authorization_pending"


def test_a_device_code_expires(house: Authority) -> None:
    started = house.device()
    house.clock.advance(600)
    assert house.polled(started["device_code"]).body["error"] == "expired_token"
    with house.begin() as tx, pytest.raises(NotFound):
        doors.ask_device(tx, house.oauth, alice(), started["user_code"])


def test_a_device_code_is_answered_once_and_by_its_own_house(house: Authority) -> None:
    started = house.device()
    stranger = alice(tenant=TenantId("other"), id=PrincipalId("user:root"))
    with house.begin(OTHER) as tx, pytest.raises(NotFound):
        doors.answer_device(tx, house.oauth, stranger, started["user_code"], granted=True)
    house.let_in(started["user_code"], granted=False)
    with pytest.raises(NotFound):
        house.let_in(started["user_code"])
    assert house.polled(started["device_code"]).body["error"] == "access_denied"


def test_a_device_code_of_another_client(house: Authority) -> None:
    started = house.device()
    house.let_in(started["user_code"])
    reply = house.polled(started["device_code"], client_id=house.app.client_id)
    assert reply.body["error"] in {"unauthorized_client", "invalid_grant"}


@pytest.mark.parametrize("scope", ["everything", "model:.."])
def test_a_device_asks_for_no_more_than_there_is(house: Authority, scope: str) -> None:
    request = house.request("POST", client_id=clients.CLI, scope=scope)
    with house.begin() as tx:
        assert doors.device(tx, house.oauth, request).body["error"] == "invalid_scope"
    request = house.request("POST", client_id=house.app.client_id)
    with house.begin() as tx:
        assert doors.device(tx, house.oauth, request).body["error"] == "unauthorized_client"


# Delegation


@pytest.mark.parametrize("scope", ["keyring.rotate", "model.infer model.deploy", "model.push", "nonsense"])
def test_delegation_never_widens_actions(house: Authority, scope: str) -> None:
    own = house.login(scope=DELEGABLE)["access_token"]
    assert house.exchange(own, scope=scope).body["error"] == "invalid_scope"


def test_delegation_never_gives_the_client_more_than_its_own_bounds(house: Authority) -> None:
    own = house.login(scope=DELEGABLE)["access_token"]
    assert house.exchange(own, scope="model.read").body["error"] == "invalid_scope"
    assert house.exchange(own).body["scope"] == "model.infer token.delegate"


def test_delegation_never_widens_models(house: Authority) -> None:
    own = house.login(scope=f"{DELEGABLE} model:digits")["access_token"]
    assert house.exchange(own, scope="model.infer model:faces").body["error"] == "invalid_scope"
    assert house.exchange(own, scope="model.infer model:digits model:faces").body["error"] == "invalid_scope"
    assert house.exchange(own, scope="model.infer").body["scope"] == "model.infer model:digits"


def test_a_delegated_token_ends_with_what_it_came_from(house: Authority) -> None:
    own = house.login(scope=DELEGABLE)["access_token"]
    house.clock.advance(400)
    narrow = house.exchange(own).body
    assert narrow["expires_in"] == 200
    assert claims_of(narrow["access_token"])["exp"] == claims_of(own)["exp"]
    house.asked_of(doors.revoke, own, client_id=house.app.client_id)
    assert refused(house, narrow["access_token"]) == "token-revoked"
    assert house.exchange(own).body["error"] == "invalid_grant"


@pytest.mark.parametrize("name", ["audience", "resource"])
def test_a_delegated_token_is_for_this_house(house: Authority, name: str) -> None:
    own = house.login(scope=DELEGABLE)["access_token"]
    assert house.exchange(own, **{name: "https://other.example"}).body["error"] == "invalid_target"
    assert house.exchange(own, **{name: house.issuer.audience}).status == 200


def test_the_chain_of_actors_is_short_and_dies_with_any_of_them(house: Authority) -> None:
    token = house.login(scope=DELEGABLE)["access_token"]
    for depth in range(1, 4):
        reply = house.exchange(token)
        assert reply.status == 200
        token = reply.body["access_token"]
        assert len(house.verified(token).actors) == depth
    assert house.exchange(token).body["error"] == "invalid_grant"
    with house.begin() as tx:
        deactivate(tx, SERVICE)
    assert refused(house, token) == "token-actor"


def test_no_delegation_that_was_not_granted_or_is_not_permitted(house: Authority) -> None:
    assert house.exchange(house.login(scope="model.infer")["access_token"]).body["error"] == "access_denied"
    own = house.login(scope=DELEGABLE)["access_token"]
    narrow = house.exchange(own, scope="model.infer").body["access_token"]
    assert house.exchange(narrow).body["error"] == "access_denied"
    house.allowed.clear()
    assert house.exchange(own).body["error"] == "access_denied"


EXCHANGES: dict[str, dict[str, str]] = {
    "an actor of one's choice": {"actor_token": "a.b.c", "actor_token_type": "x"},
    "another kind of token": {"requested_token_type": "urn:ietf:params:oauth:token-type:refresh_token"},
    "another kind of subject": {"subject_token_type": "urn:ietf:params:oauth:token-type:id_token"},
    "anything else": {"may_act": "all"},
}


@pytest.mark.parametrize("form", EXCHANGES.values(), ids=EXCHANGES)
def test_exchanges_that_are_not_offered(house: Authority, form: dict[str, str]) -> None:
    own = house.login(scope=DELEGABLE)["access_token"]
    assert house.exchange(own, **form).body["error"] == "invalid_request"


def test_a_bound_token_is_not_exchanged_by_whoever_stole_it(house: Authority) -> None:
    own = house.login("thumb-a", scope=DELEGABLE)["access_token"]
    assert house.exchange(own).body["error"] == "invalid_grant"
    assert house.exchange(own, "thumb-b").body["error"] == "invalid_grant"
    assert house.exchange(own, "thumb-a").status == 200


def test_a_token_of_another_tenant_is_not_exchanged(house: Authority) -> None:
    with house.begin(OTHER) as tx:
        create_principal(tx, PrincipalKind.USER, "alice", frozenset())
    with house.begin(OTHER) as tx:
        foreign = tokens.issue(
            tx, house.issuer, tokens.Grantee(ALICE, parse_scope(DELEGABLE), Strength.MFA, tx.now, "app")
        )
    assert house.exchange(foreign.text).body["error"] == "invalid_grant"


# Looking at tokens


def test_nobody_tries_tokens_at_the_introspection_endpoint(house: Authority) -> None:
    body = house.login()
    assert house.asked_of(doors.introspect, body["access_token"], client_id=house.app.client_id).status == 401
    for token in ("", "x", "a.b.c", body["access_token"][:-4] + "AAAA", "fsr_" + "0" * 43):
        header = basic(house.robot.client_id, house.robot_secret)
        reply = house.asked_of(doors.introspect, token, header)
        assert reply.body == {"active": False} or reply.body["error"] == "invalid_request"


def test_a_client_takes_back_only_its_own_tokens_and_learns_nothing_of_others(house: Authority) -> None:
    body = house.login()
    header = basic(house.robot.client_id, house.robot_secret)
    for token in (body["access_token"], body["refresh_token"], "nonsense"):
        reply = house.asked_of(doors.revoke, token, header)
        assert (reply.status, reply.body) == (200, {})
    house.refresh()
    house.verified(body["access_token"])
    assert house.refreshed(body["refresh_token"]).status == 200


def test_the_command_line_logs_out_of_the_house_that_it_logged_in_to(house: Authority) -> None:
    with house.begin(OTHER) as tx:
        create_principal(tx, PrincipalKind.USER, "alice", frozenset())
    started = house.device(tenant="other")
    with house.begin(OTHER) as tx:
        doors.answer_device(tx, house.oauth, alice(tenant=TenantId("other")), started["user_code"], granted=True)
    refresh = house.polled(started["device_code"]).body["refresh_token"]
    assert house.asked_of(doors.revoke, refresh, client_id=clients.CLI).status == 200
    assert house.refreshed(refresh, client_id=clients.CLI).body["error"] == "invalid_grant"


def test_rights_only_meet() -> None:
    wide, narrow = parse_scope("model.infer model.read"), parse_scope("model.infer model:digits")
    assert wide.met(narrow) == narrow.met(wide) == narrow
    assert narrow.within(wide)
    assert not wide.within(narrow)
    assert not Rights(wide.actions, None).within(Rights(wide.actions, frozenset({"digits"})))
