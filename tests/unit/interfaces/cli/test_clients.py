"""`fastness access client …` and `access device …` as typed, and what the programs then get."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fastness.access.tokens.jose import SigningKey, make_key, public_jwk, sign
from fastness.client.oauth import TokenCalls, Tokens
from fastness.core.clock import SECOND, SystemClock, system_entropy
from tests.unit.interfaces.api.town import Town, founded
from tests.unit.interfaces.cli.serving import Run, serving, typed
from tests.unit.interfaces.console.consent import post, sign_tokens

PROGRAM = ("--scope", "model.read", "--grant", "client_credentials", "--acts-as", "service:robot")
ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@pytest.fixture(scope="module")
def town() -> Iterator[Town]:
    with tempfile.TemporaryDirectory(prefix="fc-") as folder, founded(Path(folder) / "home") as made:
        sign_tokens(made)
        made.keep_credentials()
        with serving(made):
            yield made


@pytest.fixture
def run(town: Town, capsys: pytest.CaptureFixture[str]) -> Run:
    return typed(town, capsys, "admin")


def key_set(folder: Path, *keys: SigningKey, **more: str) -> str:
    file = folder / "keys.json"
    file.write_text(json.dumps({"keys": [{**public_jwk(k.key), "kid": k.kid, "alg": k.alg, **more} for k in keys]}))
    return str(file)


def asserted(town: Town, client: str, key: SigningKey, **changes: Any) -> tuple[int, dict[str, object]]:
    """What a program gets that proves itself by a key."""
    now_s = SystemClock().now() // SECOND
    claims = {"iss": client, "sub": client, "aud": town.house.issuer.name, "exp": now_s + 60, "iat": now_s}
    whole = claims | {"jti": system_entropy(8).hex()} | changes
    form = {"grant_type": "client_credentials", "client_assertion_type": ASSERTION}
    return post(town, "token", form | {"client_assertion": sign(key, "JWT", whole)})


def test_a_program_proves_itself_by_a_key_of_its_own(town: Town, run: Run, tmp_path: Path) -> None:
    first, second = make_key("ES256"), make_key("EdDSA")
    made = run("access", "client", "create", "batch", *PROGRAM, "--jwks", key_set(tmp_path, first))
    assert made[0] == 0, made
    reply = json.loads(made[1])
    assert reply["secret"] == ""
    status, body = asserted(town, reply["client"], first)
    assert (status, body["scope"]) == (200, "model.read")
    town.keys["batch"] = str(body["access_token"])
    assert town.ask("batch", "GET", "/api/v1/models").status == 200
    assert asserted(town, reply["client"], second)[0] == 401
    assert asserted(town, reply["client"], first, aud="https://other.example")[0] == 401

    changed = ("access", "client", "keys", reply["client"], "--jwks", key_set(tmp_path, second))
    assert run(*changed)[0] == 0
    assert asserted(town, reply["client"], first)[0] == 401
    assert asserted(town, reply["client"], second)[0] == 200
    assert "keys" in run("access", "client", "list", form="table")[1]
    (view,) = [one for one in json.loads(run("access", "client", "list")[1]) if one["client"] == reply["client"]]
    assert (view["keys"], view["confidential"], view["active"]) == ([second.kid], True, True)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("", "client-keys"),
        ("[]", "client-keys"),
        ('{"keys": 1}', "client-keys"),
        ('{"keys": [{"kty": "EC", "d": "AA"}]}', "client-keys-private"),
        ('{"keys": [{"kty": "oct", "k": "AA"}]}', "client-keys-private"),
        ('{"keys": [{"kty": "EC"}]}', "client-keys"),
        ('{"keys": [{"kty": "RSA", "kid": "a", "alg": "none"}]}', "jwk-invalid"),
    ],
)
def test_key_sets_that_are_not_taken(run: Run, tmp_path: Path, content: str, code: str) -> None:
    file = tmp_path / "keys.json"
    file.write_text(content)
    status, _, error = run("access", "client", "create", "wrong", *PROGRAM, "--jwks", str(file))
    assert (status, json.loads(error)["code"]) == (2, code)
    assert (
        json.loads(run("access", "client", "keys", "nobody", "--jwks", str(tmp_path / "none"))[2])["code"]
        == "client-keys"
    )


def test_a_secret_is_made_renewed_and_ended(town: Town, run: Run) -> None:
    made = json.loads(run("access", "client", "create", "cron", *PROGRAM, "--secret")[1])
    ask = {"grant_type": "client_credentials", "client_id": made["client"]}
    assert post(town, "token", ask | {"client_secret": made["secret"]})[0] == 200
    renewed = json.loads(run("access", "client", "renew", made["client"])[1])
    assert post(town, "token", ask | {"client_secret": made["secret"]})[0] == 401
    assert post(town, "token", ask | {"client_secret": renewed["secret"]})[0] == 200
    assert run("access", "client", "renew", "nobody")[0] == 66
    assert "ended" in run("access", "client", "disable", made["client"], form="table")[1]
    assert post(town, "token", ask | {"client_secret": renewed["secret"]})[0] == 401
    assert run("access", "client", "disable", made["client"])[0] != 0
    assert "secret" in run("access", "client", "list", form="table")[1]
    assert run("access", "client", "create", "y", *PROGRAM, "--secret", who="viewer")[0] == 77


def test_devices_are_let_in_and_sent_away(town: Town, run: Run) -> None:
    calls = TokenCalls(town.carrier)
    first, second = calls.begin("model.read"), calls.begin("model.read")
    code = town.seconds["viewer"].app.code(SystemClock().now())
    approve = ("access", "device", "approve", first.user_code, "--yes", "--code", code)
    status, said, error = run(*approve, who="viewer", form="table")
    assert status == 0, error
    for shown in ("Fastness command line asks for: model.read (all models)", "from local, 20", "let in"):
        assert shown in said
    assert isinstance(calls.poll(first), Tokens)
    assert run("access", "device", "refuse", second.user_code, who="viewer")[0] == 0
    with pytest.raises(Exception, match="denied"):
        calls.poll(second)
    status, _, error = run("access", "device", "approve", "BCDF-GHJK", who="viewer")
    assert (status, json.loads(error)["code"]) == (66, "device-unknown")
