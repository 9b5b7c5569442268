"""What the edge must refuse of HTTP itself, each hook of `EdgeProtocol` on uvicorn's inside, and what must go on working.

Request smuggling lives on two parsers that read one message differently (RFC 9112, 11.2): whatever can be read in two ways is
refused with 400 and the connection ends."""

from __future__ import annotations

import json
import re
import socket
import ssl
import time
from collections.abc import Iterator

import pytest

from fastness.gateway import GatewaySettings
from tests.unit.gateway.house import House, Served, json_body, read_reply, serving

SETTINGS = GatewaySettings(
    header_deadline_s=0.5,
    body_deadline_s=2.0,
    keep_alive_s=0.4,
    linger_s=0.5,
    max_connections=8,
    max_inflight_bytes=20_000,
    max_body_bytes=20_000,
    max_json_bytes=20_000,
)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(House(tmp_path_factory.mktemp("house"), SETTINGS), tls=False) as served:
        yield served


@pytest.fixture(autouse=True)
def _whole(served: Served) -> Iterator[None]:
    yield
    served.serves()


POST = b"POST /v2/models/digits/infer HTTP/1.1\r\nhost: g\r\ncontent-type: application/json\r\n"
GET = b"GET /v2 HTTP/1.1\r\nhost: g\r\n"
MALFORMED = {
    "both lengths": POST + b"content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "both lengths, the other way round": POST + b"transfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n0\r\n\r\n",
    "two lengths": POST + b"content-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
    "a list of lengths": POST + b"content-length: 3, 3\r\n\r\nabc",
    "a negative length": POST + b"content-length: -3\r\n\r\nabc",
    "a signed length": POST + b"content-length: +3\r\n\r\nabc",
    "a hexadecimal length": POST + b"content-length: 0x3\r\n\r\nabc",
    "a length beyond 64 bits": POST + b"content-length: 99999999999999999999\r\n\r\nabc",
    "bare line feeds": b"GET /v2 HTTP/1.1\nhost: g\n\n",
    "a bare line feed between headers": b"GET /v2 HTTP/1.1\r\nhost: g\nx: y\r\n\r\n",
    "a bare carriage return": b"GET /v2 HTTP/1.1\r\nhost: g\rx: y\r\n\r\n",
    "a folded header": b"GET /v2 HTTP/1.1\r\nhost: g\r\nx: a\r\n b\r\n\r\n",
    "a space before the colon": b"GET /v2 HTTP/1.1\r\nhost : g\r\n\r\n",
    "a header without a name": b"GET /v2 HTTP/1.1\r\nhost: g\r\n: x\r\n\r\n",
    "a NUL in a header": b"GET /v2 HTTP/1.1\r\nhost: g\r\nx: a\x00b\r\n\r\n",
    "an unknown coding": POST + b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked and then another": POST + b"transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "the coding twice": POST + b"transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n",
    "an absolute target": b"GET http://elsewhere/v2 HTTP/1.1\r\nhost: g\r\n\r\n",
    "a target without a slash": b"GET v2 HTTP/1.1\r\nhost: g\r\n\r\n",
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "an old version": b"GET /v2\r\n\r\n",
    "a version to come": b"GET /v2 HTTP/3.7\r\nhost: g\r\n\r\n",
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "an unknown method": b"STEAL /v2 HTTP/1.1\r\nhost: g\r\n\r\n",
    "bytes that are no ASCII": b"GET /v2/\xff\xfe HTTP/1.1\r\nhost: g\r\n\r\n",
    "an asterisk": b"OPTIONS * HTTP/1.1\r\nhost: g\r\n\r\n",
}


@pytest.mark.parametrize("case", MALFORMED)
def test_what_can_be_read_in_two_ways_is_refused(served: Served, case: str) -> None:
    with served.connect() as sock:
        sock.sendall(MALFORMED[case])
        reply = read_reply(sock)
        assert (reply.status, reply.code) == (400, "http-malformed"), reply.body
        assert reply.headers["connection"] == "close"
        # The connection ends: nothing smuggled behind it is read.
        sock.settimeout(5)
        try:
            sock.sendall(GET + b"\r\n")
            assert sock.recv(100) == b""
        except OSError:
            pass
    event = served.house.event(reply.request_id)
    assert event.kind == "request.refused"
    assert event.details["status"] == 400
    assert event.principal == ""


BROKEN_BODIES = {
    "a chunk size in hexadecimal notation": b"0x1\r\nx\r\n0\r\n\r\n",
    "a chunk size that is none": b"zz\r\nx\r\n0\r\n\r\n",
    "a negative chunk size": b"-1\r\nx\r\n0\r\n\r\n",
    "a chunk longer than it says": b"1\r\nxyz\r\n0\r\n\r\n",
    "a chunk that ends in a bare line feed": b"1\nx\r\n0\r\n\r\n",
    "a chunk size beyond 64 bits": b"fffffffffffffffff\r\nx\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("case", BROKEN_BODIES)
def test_a_body_that_is_none_is_refused_as_the_callers(served: Served, case: str) -> None:
    head = POST + f"authorization: Bearer {served.house.keys['caller']}\r\ntransfer-encoding: chunked\r\n\r\n".encode()
    reply = served.raw(head + BROKEN_BODIES[case])
    assert (reply.status, reply.code) == (400, "http-malformed"), reply.body
    assert reply.headers["connection"] == "close"
    assert served.house.event(reply.request_id).reason == "http-malformed"


@pytest.mark.parametrize(
    ("case", "data", "code"),
    [
        ("no host", b"GET /v2 HTTP/1.1\r\n\r\n", "host-missing"),
        ("no host, HTTP/1.0", b"GET /v2 HTTP/1.0\r\n\r\n", "host-missing"),
        ("an empty host", b"GET /v2 HTTP/1.1\r\nhost:\r\n\r\n", "host-missing"),
        ("two hosts", b"GET /v2 HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", "header-duplicate"),
        ("the same host twice", b"GET /v2 HTTP/1.1\r\nhost: a\r\nHost: a\r\n\r\n", "header-duplicate"),
        ("two keys", GET + b"authorization: a\r\nauthorization: b\r\n\r\n", "header-duplicate"),
        ("a body where none belongs", GET + b"content-length: 3\r\n\r\nabc", "body-unexpected"),
        ("chunks where none belong", GET + b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n", "body-unexpected"),
        ("an upgrade", GET + b"connection: upgrade\r\nupgrade: websocket\r\n\r\n", "upgrade-unsupported"),
        ("a tunnel", b"CONNECT other:443 HTTP/1.1\r\nhost: other\r\n\r\n", "upgrade-unsupported"),
    ],
)
def test_what_the_parser_lets_through_and_we_do_not(served: Served, case: str, data: bytes, code: str) -> None:
    reply = served.raw(data)
    assert reply.code == code
    assert reply.status == 400
    assert served.house.event(reply.request_id).reason == code


def test_headers_are_bounded_in_bytes_and_number(served: Served) -> None:
    for data in (
        GET + b"x: " + b"a" * 20_000 + b"\r\n\r\n",
        GET + b"x: " + b"a" * 400_000,  # and never ends
        GET + b"x: y\r\n" * 101 + b"\r\n",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nhost: g\r\n\r\n",
    ):
        reply = served.raw(data)
        assert (reply.status, reply.code) == (431, "headers-too-large")
        assert served.house.event(reply.request_id).reason == "headers-too-large"
    assert served.raw(GET + b"x: y\r\n" * 99 + b"\r\n").status == 200


def test_trailers_change_nothing_and_are_bounded(served: Served) -> None:
    head = POST + b"transfer-encoding: chunked\r\n\r\n"
    body = json_body()
    chunk = b"%x\r\n%b\r\n0\r\n" % (len(body), body)
    trailer = f"authorization: Bearer {served.house.keys['caller']}\r\n\r\n".encode()
    assert served.raw(head + chunk + trailer).code == "key-missing"
    keyed = POST + f"authorization: Bearer {served.house.keys['caller']}\r\ntransfer-encoding: chunked\r\n\r\n".encode()
    assert served.raw(keyed + chunk + b"host: other\r\nx: y\r\n\r\n").status == 200
    assert served.raw(keyed + chunk + b"x: y\r\n" * 200 + b"\r\n").status in {400, 431}


def test_chunks_are_read_as_one_body(served: Served) -> None:
    head = POST + f"authorization: Bearer {served.house.keys['caller']}\r\ntransfer-encoding: chunked\r\n\r\n".encode()
    body = json_body()
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
    assert served.raw(head + chunks + b"0\r\n\r\n").status == 200


def test_a_caller_may_wait_for_100_continue_and_is_refused_before_sending(served: Served) -> None:
    expects = b"expect: 100-continue\r\ncontent-length: %d\r\n" % len(json_body())
    with served.connect() as sock:
        sock.sendall(POST + expects + b"\r\n")
        assert b"401" in sock.recv(4096)
    with served.connect() as sock:
        key = f"authorization: Bearer {served.house.keys['caller']}\r\n\r\n".encode()
        sock.sendall(POST + expects + key)
        assert sock.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(json_body())
        assert read_reply(sock).status == 200


def test_connections_are_kept_and_requests_pipelined_in_order(served: Served) -> None:
    bad = b"GET /nowhere HTTP/1.1\r\nhost: g\r\n\r\n"
    with served.connect() as sock:
        sock.sendall((GET + b"\r\n" + bad) * 3)
        data = b""
        while piece := sock.recv(65536):  # ends when the idle connection is closed
            data += piece
    statuses = re.findall(rb"HTTP/1\.1 (\d+) ", data)
    assert statuses == [b"200", b"404"] * 3


def test_garbage_behind_a_request_does_not_disturb_its_reply(served: Served) -> None:
    served.house.predictor.delay_s = 0.1
    head = POST + f"authorization: Bearer {served.house.keys['caller']}\r\n".encode()
    try:
        with served.connect() as sock:
            body = json_body()
            sock.sendall(head + b"content-length: %d\r\n\r\n" % len(body) + body + b"\x00garbage\r\n\r\n")
            reply = read_reply(sock)
            assert (reply.status, reply.headers["connection"]) == (200, "close")
            assert sock.recv(100) == b""
    finally:
        served.house.predictor.delay_s = 0.0
    assert any(event.reason == "http-malformed" for event in served.house.events()[-2:])


def test_data_after_connection_close_is_not_a_request(served: Served) -> None:
    with served.connect() as sock:
        sock.sendall(GET + b"connection: close\r\n\r\n" + GET + b"\r\n")
        data = b""
        while piece := sock.recv(4096):
            data += piece
    assert data.count(b"HTTP/1.1 ") == 1


def test_requests_on_one_connection_are_bounded(served: Served) -> None:
    before = len(served.house.events())
    with served.connect() as sock:
        sock.sendall((GET + b"\r\n") * 500)
        data = b""
        while piece := sock.recv(65536):
            data += piece
    assert data.count(b"HTTP/1.1 200") < 50
    assert served.house.events()[before].reason == "pipeline-too-long"


def test_an_early_answer_reaches_who_is_still_sending_and_ends_the_connection(served: Served) -> None:
    with served.connect() as sock:
        sock.sendall(POST + b"content-length: 15000\r\n\r\n" + b"x" * 5000)
        time.sleep(0.1)
        sock.sendall(b"x" * 5000)
        reply = read_reply(sock)
        assert (reply.status, reply.code) == (401, "key-missing")
        assert reply.headers["connection"] == "close"
        start = time.monotonic()
        while sock.recv(100):
            pass
        assert time.monotonic() - start < 3


def test_a_caller_who_never_stops_sending_is_cut_off(served: Served) -> None:
    with served.connect() as sock:
        sock.sendall(POST + b"content-length: 15000\r\n\r\n")
        start = time.monotonic()
        with pytest.raises(OSError):
            while time.monotonic() - start < 10:
                sock.sendall(b"x")
                time.sleep(0.02)
        assert time.monotonic() - start < 4


def test_an_idle_connection_is_closed(served: Served) -> None:
    with served.connect() as sock:
        sock.sendall(GET + b"\r\n")
        assert read_reply(sock).status == 200
        start = time.monotonic()
        assert sock.recv(1) == b""
        assert 0.2 < time.monotonic() - start < 4


def test_empty_lines_do_not_keep_a_connection(served: Served) -> None:
    with served.connect() as sock:
        start = time.monotonic()
        try:
            while time.monotonic() - start < 10:
                sock.sendall(b"\r\n")
                time.sleep(0.05)
        except OSError:
            pass
        assert time.monotonic() - start < 4


def test_connections_are_bounded(served: Served) -> None:
    time.sleep(0.1)
    held = [served.connect() for _ in range(SETTINGS.max_connections)]
    try:
        time.sleep(0.1)
        with served.connect() as sock:
            reply = read_reply(sock)
        assert (reply.status, reply.code) == (503, "connections-exceeded")
        assert "retry-after" in reply.headers
        assert served.house.event(reply.request_id).reason == "connections-exceeded"
    finally:
        for sock in held:
            sock.close()
    time.sleep(0.2)


def test_bytes_in_flight_are_bounded_and_given_back(served: Served) -> None:
    key = f"authorization: Bearer {served.house.keys['caller']}\r\n".encode()
    with served.connect() as first:
        first.sendall(POST + key + b"content-length: 15000\r\n\r\n")
        time.sleep(0.1)
        reply = served.raw(POST + key + b"content-length: 15000\r\n\r\n")
        assert (reply.status, reply.code) == (503, "memory-busy")
    time.sleep(0.2)
    body = json_body() + b" " * 14_000
    assert served.infer(body).status == 200


def test_head_is_answered_without_a_body(served: Served) -> None:
    with served.connect() as sock:
        sock.sendall(b"HEAD /v2 HTTP/1.1\r\nhost: g\r\n\r\n" + GET + b"\r\n")
        data = b""
        while piece := sock.recv(65536):
            data += piece
    first, _, rest = data.partition(b"\r\n\r\n")
    assert first.startswith(b"HTTP/1.1 405 ")
    assert rest.startswith(b"HTTP/1.1 200 ")
    assert b"allow: GET" in first


def test_http_1_0_is_answered_and_closed(served: Served) -> None:
    with served.connect() as sock:
        sock.sendall(b"GET /v2 HTTP/1.0\r\nhost: g\r\nconnection: keep-alive\r\n\r\n")
        reply = read_reply(sock)
        assert (reply.status, reply.headers["connection"]) == (200, "close")


def test_only_tls_1_3_is_spoken(tmp_path_factory: pytest.TempPathFactory) -> None:
    with serving(House(tmp_path_factory.mktemp("tls"))) as secured:
        with secured.connect() as sock:
            assert isinstance(sock, ssl.SSLSocket)
            assert sock.version() == "TLSv1.3"
        assert secured.context is not None
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname = False
        old.verify_mode = ssl.CERT_NONE
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        with (
            socket.create_connection(("127.0.0.1", secured.port), 5) as raw,
            pytest.raises(ssl.SSLError),
        ):
            old.wrap_socket(raw)
        secured.serves()


def test_an_early_answer_survives_tls(tmp_path_factory: pytest.TempPathFactory) -> None:
    with serving(House(tmp_path_factory.mktemp("tls"), SETTINGS)) as secured, secured.connect() as sock:
        sock.sendall(POST + b"content-length: 19000\r\n\r\n" + b"x" * 10_000)
        time.sleep(0.1)
        sock.sendall(b"x" * 5000)
        reply = read_reply(sock)
        assert reply.code == "key-missing"


def test_problems_are_json_in_every_refusal(served: Served) -> None:
    reply = served.raw(b"\x00")
    assert set(json.loads(reply.body)) == {"type", "title", "status", "detail", "hint", "request_id"}
