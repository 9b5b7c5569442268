"""Acting on behalf of another over HTTP (RFC 8693): what is handed on only narrows, and works where it should.

Success rate of the attacks below: 0. Source: RFC 8693, sections 1.1, 2 and 5.
"""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastness.access.tokens import Verifier
from fastness.core.clock import SystemClock, system_entropy
from fastness.core.errors import Unauthenticated
from fastness.core.events import EventKind
from fastness.core.identity import Action
from tests.unit.interfaces.api.town import Town, founded
from tests.unit.interfaces.console.consent import Program, post, register, sign_tokens
from tests.unit.interfaces.console.visit import Visitor, arrive

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS = "urn:ietf:params:oauth:token-type:access_token"
DELEGABLE = "model.infer model.read token.delegate"


@pytest.fixture(scope="module")
def town() -> Iterator[Town]:
    with tempfile.TemporaryDirectory(prefix="fastness-exchange-") as folder, founded(Path(folder) / "home") as made:
        for name in ("relay", "deputy", "third-hand"):
            made.enrol(name, ("viewer",), "service")
        sign_tokens(made)
        yield made


@pytest.fixture(scope="module")
def alice(town: Town) -> Visitor:
    return arrive(town, "alice", "developer")


@pytest.fixture(scope="module")
def notebook(town: Town) -> Program:
    return register(town, scope="model.infer model.read audit.read token.delegate")


def service(town: Town, name: str, scope: str = DELEGABLE) -> Program:
    return register(
        town, name, "", scope=scope, grants=("token-exchange",), redirects=(), principal=f"service:{name}", confidential=True
    )  # fmt: skip


@pytest.fixture(scope="module")
def relay(town: Town) -> Program:
    return service(town, "relay")


@pytest.fixture(scope="module")
def subject(alice: Visitor, notebook: Program) -> str:
    """What Alice let her notebook have."""
    return str(notebook.tokens(alice.browser, scope=DELEGABLE)["access_token"])


def exchanged(program: Program, subject: str, **form: str) -> tuple[int, dict[str, object]]:
    whole = {
        "grant_type": EXCHANGE,
        "subject_token": subject,
        "subject_token_type": ACCESS,
        "client_id": program.client_id,
    }
    return post(program.town, "token", whole | program.form | form)


def claims(token: object) -> dict[str, object]:
    part = str(token).split(".")[1]
    found: dict[str, object] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


def test_the_narrower_token_speaks_of_the_person_and_names_the_actor(town: Town, relay: Program, subject: str) -> None:
    status, body = exchanged(relay, subject, scope="model.read")
    assert (status, body["scope"], body["issued_token_type"]) == (200, "model.read", ACCESS)
    assert "refresh_token" not in body
    told, before = claims(body["access_token"]), claims(subject)
    assert (told["sub"], told["act"], told["aud"]) == (
        "user:alice",
        {"sub": "service:relay"},
        town.house.issuer.audience,
    )
    assert int(str(told["exp"])) <= int(str(before["exp"]))

    town.keys["on-behalf"] = str(body["access_token"])
    assert town.ask("on-behalf", "GET", "/api/v1/models").status == 200
    me = town.client("on-behalf").login.me()
    assert me.principal == "user:alice"
    assert town.ask("on-behalf", "GET", "/api/v1/system").status == 403
    allowed = [event for event in town.events(EventKind.ACCESS_ALLOWED) if event.details.get("actor")][-1]
    assert allowed.details["actor"] == "service:relay"


def test_the_gateway_takes_it_for_what_it_says(town: Town, relay: Program, subject: str) -> None:
    """As a gateway worker judges it: by the snapshot that is pushed to it."""
    status, body = exchanged(relay, subject, scope="model.infer")
    assert status == 200
    worker = Verifier(town.house.snapshots.tokens.load(), system_entropy(32))
    bearer = worker.verify(str(body["access_token"]).encode(), SystemClock().now())
    assert (bearer.principal.id, bearer.principal.actor) == ("user:alice", "service:relay")
    assert bearer.rights.actions == {Action.MODEL_INFER}


@pytest.mark.parametrize(
    "scope",
    [
        "audit.read",
        "model.read audit.read",
        "model.deploy",
        "model.read fly",
        "client.change",
        f"{DELEGABLE} audit.read",
    ],
)
def test_nothing_is_added_on_the_way(relay: Program, subject: str, scope: str) -> None:
    assert exchanged(relay, subject, scope=scope)[1]["error"] == "invalid_scope"


def test_models_only_narrow(town: Town, alice: Visitor, notebook: Program, relay: Program) -> None:
    confined = str(notebook.tokens(alice.browser, scope=f"{DELEGABLE} model:digits")["access_token"])
    assert exchanged(relay, confined, scope="model.read model:other")[1]["error"] == "invalid_scope"
    status, body = exchanged(relay, confined, scope="model.read")
    assert (status, body["scope"]) == (200, "model.read model:digits")
    town.keys["confined"] = str(body["access_token"])
    assert town.ask("confined", "GET", "/api/v1/models/other").status in {403, 404}


@pytest.mark.parametrize(
    "form",
    [
        {"audience": "https://other.example"},
        {"resource": "https://other.example"},
        {"requested_token_type": "urn:ietf:params:oauth:token-type:refresh_token"},
        {"subject_token_type": "urn:ietf:params:oauth:token-type:id_token"},
        {"actor_token": "x", "actor_token_type": ACCESS},
        {"may_act": "user:admin"},
    ],
)
def test_other_audiences_kinds_and_actors_are_refused(relay: Program, subject: str, form: dict[str, str]) -> None:
    status, body = exchanged(relay, subject, **form)
    assert (status, "access_token" in body) == (400, False)


def test_the_chain_of_actors_ends(town: Town, subject: str) -> None:
    """Each hand is named, and after the last one there is none."""
    names, found, body = ["relay", "deputy", "third-hand"], subject, dict[str, object]()
    for number in range(8):
        program = service(town, names[number % 3])
        status, body = exchanged(program, found)
        if status != 200:
            break
        found = str(body["access_token"])
    assert 1 <= number < 8
    assert body["error"] == "invalid_grant"
    depth, act = 0, claims(found)["act"]
    while isinstance(act, dict):
        depth, act = depth + 1, act.get("act")
    assert depth == number


def test_without_the_right_to_delegate_nothing_is_handed_on(
    alice: Visitor, notebook: Program, relay: Program, town: Town
) -> None:
    plain = str(notebook.tokens(alice.browser, scope="model.read")["access_token"])
    assert exchanged(relay, plain)[1]["error"] == "access_denied"
    once = str(
        exchanged(relay, str(notebook.tokens(alice.browser, scope=DELEGABLE)["access_token"]), scope="model.read")[1][
            "access_token"
        ]
    )
    assert exchanged(service(town, "deputy"), once)[1]["error"] == "access_denied"


def test_what_is_no_good_token_is_not_exchanged(relay: Program, subject: str, notebook: Program) -> None:
    head, body, signature = subject.split(".")
    none = base64.urlsafe_b64encode(b'{"alg":"none","typ":"at+jwt"}').rstrip(b"=").decode()
    for bad in ("", "x", f"{none}.{body}.", f"{head}.{body}.{signature[:-4]}AAAA", "fsr_" + "0" * 43):
        assert exchanged(relay, bad)[0] == 400
    assert exchanged(notebook, subject)[1]["error"] in {"unauthorized_client", "invalid_client"}
    assert exchanged(Program(relay.town, relay.client_id, "", {"client_secret": "wrong"}), subject)[0] == 401


def test_it_dies_with_what_it_came_from(town: Town, alice: Visitor, notebook: Program, relay: Program) -> None:
    tokens = notebook.tokens(alice.browser, scope=DELEGABLE)
    lent = str(exchanged(relay, str(tokens["access_token"]))[1]["access_token"])
    town.keys["lent"] = lent
    assert town.ask("lent", "GET", "/api/v1/models").status == 200
    post(town, "revoke", {"token": str(tokens["refresh_token"]), "client_id": notebook.client_id})
    assert town.ask("lent", "GET", "/api/v1/models").status == 401
    with pytest.raises(Unauthenticated):
        town.house.snapshots.verifier().verify(lent.encode(), SystemClock().now())


def test_a_delegate_decides_nothing_in_the_persons_name(town: Town, relay: Program, subject: str) -> None:
    """Keys, devices and second factors are the person's own business."""
    town.keys["delegate"] = str(exchanged(relay, subject)[1]["access_token"])
    for method, path, body in (
        ("POST", "/api/v1/keys", b'{"principal":"user:alice","name":"x","per_s":1,"burst":1,"days":1}'),
        ("POST", "/api/v1/devices/answers", b'{"code":"BCDFGHJK","granted":true}'),
        ("POST", "/api/v1/factors/totp", b'{"label":"x"}'),
    ):
        assert town.ask("delegate", method, path, body).status in {401, 403}
