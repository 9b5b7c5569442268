from __future__ import annotations

from collections.abc import Iterator

import pytest
from authlib.oauth2 import rfc8414

from fastness.access import oauth, tokens
from fastness.access.oauth import GrantType, Wanted, clients, doors
from fastness.core.errors import Conflict, Invalid, NotFound
from fastness.core.events import EventKind
from fastness.core.identity import Action, Strength
from tests.unit.access.authority import APP, OTHER, SERVICE, Authority, alice, basic, query_of
from tests.unit.access.house import ADMIN
from tests.unit.access.issuing import ALICE, ISSUER, claims_of


@pytest.fixture
def house() -> Iterator[Authority]:
    made = Authority()
    yield made
    made.records.close()


def test_a_person_lets_an_app_in_and_it_calls_in_their_name(house: Authority) -> None:
    reply = house.authorize()
    assert reply.status == 303
    assert reply.location.startswith(APP + "?")
    assert query_of(reply)["state"] == "st&te=1"
    assert query_of(reply)["iss"] == ISSUER
    body = house.redeem(query_of(reply)["code"]).body
    assert (body["token_type"], body["expires_in"], body["scope"]) == ("Bearer", 600, "model.infer")
    bearer = house.verified(body["access_token"])
    assert bearer.principal.id == ALICE
    assert bearer.principal.actions == {Action.MODEL_INFER}
    assert bearer.principal.strength is Strength.MFA
    assert bearer.principal.authenticated_at == alice().authenticated_at
    assert bearer.client == house.app.client_id


def test_what_the_page_shows(house: Authority) -> None:
    request = house.request("GET", **house.authorization(scope="model.read model.infer model:digits"))
    with house.begin() as tx:
        asked = doors.ask(tx, house.oauth, request, alice())
    assert isinstance(asked, oauth.Asked)
    assert (asked.client_name, asked.actions, asked.models) == (
        "app",
        (Action.MODEL_INFER, Action.MODEL_READ),
        ("digits",),
    )


def test_a_person_says_no(house: Authority) -> None:
    reply = house.authorize(granted=False)
    assert query_of(reply) | {"error_description": ""} == {
        "error": "access_denied",
        "error_description": "",
        "state": "st&te=1",
        "iss": ISSUER,
    }


def test_refreshing_rotates_and_may_narrow_but_the_family_keeps_its_scope(house: Authority) -> None:
    first = house.login(scope="model.infer model.read")
    second = house.refreshed(first["refresh_token"], scope="model.read").body
    assert second["scope"] == "model.read"
    third = house.refreshed(second["refresh_token"]).body
    assert third["scope"] == "model.infer model.read"
    assert len({first["refresh_token"], second["refresh_token"], third["refresh_token"]}) == 3


def test_a_family_ends_after_its_time_however_often_it_was_refreshed(house: Authority) -> None:
    body = house.login()
    for _ in range(5):
        house.clock.advance(6 * 86_400)
        reply = house.refreshed(body["refresh_token"])
        if reply.status != 200:
            break
        body = reply.body
    assert reply.body["error"] == "invalid_grant"


@pytest.mark.parametrize("how", ["header", "body"])
def test_a_program_in_its_own_name(house: Authority, how: str) -> None:
    if how == "header":
        reply = house.as_robot()
    else:
        reply = house.token(
            grant_type="client_credentials", client_id=house.robot.client_id, client_secret=house.robot_secret
        )
    assert reply.status == 200
    bearer = house.verified(reply.body["access_token"])
    assert (bearer.principal.id, bearer.principal.strength) == (SERVICE, Strength.KEY)
    assert "refresh_token" not in reply.body
    assert ("Cache-Control", "no-store") in reply.headers


def test_a_program_with_a_key_of_its_own(house: Authority) -> None:
    reply = house.as_signer(house.assertion())
    assert reply.status == 200, reply.body
    assert house.verified(reply.body["access_token"]).principal.strength is Strength.SIGNED
    assert house.as_signer(house.assertion(aud=ISSUER)).status == 200


def test_a_command_line_logs_in_by_a_device_code(house: Authority) -> None:
    started = house.device()
    assert started["verification_uri"] == f"{ISSUER}/oauth/device"
    assert house.polled(started["device_code"]).body["error"] == "authorization_pending"
    with house.begin() as tx:
        asked = doors.ask_device(tx, house.oauth, alice(), started["user_code"].lower().replace("-", " "))
    assert (asked.client_id, asked.actions) == (clients.CLI, (Action.MODEL_INFER,))
    house.let_in(started["user_code"])
    house.clock.advance(5)
    body = house.polled(started["device_code"]).body
    assert house.verified(body["access_token"]).principal.id == ALICE
    assert house.refreshed(body["refresh_token"], client_id=clients.CLI).status == 200
    assert house.polled(started["device_code"]).body["error"] == "invalid_grant"


def test_a_device_that_is_sent_away(house: Authority) -> None:
    started = house.device()
    house.let_in(started["user_code"], granted=False)
    assert house.polled(started["device_code"]).body["error"] == "access_denied"


def test_a_service_acts_for_a_person(house: Authority) -> None:
    own = house.login(scope="model.infer model.read token.delegate")["access_token"]
    reply = house.exchange(own, scope="model.infer")
    assert reply.status == 200, reply.body
    bearer = house.verified(reply.body["access_token"])
    assert (bearer.principal.id, bearer.principal.actor) == (ALICE, SERVICE)
    assert bearer.principal.actions == {Action.MODEL_INFER}
    assert bearer.ancestors == (claims_of(own)["jti"],)
    assert bearer.family == claims_of(own)["family"]
    assert bearer.principal.strength is Strength.MFA


def test_looking_at_tokens(house: Authority) -> None:
    watcher, secret = house.client(
        Wanted("watcher", "model.infer", frozenset({GrantType.MACHINE}), confidential=True, principal=SERVICE, introspects=True)
    )  # fmt: skip
    body = house.login()
    told = house.asked_of(doors.introspect, body["access_token"], basic(watcher.client_id, secret)).body
    assert told["active"] is True
    assert (told["sub"], told["scope"], told["iss"]) == (ALICE, "model.infer", ISSUER)
    told = house.asked_of(doors.introspect, body["refresh_token"], basic(watcher.client_id, secret)).body
    assert (told["active"], told["token_type"]) == (True, "refresh_token")
    assert house.asked_of(
        doors.introspect, body["access_token"], basic(house.robot.client_id, house.robot_secret)
    ).body == {"active": False}


def test_taking_back(house: Authority) -> None:
    body = house.login()
    house.verified(body["access_token"])
    reply = house.asked_of(doors.revoke, body["refresh_token"], client_id=house.app.client_id)
    assert (reply.status, reply.body) == (200, {})
    house.refresh()
    with pytest.raises(Exception, match="token-refused"):
        house.verified(body["access_token"])
    assert house.refreshed(body["refresh_token"]).body["error"] == "invalid_grant"
    other = house.login()["access_token"]
    assert house.asked_of(doors.revoke, other, client_id=house.app.client_id).status == 200
    house.refresh()
    with pytest.raises(Exception, match="token-refused"):
        house.verified(other)


def test_signing_out_everywhere(house: Authority) -> None:
    body = house.login()
    with house.begin() as tx:
        assert oauth.revoke_all(tx, ALICE, "lost") == 1
    house.refresh()
    assert house.refreshed(body["refresh_token"]).body["error"] == "invalid_grant"
    with pytest.raises(Exception, match="token-refused"):
        house.verified(body["access_token"])


def test_clients_are_made_listed_renewed_and_ended(house: Authority) -> None:
    with house.records.read(ADMIN) as reading:
        assert house.web.client_id in {row.client_id for row in clients.find_clients(reading)}
    with house.begin() as tx:
        renewed = clients.new_secret(tx, house.oauth, house.robot.client_id)
    assert house.as_robot().body["error"] == "invalid_client"
    house.robot_secret = renewed
    body = house.as_robot().body
    house.verified(body["access_token"])
    with house.begin() as tx:
        clients.disable_client(tx, house.robot.client_id)
        with pytest.raises(Conflict):
            clients.disable_client(tx, house.robot.client_id)
    house.refresh()
    with pytest.raises(Exception, match="token-refused"):
        house.verified(body["access_token"])
    assert house.as_robot().body["error"] == "invalid_client"
    with house.begin(OTHER) as tx, pytest.raises(NotFound):
        clients.disable_client(tx, house.web.client_id)


@pytest.mark.parametrize(
    "wanted",
    [
        Wanted("Bad Name", "model.infer", frozenset({GrantType.DEVICE})),
        Wanted("a", "", frozenset({GrantType.DEVICE})),
        Wanted("a", "everything", frozenset({GrantType.DEVICE})),
        Wanted("a", "model.infer", frozenset()),
        Wanted("a", "model.infer", frozenset({GrantType.CODE})),
        Wanted("a", "model.infer", frozenset({GrantType.DEVICE}), ("https://a.example/",)),
        Wanted("a", "model.infer", frozenset({GrantType.MACHINE})),
        Wanted("a", "model.infer", frozenset({GrantType.MACHINE}), confidential=True),
        Wanted("a", "model.infer", frozenset({GrantType.MACHINE}), confidential=True, principal=ALICE),
        Wanted("a", "model.infer", frozenset({GrantType.DEVICE}), introspects=True),
        Wanted("a", "model.infer", frozenset({GrantType.DEVICE}), jwks=({"kty": "oct", "k": "AA", "kid": "1", "alg": "HS256"},)),
        Wanted("a", "model.infer", frozenset({GrantType.DEVICE}), jwks=({"kty": "EC"},)),
    ],
)  # fmt: skip
def test_clients_that_are_none(house: Authority, wanted: Wanted) -> None:
    with house.begin() as tx, pytest.raises(Invalid):
        clients.create_client(tx, house.oauth, wanted)


def test_the_metadata_is_valid_and_names_no_weak_way(house: Authority) -> None:
    document = doors.metadata(house.oauth)
    rfc8414.AuthorizationServerMetadata(document).validate()
    assert document["code_challenge_methods_supported"] == ["S256"]
    assert "registration_endpoint" not in document
    with house.records.read(ADMIN) as reading:
        published = tokens.jwks(reading, house.signers)["keys"]
    assert {key["alg"] for key in published} == {"ES256"}
    assert all(key.keys() == {"kty", "crv", "x", "y", "kid", "alg", "use"} for key in published)


def test_old_codes_are_swept(house: Authority) -> None:
    house.code()
    house.device()
    house.clock.advance(2 * 86_400)
    with house.begin() as tx:
        assert doors.sweep(tx) == 2


def test_what_happened_stands_in_the_record(house: Authority) -> None:
    house.login()
    kinds = [event.kind for event in house.events()]
    assert kinds[-2:] == [EventKind.AUTHENTICATION_SUCCEEDED, EventKind.TOKEN_ISSUED]
    issued = house.events()[-1]
    assert (issued.details["subject"], issued.details["client"]) == (ALICE, house.app.client_id)


def test_keys_rotate_and_tokens_of_the_one_before_stay_good(house: Authority) -> None:
    old = house.login()["access_token"]
    with house.records.read(ADMIN) as reading:
        ahead = {key["kid"] for key in tokens.jwks(reading, house.signers)["keys"]}
    house.clock.advance(1201)
    with house.begin() as tx:
        kid = tokens.rotate_keys(tx, house.signers, "EdDSA")
    assert kid in ahead
    old = house.issued()
    house.refresh()
    house.verified(old)
    house.clock.advance(1201)
    with house.begin() as tx:
        tokens.rotate_keys(tx, house.signers)
    house.refresh()
    assert house.verified(house.issued()).principal.id == ALICE
    with house.records.read(ADMIN) as reading:
        assert {key["alg"] for key in tokens.jwks(reading, house.signers)["keys"]} == {"ES256", "EdDSA"}
