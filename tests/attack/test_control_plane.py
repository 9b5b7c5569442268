"""Attacks on the control plane over its real socket: connections that break or lie, races, and doors beside the doors."""

from __future__ import annotations

import contextlib
import logging
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
import uvicorn

from fastness.client import ControlClient, HttpTransport
from fastness.core.clock import system_entropy
from fastness.core.errors import FastnessError
from fastness.core.events import EventKind
from fastness.foundation.crypto import SoftwareSigner
from fastness.interfaces.api import create_api
from fastness.interfaces.api.app import control_plane
from fastness.wire import control
from tests.unit.interfaces.api.test_routes import OPEN, OWN, ROUTES
from tests.unit.interfaces.api.town import DECLARED, Town, founded
from tests.unit.models.release.world import digits_onnx


@pytest.fixture(scope="module")
def town() -> Iterator[Town]:
    """A house with a model, and its control plane on a Unix socket as `fastness up` serves it."""
    with tempfile.TemporaryDirectory(prefix="fst-") as folder, founded(Path(folder) / "home") as made:
        made.push("served")
        config = uvicorn.Config(
            create_api(made.house), uds=str(made.house.home.control_socket), lifespan="off", access_log=False,
            log_level="warning", server_header=False, ws="none", interface="asgi3", timeout_graceful_shutdown=5,
        )  # fmt: skip
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run)
        thread.start()
        until(made.house.home.control_socket.exists)
        yield made
        server.should_exit = True
        thread.join()


def until(what: Callable[[], object]) -> None:
    for _ in range(2000):
        if what():
            return
        time.sleep(0.01)
    raise AssertionError("it never came to pass")


@contextlib.contextmanager
def as_somebody(town: Town, name: str) -> Iterator[ControlClient]:
    with HttpTransport(town.house.home.control_socket, timeout_s=60) as transport:
        yield ControlClient(transport, town.keys[name])


def spoken(town: Town, data: bytes, *, until_closed: bool = True) -> bytes:
    """What the house answers to raw bytes."""
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(30)
        line.connect(str(town.house.home.control_socket))
        line.sendall(data)
        said = b""
        while until_closed and (piece := line.recv(65_536)):
            said += piece
        return said


def head(town: Town, method: str, path: str, *more: str, who: str = "publisher") -> bytes:
    lines = [
        f"{method} {path} HTTP/1.1",
        "host: x",
        f"authorization: Bearer {town.keys[who]}",
        "connection: close",
        *more,
    ]
    return "\r\n".join([*lines, "", ""]).encode()


PUSH = "/api/v1/models/broken/versions?file=m.onnx"
BROKEN = {
    "in the middle of a chunk": ("transfer-encoding: chunked", b"8000\r\n" + b"x" * 100),
    "between two chunks": ("transfer-encoding: chunked", b"3\r\nabc\r\n"),
    "short of the length that it named": ("content-length: 1000000", b"x" * 300_000),
    "before a byte": ("content-length: 10", b""),
}


@pytest.mark.parametrize(("header", "body"), BROKEN.values(), ids=BROKEN)
def test_a_sender_that_goes_away_leaves_nothing(
    town: Town, caplog: pytest.LogCaptureFixture, header: str, body: bytes
) -> None:
    blobs = town.blobs()
    with caplog.at_level(logging.ERROR):
        spoken(town, head(town, "POST", PUSH, header) + body, until_closed=False)
        with as_somebody(town, "viewer") as client:
            until(lambda: town.blobs() <= blobs and client.models.list())  # one of before may just have gone
            assert [m.model for m in client.models.list()] == ["served"]
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_a_sender_that_leaves_once_its_artifact_is_taken_gets_its_version_all_the_same(town: Town) -> None:
    data = digits_onnx(0.2)
    request = head(town, "POST", "/api/v1/models/unheard/versions?file=m.onnx", f"content-length: {len(data)}")
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(30)
        line.connect(str(town.house.home.control_socket))
        line.sendall(request + data)
        assert line.recv(12) == b"HTTP/1.1 200"  # the answer begins when the artifact is in, long before its outcome
    with as_somebody(town, "viewer") as client:
        until(lambda: "unheard" in [m.model for m in client.models.list()])
        view = client.models.version("unheard", 1)
    assert (view.state, len(view.attestations), view.author) == ("registered", 3, "user:publisher")
    assert len(town.blobs()) == 2


CREDENTIALS = {
    "none": [],
    "two keys": ["authorization: Bearer {key}", "authorization: Bearer {key}"],
    "a good one behind a bad one": ["authorization: Bearer fst_x", "authorization: Bearer {key}"],
    "a good one before a bad one": ["authorization: Bearer {key}", "authorization: Bearer fst_x"],
    "another scheme": ["authorization: Basic {key}"],
    "another case": ["authorization: bearer {key}"],
    "in a cookie": ["cookie: authorization=Bearer {key}"],
    "in another header": ["x-api-key: {key}"],
    "claims of a proxy": ["x-forwarded-user: admin", "x-remote-user: admin", "forwarded: for=127.0.0.1"],
}


@pytest.mark.parametrize("headers", CREDENTIALS.values(), ids=CREDENTIALS)
@pytest.mark.parametrize("query", ["", "?key={key}", "?authorization=Bearer%20{key}"])
def test_a_key_counts_only_in_its_own_header_and_only_once(town: Town, headers: list[str], query: str) -> None:
    lines = [f"GET /api/v1/models{query} HTTP/1.1", "host: x", "connection: close", *headers, "", ""]
    said = spoken(town, "\r\n".join(lines).replace("{key}", town.keys["viewer"]).encode())
    assert said.split(b"\r\n")[0] == b"HTTP/1.1 401 Unauthorized"
    assert town.keys["viewer"].encode() not in said


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/models/..%2Fprincipals", "/api/v1/models/%2e%2e/principals", "//api/v1/principals", "/API/v1/principals",
        "/api/v1/./principals", "/api/v1/models/../principals", "/api/v1%2Fprincipals", "/api/v1/models%2F..%2Fprincipals", "/api/v1/models/served%00",
        "/api/v1/models;/served", "http://x/api/v1/principals", "/api/v2/models", "/console/../api/v1/principals",
    ],
)  # fmt: skip
def test_no_way_of_writing_a_path_leads_past_its_door(town: Town, path: str) -> None:
    """A viewer may not list principals, however the way there is written."""
    said = spoken(town, head(town, "GET", path, who="viewer"))
    status = int(said.split(b" ", 2)[1])
    assert status in {400, 403, 404}, said
    assert b"user:admin" not in said


@pytest.mark.parametrize(
    "header", ["x-http-method-override: DELETE", "x-method-override: POST", "x-original-url: /api/v1/keys"]
)
def test_no_header_changes_what_is_asked(town: Town, header: str) -> None:
    said = spoken(town, head(town, "GET", "/api/v1/models", header, who="viewer"))
    assert said.startswith(b"HTTP/1.1 200")
    assert b'"served"' in said


def test_no_route_stands_beside_those_that_are_tested(town: Town) -> None:
    """Also none that the document does not show; the pages of the console are listed in `test_console`.

    What the standards give a place of its own is tried in `test_oauth` and `test_scim`.
    """
    app = control_plane(town.house)
    ours = {name.partition(" ")[2] for name in (*ROUTES, *OWN, *OPEN)}
    paths = {route.path_format for route in app.routes if not route.path_format.startswith("/console")}
    shown = {path.removeprefix("/api/v1") or "/" for path in paths}
    others = {path.replace(":str", "").replace(":int", "").replace(":path", "") for path in shown} - ours
    assert others == {
        "/openapi.json", "/", "/{path}", "/.well-known/oauth-authorization-server", "/scim/v2/{path}",
        *(f"/oauth/{name}" for name in ("token", "device_authorization", "revoke", "introspect", "jwks")),
        "/oauth/authorize", "/oauth/device",
    }  # fmt: skip


def test_only_the_owner_reaches_the_socket(town: Town) -> None:
    assert town.house.home.run.stat().st_mode & 0o077 == 0
    assert town.house.home.root.stat().st_mode & 0o077 == 0


def at_once(count: int, act: Callable[[int], object]) -> list[object]:
    """`count` of it at the same moment; what each returned or raised."""
    barrier = threading.Barrier(count)

    def one(number: int) -> object:
        barrier.wait()
        try:
            return act(number)
        except FastnessError as error:
            return error

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def test_a_code_redeemed_by_many_at_once_makes_one_member(town: Town) -> None:
    code = town.client("admin").access.create_principal(control.PrincipalRequest("raced", ("viewer",))).code
    pems = [SoftwareSigner.create(system_entropy).public_pem.decode() for _ in range(6)]

    def redeem(number: int) -> object:
        with HttpTransport(town.house.home.control_socket, timeout_s=60) as transport:
            return ControlClient(transport).access.enrol(code, pems[number])

    won = [reply for reply in at_once(6, redeem) if isinstance(reply, control.EnrolmentReply)]
    assert len(won) == 1
    assert len([e for e in town.events(EventKind.PRINCIPAL_ENROLLED) if e.resource == "principal:user:raced"]) == 1


def test_an_approval_handed_in_by_many_at_once_counts_once(town: Town) -> None:
    request = control.ApprovalRequest("development", town.envelope("approver", "served", 1))

    def hand_in(_: int) -> object:
        with as_somebody(town, "approver") as client:
            return client.models.approve("served", 1, request)

    taken = [view for view in at_once(6, hand_in) if isinstance(view, control.VersionView)]
    assert len(taken) == 1
    assert len(town.client("viewer").models.version("served", 1).approvals) == 1


def test_pushes_at_once_get_numbers_of_their_own(town: Town) -> None:
    data = [digits_onnx(strength) for strength in (0.11, 0.12, 0.13)]

    def push(number: int) -> object:
        with as_somebody(town, "publisher") as client:
            return client.models.push("crowd", "m.onnx", [data[number]], DECLARED, lambda _: None)

    replies = at_once(3, push)
    versions = [reply.version for reply in replies if isinstance(reply, control.AdmissionReply)]
    assert sorted(versions) == [1, 2, 3], replies
    assert len({view.digest for view in town.client("viewer").models.versions("crowd")}) == 3


def test_a_revoked_key_is_refused_on_a_connection_that_is_already_open(town: Town) -> None:
    made = town.client("developer").access.create_key(control.KeyRequest("user:developer", "short"))
    with HttpTransport(town.house.home.control_socket, timeout_s=60) as transport:
        client = ControlClient(transport, made.api_key)
        assert client.models.list()
        town.client("developer").access.revoke_key(made.key_id)
        with pytest.raises(FastnessError) as caught:
            client.models.list()
    assert caught.value.code == "key-unknown"


def test_a_refusal_tells_nothing_of_the_key_that_was_sent(town: Town) -> None:
    wrong = town.keys["viewer"][:-10] + "0" * 10
    lines = ["GET /api/v1/models HTTP/1.1", "host: x", "connection: close", f"authorization: Bearer {wrong}", "", ""]
    said = spoken(town, "\r\n".join(lines).encode())
    assert b" 401 " in said.split(b"\r\n")[0]
    assert wrong[4:20].encode() not in said
    assert wrong[4:20] not in msgspec.json.encode(town.events(EventKind.ACCESS_DENIED)[-1]).decode()


def test_damage_that_a_route_comes_upon_is_recorded(town: Town) -> None:
    """Whoever looks at a version whose bytes were changed leaves the trace, without having to report it."""
    known = town.blobs()
    town.push("sound", strength=0.3)
    (path,) = town.blobs() - known
    for who in ("approver", "second"):
        town.approve(who, "sound", 1)
    town.allow("sound")
    whole, before = path.read_bytes(), len(town.events(EventKind.INTEGRITY_FAILED))
    path.chmod(0o600)
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    try:
        answer = town.ask(
            "viewer", "POST", "/api/v1/models/sound/versions/1/verifications", b'{"environment": "development"}'
        )
    finally:
        path.write_bytes(whole)
    assert (answer.status, b"blob-corrupt" in answer.body) == (500, True), answer
    (event,) = town.events(EventKind.INTEGRITY_FAILED)[before:]
    assert (event.principal, event.reason) == ("user:viewer", "blob-corrupt")
    assert event.resource.endswith("/models/sound/versions/1/verifications")


def test_the_log_is_verified_once_at_a_time_however_many_ask(town: Town) -> None:
    def verify(_: int) -> object:
        with as_somebody(town, "auditor") as client:
            return client.audit.verify()

    replies = at_once(8, verify)
    assert any(isinstance(reply, control.VerificationReply) for reply in replies)
    refusals = [reply for reply in replies if isinstance(reply, FastnessError)]
    assert {error.code for error in refusals} <= {"verification-running"}
