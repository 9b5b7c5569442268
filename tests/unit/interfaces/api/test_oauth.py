"""The endpoints of OAuth 2 over HTTP: a device is let in by a person, tokens count, and what is given back does not."""

from __future__ import annotations

from urllib.parse import urlencode

import msgspec
import pytest

from fastness.client.oauth import TokenCalls, Tokens
from fastness.core.errors import FastnessError
from fastness.core.events import EventKind
from fastness.wire import oauth
from tests.unit.interfaces.api.town import Town, refused


def post(town: Town, path: str, form: dict[str, str] | bytes, kind: str = "") -> tuple[int, dict[str, object]]:
    body = form if isinstance(form, bytes) else urlencode(form).encode()
    headers = {"content-type": kind or "application/x-www-form-urlencoded"}
    reply = town.carrier.send("POST", path, headers, body)
    data = reply.read()
    return reply.status, msgspec.json.decode(data) if data else {}


def logged_in(town: Town, who: str) -> Tokens:
    calls = TokenCalls(town.carrier)
    waiting = calls.begin("model.read")
    assert calls.poll(waiting) in {0.0, 5.0}
    town.client(who).clients.answer_device(waiting.user_code, granted=True)
    found = calls.poll(waiting)
    while not isinstance(found, Tokens):
        found = calls.poll(waiting)
    return found


def test_a_person_lets_a_device_in_and_its_token_counts(town: Town) -> None:
    calls = TokenCalls(town.carrier)
    waiting = calls.begin("model.read")
    asked = town.client("viewer").clients.ask_device(waiting.user_code)
    assert asked.asked_at
    wanted = ("fastness-cli", "Fastness command line", ("model.read",), (), "local")
    assert (asked.client, asked.name, asked.actions, asked.models, asked.network) == wanted
    town.client("viewer").clients.answer_device(waiting.user_code, granted=True)
    tokens = calls.poll(waiting)
    assert isinstance(tokens, Tokens)
    town.keys["borrowed"] = tokens.access_token
    assert town.client("borrowed").models.list() is not None
    assert town.ask("borrowed", "GET", "/api/v1/system").status == 403  # not in the scope
    fresh = calls.refresh(tokens.refresh_token)
    town.keys["borrowed"] = fresh.access_token
    assert town.client("borrowed").models.list() is not None
    calls.revoke(fresh.refresh_token)
    assert town.ask("borrowed", "GET", "/api/v1/models").status == 401
    assert refused(lambda: calls.refresh(fresh.refresh_token)).code == "invalid_grant"


def test_a_token_alone_lets_no_device_in(town: Town) -> None:
    """Else whoever steals one for ten minutes has them for a month."""
    calls = TokenCalls(town.carrier)
    first = calls.begin("model.read")
    town.client("developer").clients.answer_device(first.user_code, granted=True)
    tokens = calls.poll(first)
    assert isinstance(tokens, Tokens)
    town.keys["thief"] = tokens.access_token
    second = calls.begin("model.read")
    answer = town.ask(
        "thief", "POST", "/api/v1/devices/answers", msgspec.json.encode(oauth.DeviceAnswer(second.user_code, True))
    )
    assert (answer.status, answer.code) == (403, "step-up-required")


def test_a_device_that_is_sent_away_gets_nothing(town: Town) -> None:
    calls = TokenCalls(town.carrier)
    waiting = calls.begin()
    town.client("viewer").clients.answer_device(waiting.user_code, granted=False)
    with pytest.raises(FastnessError, match="denied"):
        calls.poll(waiting)
    assert refused(lambda: town.client("viewer").clients.ask_device(waiting.user_code)).code == "device-unknown"


def test_a_program_gets_a_token_of_its_own_and_may_be_looked_at(town: Town) -> None:
    admin = town.client("admin").clients
    wanted = oauth.ClientRequest(
        "cc", "model.read", ("client_credentials",), principal="service:robot", confidential=True, introspects=True
    )
    made = admin.create(wanted)
    who = {"client_id": made.client, "client_secret": made.secret}
    status, body = post(town, "/oauth/token", {"grant_type": "client_credentials", **who})
    assert (status, body["token_type"]) == (200, "Bearer")
    token = str(body["access_token"])
    status, shown = post(town, "/oauth/introspect", {"token": token, **who})
    assert (status, shown["active"], shown["sub"]) == (200, True, "service:robot")
    admin.disable(made.client)
    town.keys["ended"] = token
    assert town.ask("ended", "GET", "/api/v1/models").status == 401
    status, body = post(town, "/oauth/token", {"grant_type": "client_credentials", **who})
    assert (status, body["error"]) == (401, "invalid_client")


@pytest.mark.parametrize("path", ["token", "device_authorization", "revoke", "introspect"])
def test_what_is_no_form_is_refused_as_the_endpoints_refuse(town: Town, path: str) -> None:
    for form, kind in ((b"{}", "application/json"), (b"a=1&a=2", ""), (b"\xff", ""), (b"a" * 20_000, "")):
        status, body = post(town, f"/oauth/{path}", form, kind)
        assert (status, body["error"]) == (400, "invalid_request")
    status, body = post(town, f"/oauth/{path}", {"client_id": "nobody", "token": "x"})
    assert (status in {400, 401}, set(body) >= {"error"}) == (True, True)


def test_a_wrong_secret_is_refused_and_recorded(town: Town) -> None:
    before = len(town.events(EventKind.AUTHENTICATION_FAILED))
    form = {"grant_type": "client_credentials", "client_id": "nobody", "client_secret": "x"}
    assert post(town, "/oauth/token", form)[0] == 401
    assert len(town.events(EventKind.AUTHENTICATION_FAILED)) > before


def test_the_documents(town: Town) -> None:
    answer = town.ask("", "GET", "/.well-known/oauth-authorization-server")
    assert str(answer.problem["token_endpoint"]).endswith("/oauth/token")
    assert str(answer.problem["jwks_uri"]).endswith("/oauth/jwks")
    keys = town.ask("", "GET", "/oauth/jwks").problem["keys"]
    assert keys
    assert all("d" not in key for key in keys)  # type: ignore[attr-defined]
