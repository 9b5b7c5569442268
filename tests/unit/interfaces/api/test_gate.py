"""What stands before every route: proof, pace, permission; requests that are repeated, and answers that are compared."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from litestar import Litestar, get
from litestar.di import Provide
from litestar.middleware import DefineMiddleware

from fastness.client import Body, ControlClient
from fastness.client.transport import Reply
from fastness.core.errors import FastnessError
from fastness.core.events import EventKind
from fastness.core.identity import Action
from fastness.foundation.storage import replies
from fastness.interfaces.api.app import control_plane
from fastness.interfaces.api.conditions import Conditions
from fastness.interfaces.api.doors import Caller, Doors
from fastness.interfaces.api.gate import Gate
from fastness.interfaces.api.routes import KNOCK, Door, control_routes, guarded
from fastness.interfaces.cli.inprocess import InProcessTransport
from fastness.wire import control, overview
from tests.unit.interfaces.api.town import Answer, Town, founded

KEYS = "/api/v1/keys"


@pytest.fixture(scope="module")
def bare() -> Iterator[Town]:
    """A house with its people and no model."""
    with tempfile.TemporaryDirectory(prefix="fastness-gate-") as folder, founded(Path(folder) / "home") as made:
        yield made


def ask(
    town: Town, who: str, method: str, path: str, body: object = None, **headers: str
) -> tuple[Answer, dict[str, str]]:
    sent = {"content-type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    if who:
        sent["authorization"] = f"Bearer {town.keys[who]}"
    reply = town.carrier.send(method, path, sent, None if body is None else msgspec.json.encode(body))
    found = dict(reply.headers)
    return Answer(reply.status, found.get("content-type", ""), reply.read()), found


def principal(name: str) -> control.PrincipalRequest:
    return control.PrincipalRequest(name, ("viewer",))


def count(town: Town, kind: EventKind) -> int:
    return len(town.events(kind))


def test_every_route_declares_what_it_asks(bare: Town) -> None:
    views = list(control_routes(control_plane(bare.house)))
    assert len(views) > 20
    assert all(view.permission and view.per_s > 0 and view.burst >= 1 for view in views)


def test_an_application_with_an_undeclared_route_does_not_start() -> None:
    @get("/forgotten", sync_to_thread=False)
    def forgotten() -> str:
        return "open"

    with pytest.raises(FastnessError, match="route-undeclared"):
        list(control_routes(Litestar([forgotten])))


def test_a_route_that_does_not_ask_for_its_permission_answers_nothing(bare: Town) -> None:
    @get("/careless", sync_to_thread=False, opt=guarded(Action.AUDIT_READ))
    def careless() -> str:
        return "the whole log"

    doors = Doors(bare.house)
    app = Litestar(
        [careless], middleware=[DefineMiddleware(Gate, doors=doors, kept=replies.Replies(bare.house.records), conditions=Conditions())],
        openapi_config=None, signature_types=[Caller, Doors], dependencies={"doors": Provide(lambda: doors, sync_to_thread=False)},
    )  # fmt: skip
    with InProcessTransport(app) as carrier:
        reply = carrier.send("GET", "/careless", {"authorization": f"Bearer {bare.keys['auditor']}"})
        assert reply.status == 500
        assert b"whole log" not in reply.read()


def test_a_yes_is_recorded_as_a_no_is(bare: Town) -> None:
    ask(bare, "auditor", "GET", KEYS)
    event = bare.events(EventKind.ACCESS_ALLOWED)[-1]
    assert (event.principal, event.action, event.resource, event.reason) == (
        "user:auditor", "access.read", "access:keys", "auditor",
    )  # fmt: skip
    assert event.details["from"] == "local"
    assert event.details["route"] == "GET /api/v1/keys"
    assert str(event.details["credential"]).removeprefix("key:") in bare.keys["auditor"]
    assert bare.keys["auditor"] not in str(event)


def test_a_repeated_request_is_done_once_and_answered_alike(bare: Town) -> None:
    body = control.RolesRequest(("viewer",))
    before = count(bare, EventKind.ROLES_CHANGED)
    first, _ = ask(bare, "admin", "POST", "/api/v1/principals/user:third/deactivation", idempotency_key="once-1")
    again, headers = ask(bare, "admin", "POST", "/api/v1/principals/user:third/deactivation", idempotency_key="once-1")
    assert (first.status, again.status, first.body) == (204, 204, again.body)
    assert headers["idempotency-replayed"] == "true"
    without, _ = ask(bare, "admin", "POST", "/api/v1/principals/user:third/deactivation")
    assert without.status == 409  # it really was done once only
    assert count(bare, EventKind.ROLES_CHANGED) == before
    assert body.roles


def test_an_idempotency_key_belongs_to_one_request_and_one_caller(bare: Town) -> None:
    path = "/api/v1/principals/user:second/deactivation"
    assert ask(bare, "admin", "POST", path, idempotency_key="mine")[0].status == 204
    other, _ = ask(bare, "admin", "POST", path.replace("second", "author"), idempotency_key="mine")
    assert (other.status, other.code) == (409, "idempotency-reused")
    stranger, headers = ask(bare, "viewer", "POST", path, idempotency_key="mine")
    assert stranger.status == 403
    assert "idempotency-replayed" not in headers


def test_a_refused_request_may_be_repeated(bare: Town) -> None:
    path = "/api/v1/principals/user:nobody/deactivation"
    for _ in range(2):
        answer, headers = ask(bare, "admin", "POST", path, idempotency_key="refused")
        assert answer.status == 404
        assert "idempotency-replayed" not in headers


def test_a_secret_is_kept_for_no_repetition(bare: Town) -> None:
    first, _ = ask(bare, "admin", "POST", "/api/v1/principals", principal("shown"), idempotency_key="secret")
    code = str(first.problem["code"]).encode()
    assert first.status == 201
    again, _ = ask(bare, "admin", "POST", "/api/v1/principals", principal("shown"), idempotency_key="secret")
    assert (again.status, again.code) == (409, "idempotency-unfinished")
    assert code not in again.body
    stored = b"".join(path.read_bytes() for path in bare.house.home.root.rglob("records*") if path.is_file())
    assert code not in stored


@pytest.mark.parametrize("key", ["x" * 256, "a\tb"])
def test_a_malformed_idempotency_key_is_refused(bare: Town, key: str) -> None:
    answer, _ = ask(bare, "admin", "POST", "/api/v1/principals", principal("never"), idempotency_key=key)
    assert (answer.status, answer.code) == (400, "idempotency-key")


def test_what_has_not_changed_is_not_sent_again(bare: Town) -> None:
    first, headers = ask(bare, "auditor", "GET", "/api/v1/principals")
    tag = headers["etag"]
    same, _ = ask(bare, "auditor", "GET", "/api/v1/principals", if_none_match=f'"other", {tag}')
    assert (first.status, same.status, same.body) == (200, 304, b"")
    ask(bare, "admin", "POST", "/api/v1/principals", principal("changes-the-list"))
    changed, headers = ask(bare, "auditor", "GET", "/api/v1/principals", if_none_match=tag)
    assert changed.status == 200
    assert headers["etag"] != tag


def test_a_list_comes_in_pages_that_lose_nothing(bare: Town) -> None:
    whole = [p.principal for p in bare.client("auditor").access.principals()]
    assert len(whole) > 7
    path, found = "/api/v1/principals?limit=3", []
    while path:
        answer, headers = ask(bare, "auditor", "GET", path)
        page = msgspec.json.decode(answer.body, type=list[control.PrincipalView])
        assert 0 < len(page) <= 3
        found += [p.principal for p in page]
        link = headers.get("link", "")
        path = link.partition(">")[0].removeprefix("<") if link else ""
    assert found == sorted(whole)
    for query in ("limit=0", "limit=1001", "limit=x", f"after={'x' * 201}"):
        assert ask(bare, "auditor", "GET", f"/api/v1/principals?{query}")[0].status == 400


def test_the_client_follows_the_pages(bare: Town) -> None:
    class Small:
        """Asks for two entries at once, whatever the client asks for."""

        def send(self, method: str, path: str, headers: Mapping[str, str], body: Body | None = None) -> Reply:
            self.asked = [*getattr(self, "asked", []), path]
            whole = path if "limit=" in path else f"{path}?limit=2"
            return bare.carrier.send(method, whole, headers, body)

        def close(self) -> None: ...

    small = Small()
    found = ControlClient(small, bare.keys["auditor"]).access.principals()
    assert [p.principal for p in found] == sorted(p.principal for p in bare.client("auditor").access.principals())
    assert len(small.asked) == (len(found) + 1) // 2


def test_who_knocks_too_often_is_told_when_to_come_back(bare: Town) -> None:
    body = control.EnrolmentRequest("fse_" + "0" * 43, "no key")
    seen = [ask(bare, "", "POST", "/api/v1/enrolments", body) for _ in range(int(KNOCK.limit.burst) + 5)]
    limited = [(answer, headers) for answer, headers in seen if answer.status == 429]
    assert limited
    answer, headers = limited[0]
    assert answer.code == "rate-limited"
    assert int(headers["retry-after"]) >= 1
    assert bare.events(EventKind.ACCESS_DENIED)[-1].reason == "rate-limited"
    assert ask(bare, "viewer", "GET", "/api/v1/models")[0].status == 200  # others are not slowed


def test_options_tell_nothing(bare: Town) -> None:
    for path in (KEYS, "/healthz", "/nothing"):
        answer, headers = ask(bare, "", "OPTIONS", path)
        assert (answer.status, answer.code) == (405, "method-not-allowed")
        assert "allow" not in headers


def test_the_document_is_for_those_who_are_known(bare: Town) -> None:
    answer, headers = ask(bare, "", "GET", "/api/v1/openapi.json")
    assert (answer.status, answer.code) == (401, "key-missing")
    assert headers["www-authenticate"] == 'Bearer realm="fastness"'
    assert ask(bare, "viewer", "GET", "/api/v1/openapi.json")[0].status == 200


def test_health_from_elsewhere_takes_a_key(bare: Town) -> None:
    doors = Doors(bare.house)
    scope: dict[str, Any] = {"client": ("192.0.2.7", 1), "method": "GET", "path": "/healthz", "headers": []}
    door = Door(KNOCK, overview.Proof.PEER)
    with pytest.raises(FastnessError, match="key-missing"):
        doors.come_in(scope, door)
    assert doors.come_in({**scope, "client": ("127.0.0.1", 1)}, door).client.address == "127.0.0.1"


def test_replies_are_forgotten_after_a_day(bare: Town) -> None:
    book, now = replies.Replies(bare.house.records), bare.house.clock.now()
    scope = next(iter({asyncio.run(_scope(bare))}))
    assert book.claim(scope, "old", b"f" * 32, now) is None
    with pytest.raises(FastnessError, match="idempotency-unfinished"):
        book.claim(scope, "old", b"f" * 32, now)
    later = type(now)(now + 86_401 * 10**9)
    assert book.claim(scope, "old", b"g" * 32, later) is None


async def _scope(town: Town) -> Any:
    doors = Doors(town.house)
    scope = {
        "client": None, "method": "GET", "path": "/", "headers": [(b"authorization", f"Bearer {town.keys['viewer']}".encode())],
    }  # fmt: skip
    return doors.come_in(scope, Door(KNOCK)).scope
