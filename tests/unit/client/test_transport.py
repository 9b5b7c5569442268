"""The client's connections, against real servers on this machine."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fastness.client import Client, ControlClient, HttpTransport
from fastness.core.errors import FastnessError, Forbidden, Invalid, NotFound, Unavailable
from fastness.wire import control, problems


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(200, b'{"path": "%b"}' % self.path.encode())

    def do_POST(self) -> None:
        if self.path == "/refused":
            self.close_connection = True  # answers on the headers, with the body unread
            self._answer(403, problems.encode(Forbidden("not-yours", "may not", "Ask somebody.")))
            return
        data = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.headers.get("transfer-encoding") == "chunked":
            data = b"".join(iter(self._chunk, b""))
        self._answer(200, b"%d bytes\nsecond line\n" % len(data))

    def _chunk(self) -> bytes:
        size = int(self.rfile.readline(), 16)
        data = self.rfile.read(size)
        self.rfile.readline()
        return data

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base
        """Nothing."""


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as running:
        running.daemon_threads = True
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def transport(server: ThreadingHTTPServer) -> Iterator[HttpTransport]:
    with HttpTransport(f"http://127.0.0.1:{server.server_port}", timeout_s=10) as made:
        yield made


def test_several_requests_on_one_connection(transport: HttpTransport) -> None:
    for path in ("/a", "/b"):
        reply = transport.send("GET", path, {})
        assert (reply.status, reply.read()) == (200, b'{"path": "%b"}' % path.encode())


def test_a_body_in_pieces_is_sent_chunked_and_read_by_line(transport: HttpTransport) -> None:
    reply = transport.send("POST", "/", {}, (b"x" * 1000 for _ in range(5)))
    assert list(reply.lines()) == [b"5000 bytes\n", b"second line\n"]


def test_the_answer_to_a_body_that_nobody_read_is_heard(transport: HttpTransport) -> None:
    reply = transport.send("POST", "/refused", {}, b"x" * (32 << 20))
    error = problems.decode(reply.status, reply.read(), reply.headers)
    assert isinstance(error, Forbidden)
    assert (error.code, error.hint) == ("not-yours", "Ask somebody.")


def test_a_connection_closed_meanwhile_is_opened_anew(server: ThreadingHTTPServer, transport: HttpTransport) -> None:
    transport.send("GET", "/first", {}).read()
    sock = transport._connection.sock
    assert sock is not None
    sock.shutdown(socket.SHUT_RDWR)
    assert transport.send("GET", "/second", {}).read() == b'{"path": "/second"}'


def test_nobody_listening_is_unavailable() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with HttpTransport(f"http://127.0.0.1:{port}") as transport, pytest.raises(Unavailable) as caught:
        transport.send("GET", "/", {})
    assert caught.value.code == "unreachable"
    assert "fastness up" in caught.value.hint


def test_a_missing_socket_is_unavailable(tmp_path: Path) -> None:
    with HttpTransport(tmp_path / "none.sock") as transport, pytest.raises(Unavailable):
        transport.send("GET", "/", {})


@pytest.mark.parametrize("target", ["http://example.org", "ftp://127.0.0.1", "https://", "gopher://x"])
def test_targets_that_are_refused(target: str) -> None:
    with pytest.raises(Invalid):
        HttpTransport(target)


class _Reply:
    def __init__(self, status: int, body: bytes) -> None:
        self.status, self._body = status, body
        self.headers: dict[str, str] = {}

    def read(self) -> bytes:
        return self._body

    def lines(self) -> Iterator[bytes]:
        yield from self._body.splitlines(keepends=True)


class _Scripted:
    """A carrier that gives one answer; a simulator of the Transport Protocol."""

    def __init__(self, status: int, body: bytes) -> None:
        self.reply = _Reply(status, body)
        self.sent: list[tuple[str, str]] = []

    def send(self, method: str, path: str, headers: object, body: object = None) -> _Reply:
        self.sent.append((method, path))
        return self.reply

    def close(self) -> None:
        """Nothing to give back."""


Call = Callable[[ControlClient], object]

PUSH: Call = lambda c: c.models.push("m", "f", [b""], {}, lambda _: None)  # noqa: E731 - a row of the table

FAULTS: list[tuple[str, int, bytes, Call, str]] = [
    ("not JSON", 200, b"hello", lambda c: c.models.list(), "reply-malformed"),
    ("another shape", 200, b'{"a": 1}', lambda c: c.models.version("m", 1), "reply-malformed"),
    ("an error without a problem document", 502, b"<html>", lambda c: c.models.list(), "http-502"),
    ("a push that stops", 200, b'{"step": {"step": "scan", "state": "begun"}}\n', PUSH, "reply-incomplete"),
    ("a push line of another kind", 200, b'{"wrong": 1}\n', PUSH, "reply-malformed"),
]


@pytest.mark.parametrize(("status", "body", "call", "code"), [f[1:] for f in FAULTS], ids=[f[0] for f in FAULTS])
def test_an_answer_that_is_not_understood_is_an_error(status: int, body: bytes, call: Call, code: str) -> None:
    with pytest.raises(FastnessError) as caught:
        call(ControlClient(_Scripted(status, body), "fst_key"))
    assert caught.value.code == code


def test_names_cannot_leave_their_place_in_the_path() -> None:
    carrier = _Scripted(200, b"[]")
    ControlClient(carrier).models.versions("../principals?x=")
    assert carrier.sent == [("GET", "/api/v1/models/..%2Fprincipals%3Fx%3D")]


def test_a_push_shows_its_steps_and_returns_the_outcome() -> None:
    lines = [
        control.PushLine(step=control.StepView("scan", "done", "pass", 1.5)),
        control.PushLine(outcome=control.AdmissionReply("m", "allow", 3, "sha256:ab")),
    ]
    import msgspec

    body = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
    seen: list[control.StepView] = []
    reply = ControlClient(_Scripted(200, body)).models.push("m", "f.onnx", [b"x"], {"range.X": "0:1"}, seen.append)
    assert (reply.version, [s.step for s in seen]) == (3, ["scan"])


class _Busy:
    """Answers 503 a few times, then as told."""

    def __init__(self, times: int) -> None:
        self.times = times
        self.asked = 0

    def send(self, method: str, path: str, headers: object, body: object = None) -> _Reply:
        self.asked += 1
        reply = _Reply(503, problems.encode(Unavailable("model-starting", "not yet")))
        reply.headers = {"retry-after": "0"}
        return reply if self.asked <= self.times else _Reply(404, problems.encode(NotFound("model-unknown", "no")))

    def close(self) -> None:
        """Nothing to give back."""


@pytest.mark.parametrize(("times", "asked", "code"), [(2, 3, "model-unknown"), (9, 3, "model-starting")])
def test_a_call_that_met_a_busy_house_is_made_again_a_few_times(times: int, asked: int, code: str) -> None:
    carrier = _Busy(times)
    with pytest.raises(FastnessError) as caught:
        Client("", "fst_key", transport=carrier).infer("m", {})
    assert (carrier.asked, caught.value.code) == (asked, code)
