"""Attacks on access at the door itself: the control plane on its socket, asked by many at once and by what nobody should send.

What is tried here against HTTP is tried in more forms against the parts: `test_access_tokens`, `test_access_login`,
`test_access_oauth`. Success rate: 0.
"""

from __future__ import annotations

import base64
import functools
import hmac
import json
import sqlite3
import urllib.parse
from collections.abc import Callable
from typing import Any

import pytest

from fastness.access import tokens
from fastness.access.tokens import Grantee, jose
from fastness.access.tokens.rights import Rights
from fastness.app.house import look_through
from fastness.client import ControlClient, HttpTransport
from fastness.core.clock import SECOND, Instant, SystemClock
from fastness.core.events import EventKind
from fastness.core.identity import SYSTEM_SCOPE, Action, PrincipalId, Strength
from fastness.interfaces.cli.demo.authenticator import Authenticator
from fastness.wire import control
from tests.attack.test_control_plane import at_once, town
from tests.unit.interfaces.api.town import Answer, Town

__all__ = ["town"]
VIEWER = PrincipalId("user:viewer")


def sent(town: Town, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> Answer:
    """One request over the socket, on a connection of its own."""
    with HttpTransport(town.house.home.control_socket, timeout_s=60) as transport:
        reply = transport.send(method, path, {"content-type": "application/json", **headers}, body or None)
        return Answer(reply.status, reply.headers.get("content-type", ""), reply.read())


def posted(town: Town, path: str, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
    kind = {"content-type": "application/x-www-form-urlencoded"}
    answer = sent(town, "POST", path, kind, urllib.parse.urlencode(form).encode())
    return answer.status, json.loads(answer.body or b"{}")


# --- tokens that this house did not issue for this door ----------------------------------------------------------------


def issued(town: Town, at_s: int = 0, **changed: Any) -> str:
    ours = town.house.issuer
    issuer = tokens.Issuer(changed.pop("name", ours.name), changed.pop("audience", ours.audience), ours.signers)
    with town.house.records.begin(SYSTEM_SCOPE, Instant(SystemClock().now() + at_s * SECOND)) as tx:
        grantee = Grantee(VIEWER, Rights(frozenset({Action.MODEL_READ})), Strength.MFA, tx.now, "app", **changed)
        return tokens.issue(tx, issuer, grantee).text


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def with_header(text: str, **changed: object) -> str:
    header, rest = text.split(".", 1)
    read = json.loads(base64.urlsafe_b64decode(header + "=="))
    return f"{part(read | changed)}.{rest}"


def as_hmac(town: Town, text: str) -> str:
    """Signed by HS256 under our public key: CVE-2015-9235."""
    with town.house.records.read(SYSTEM_SCOPE) as reading:
        key = town.house.signers.signing(reading).key
    pem = key.as_bytes(encoding="PEM", private=False)
    signed = with_header(text, alg="HS256").rpartition(".")[0]
    mac = base64.urlsafe_b64encode(hmac.digest(pem, signed.encode(), "sha256").ljust(64, b"\0"))
    return f"{signed}.{mac.rstrip(b'=').decode()}"


def of_another_key(town: Town, text: str) -> str:
    """Signed by a key of the attacker's, which the header brings along."""
    mine = jose.make_key("ES256")
    with town.house.records.read(SYSTEM_SCOPE) as reading:
        kid = town.house.signers.signing(reading).kid
    claims = json.loads(base64.urlsafe_b64decode(text.split(".")[1] + "=="))
    signed = jose.sign(type(mine)(kid, "ES256", mine.key), "at+jwt", claims)
    return with_header(signed, jwk=jose.public_jwk(mine.key), jku="https://evil.example/jwks.json")


FORGED: dict[str, Callable[[Town, str], str]] = {
    "no algorithm": lambda _, text: with_header(text, alg="none").rpartition(".")[0] + ".",
    "no algorithm, signature kept": lambda _, text: with_header(text, alg="none"),
    "another algorithm": as_hmac,
    "a key of one's own in the header": of_another_key,
    "a key id that is a path": lambda _, text: with_header(text, kid="../../../../dev/null"),
    "a key id that is SQL": lambda _, text: with_header(text, kid="x' UNION SELECT wrapped FROM token_key --"),
    "a list of keys elsewhere": lambda _, text: with_header(text, jku="https://evil.example/jwks.json"),
    "another type": lambda _, text: with_header(text, typ="JWT"),
    "other claims": lambda _, text: ".".join((text.split(".")[0], part({"sub": "user:admin"}), text.split(".")[2])),
    "an audience elsewhere": lambda town, _: issued(town, audience="https://elsewhere"),
    "an issuer elsewhere": lambda town, _: issued(town, name="https://elsewhere"),
    "an hour old": lambda town, _: issued(town, -3600),
    "an hour too early": lambda town, _: issued(town, 3600),
    "bound to a certificate that did not come": lambda town, _: issued(town, thumbprint="x" * 43),
    "twice": lambda _, text: f"{text}, Bearer {text}",
}


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED)
def test_a_token_that_is_none_opens_nothing(town: Town, forge: Callable[[Town, str], str]) -> None:
    good = issued(town)
    assert sent(town, "GET", "/api/v1/models", {"authorization": f"Bearer {good}"}).status == 200
    answer = sent(town, "GET", "/api/v1/models", {"authorization": f"Bearer {forge(town, good)}"})
    assert answer.status == 401
    assert answer.code in {"token-refused", "key-malformed"}
    assert b"evil" not in answer.body
    status, shown = posted(town, "/oauth/introspect", {"token": forge(town, good), "client_id": "fastness-cli"})
    assert status in {400, 401}, shown


# --- many at once ------------------------------------------------------------------------------------------------------


def stepped(town: Town, who: str, code: str, key: str = "") -> object:
    with HttpTransport(town.house.home.control_socket, timeout_s=60) as transport:
        method = "totp" if len(code) == 6 else "recovery"
        return ControlClient(transport, key or town.keys[who]).login.step_up(control.StepUpRequest(method, code))


def fresh_person(town: Town, name: str) -> Authenticator:
    town.enrol(name, ("developer",))
    return town.seconds[name].app


def elevations(found: list[object]) -> list[object]:
    return [one for one in found if isinstance(one, control.ElevationReply)]


def test_a_code_given_by_many_at_once_works_once(town: Town) -> None:
    app = fresh_person(town, "hasty")
    code = app.code(SystemClock().now())
    assert len(elevations(at_once(6, lambda _: stepped(town, "hasty", code)))) == 1
    assert elevations([_error(lambda: stepped(town, "hasty", code))]) == []


def test_a_recovery_code_given_by_many_at_once_works_once(town: Town) -> None:
    code = fresh_person(town, "forgetful").recovery[0]
    assert len(elevations(at_once(6, lambda _: stepped(town, "forgetful", code)))) == 1
    assert elevations([_error(lambda: stepped(town, "forgetful", code))]) == []


def _error(act: Callable[[], object]) -> object:
    return at_once(1, lambda _: act())[0]


def test_a_repeated_request_sent_by_many_at_once_is_done_once(town: Town) -> None:
    headers = {"authorization": f"Bearer {town.keys['publisher']}", "idempotency-key": "one-and-the-same"}
    body = json.dumps({"principal": "user:publisher", "name": "raced"}).encode()
    answers = at_once(6, lambda _: sent(town, "POST", "/api/v1/keys", headers, body))
    made = [key for key in town.all_keys() if key.name == "raced"]
    assert len(made) == 1, [getattr(answer, "status", answer) for answer in answers]
    assert {answer.status for answer in answers if isinstance(answer, Answer)} <= {201, 409}


def logged_in(town: Town, who: str) -> dict[str, Any]:
    status, waiting = posted(town, "/oauth/device_authorization", {"client_id": "fastness-cli", "scope": "model.read"})
    assert status == 200, waiting
    town.client(who).clients.answer_device(waiting["user_code"], granted=True)
    return waiting


def answers_of(found: list[object]) -> list[dict[str, Any]]:
    """The good answers among those of many at once."""
    return [one[1] for one in found if isinstance(one, tuple) and one[0] == 200]


def polled(town: Town, waiting: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    form = {"client_id": "fastness-cli", "device_code": waiting["device_code"]}
    return posted(town, "/oauth/token", form | {"grant_type": "urn:ietf:params:oauth:grant-type:device_code"})


def test_a_device_code_polled_by_many_at_once_gives_one_family(town: Town) -> None:
    waiting = logged_in(town, "viewer")
    assert len(answers_of(at_once(6, lambda _: polled(town, waiting)))) == 1


def test_a_refresh_token_used_by_many_at_once_is_good_for_none_of_them(town: Town) -> None:
    waiting = logged_in(town, "viewer")
    status, body = polled(town, waiting)
    assert status == 200, body
    form = {"client_id": "fastness-cli", "grant_type": "refresh_token", "refresh_token": body["refresh_token"]}
    won = answers_of(at_once(6, lambda _: posted(town, "/oauth/token", form)))
    assert len(won) <= 1
    for answer in [body, *won]:  # a token shown twice ends all that came from it
        bearer = {"authorization": f"Bearer {answer['access_token']}"}
        assert sent(town, "GET", "/api/v1/models", bearer).status == 401


# --- names and headers -------------------------------------------------------------------------------------------------

LOOKALIKES = [
    "аdmin",
    "admin\u200b",
    "ADMIN",
    "ａｄｍｉｎ",
    "admin\u0301",
    " admin",
    "admin\n",
    "ad\x00min",
    "user:admin",
    "admin@acme",
]


@pytest.mark.parametrize("name", LOOKALIKES)
def test_nobody_is_called_almost_like_another(town: Town, name: str) -> None:
    headers = {"authorization": f"Bearer {town.keys['admin']}"}
    body = json.dumps({"name": name, "roles": ["viewer"], "kind": "user"}).encode()
    answer = sent(town, "POST", "/api/v1/principals", headers, body)
    assert (answer.status, answer.code) == (400, "name-malformed")
    login = json.dumps({"name": name, "password": "correct horse battery staple"}).encode()
    assert sent(town, "POST", "/api/v1/logins", {}, login).status == 401


def test_headers_too_long_are_refused_and_nothing_falls_over(town: Town) -> None:
    key = f"Bearer {town.keys['viewer']}"
    for name in (
        "authorization",
        "fastness-elevation",
        "idempotency-key",
        "cookie",
        "user-agent",
        "if-match",
        "fastness-csrf",
    ):
        long = "x" * 60_000
        headers: dict[str, str] = (
            {name: f"Bearer {long}"} if name == "authorization" else {"authorization": key, name: long}
        )
        answer = _error(functools.partial(sent, town, "GET", "/api/v1/models", headers))
        assert not isinstance(answer, Answer) or answer.status in {200, 400, 401, 431}, name
    assert sent(town, "GET", "/api/v1/models", {"authorization": key}).status == 200


# --- who writes the database while the house runs ----------------------------------------------------------------------


def test_a_revoked_key_put_back_by_sql_opens_nothing_and_the_house_says_so(town: Town) -> None:
    made = town.client("developer").access.create_key(control.KeyRequest("user:developer", "put-back"))
    bearer = {"authorization": f"Bearer {made.api_key}"}
    with sqlite3.connect(town.house.home.records) as behind:
        older = behind.execute("SELECT revoked_at, seal FROM api_key WHERE key_id = ?", (made.key_id,)).fetchone()
    town.client("developer").access.revoke_key(made.key_id)
    with sqlite3.connect(town.house.home.records) as behind:
        newer = behind.execute("SELECT revoked_at, seal FROM api_key WHERE key_id = ?", (made.key_id,)).fetchone()
        behind.execute("UPDATE api_key SET revoked_at = ?, seal = ? WHERE key_id = ?", (*older, made.key_id))
    assert sent(town, "GET", "/api/v1/models", bearer).status == 401
    look_through(town.house)
    for credential in (town.keys["viewer"], issued(town)):
        assert sent(town, "GET", "/api/v1/models", {"authorization": f"Bearer {credential}"}).status in {401, 403}
    assert town.events(EventKind.INTEGRITY_FAILED)[-1].resource == "table:api_key@default"
    with sqlite3.connect(town.house.home.records) as behind:
        behind.execute("UPDATE api_key SET revoked_at = ?, seal = ? WHERE key_id = ?", (*newer, made.key_id))
    look_through(town.house)
    assert sent(town, "GET", "/api/v1/models", {"authorization": f"Bearer {town.keys['viewer']}"}).status == 200
