"""Attacks on the control plane by who has no key yet: headers without an end, bodies that drip, requests that name two hosts.

Success rate: 0. What is said of bodies does not depend on how fast the machine is: the loop goes by a clock of the test's.
"""

from __future__ import annotations

import asyncio
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from fastness.interfaces.api.connections import BODY_STEP, MOST_HEADER_BYTES, MOST_HEADERS, BoundedProtocol


class Hasty(BoundedProtocol):
    """The same with a deadline that a test can wait for."""

    header_deadline_s = 0.3


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Says that it was asked."""
    more = True
    while more:
        more = (await receive()).get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"asked"})


@pytest.fixture(scope="module")
def door() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="fst-") as folder:
        path = Path(folder) / "s"
        config = uvicorn.Config(
            app, uds=str(path), lifespan="off", access_log=False, log_level="critical", ws="none", http=Hasty
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield path
        server.should_exit = True
        thread.join()


def said(door: Path, *pieces: bytes, pause_s: float = 0.0) -> bytes:
    """What comes back until the connection is closed."""
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(30)
        line.connect(str(door))
        got = b""
        try:
            for piece in pieces:
                line.sendall(piece)
                time.sleep(pause_s)
            while piece := line.recv(65_536):
                got += piece
        except (BrokenPipeError, ConnectionResetError):
            pass
        return got


GOOD = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"


def test_what_is_in_order_is_answered(door: Path) -> None:
    assert said(door, GOOD + b"\r\n").endswith(b"asked")
    room = b"x: " + b"a" * (MOST_HEADER_BYTES // 2) + b"\r\n"
    assert said(door, GOOD, room, b"\r\n").endswith(b"asked")
    body = b"a" * (3 * MOST_HEADER_BYTES)
    posted = b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
    assert said(door, posted + body).endswith(b"asked")
    kept = GOOD.replace(b"close", b"keep-alive") + b"\r\n"
    assert said(door, kept + kept + GOOD + b"\r\n").count(b"asked") == 3


TOO_MUCH = {
    "one header without an end": [GOOD, b"x: ", *[b"a" * 8192] * 64],
    "one header that is too long": [GOOD, b"x: ", b"a" * (MOST_HEADER_BYTES + 1), b"\r\n\r\n"],
    "many headers": [GOOD, *[b"x: 1\r\n"] * MOST_HEADERS, b"\r\n"],
    "many that are long": [GOOD, *[b"x: " + b"a" * 1024 + b"\r\n"] * 80, b"\r\n"],
    "a target without an end": [b"GET /", *[b"a" * 8192] * 64],
    "trailers without an end": [
        b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\n",
        *[b"x: " + b"a" * 1024 + b"\r\n"] * 200,
    ],
    "two hosts": [GOOD, b"host: y\r\n\r\n"],
    "no host": [b"GET / HTTP/1.1\r\n\r\n"],
}


@pytest.mark.parametrize("pieces", TOO_MUCH.values(), ids=TOO_MUCH)
def test_what_is_too_much_is_refused_and_not_kept(door: Path, pieces: list[bytes]) -> None:
    answer = said(door, *pieces)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400 ")


def test_who_sends_a_header_now_and_then_is_cut_off(door: Path) -> None:
    assert said(door, GOOD, *[b"x: 1\r\n"] * 20, pause_s=0.05) == b""


def test_who_says_nothing_is_cut_off(door: Path) -> None:
    assert said(door) == b""


# --- bodies ------------------------------------------------------------------------------------------------------------


class Turned(asyncio.SelectorEventLoop):
    """A loop whose clock the test turns."""

    now = 0.0

    def time(self) -> float:
        return self.now


@dataclass
class Line:
    """One connection to a protocol of the control plane, and whether its application reads."""

    loop: Turned
    ours: socket.socket
    reads: asyncio.Event
    early: bool = False

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        if not self.early:
            await self.reads.wait()
        await app(scope, _nothing if self.early else receive, send)

    def send(self, data: bytes, then_s: float = 0.0) -> None:
        self.ours.sendall(data)
        self.turn(0)
        self.turn(then_s)

    def turn(self, seconds: float) -> None:
        self.loop.now += seconds
        for _ in range(20):
            self.loop.run_until_complete(asyncio.sleep(0))

    def got(self) -> bytes | None:
        """What came back; None while there is nothing, b"" once the connection is closed."""
        try:
            return self.ours.recv(65_536)
        except BlockingIOError:
            return None


async def _nothing() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


@pytest.fixture
def line() -> Iterator[Line]:
    loop = Turned()
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    made = Line(loop, ours, asyncio.Event())
    made.reads.set()
    config = uvicorn.Config(
        made.app, lifespan="off", access_log=False, log_level="critical", ws="none", interface="asgi3"
    )
    config.load()
    protocol = BoundedProtocol(config, ServerState(), {}, loop)
    loop.run_until_complete(loop.connect_accepted_socket(lambda: protocol, theirs))
    yield made
    ours.close()
    made.turn(0)
    loop.close()


LONG = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(("head", "piece"), [(LONG, b"a"), (CHUNKED, b"1\r\na\r\n"), (LONG, b"")])
def test_who_sends_a_body_now_and_then_is_cut_off(line: Line, head: bytes, piece: bytes) -> None:
    line.send(head)
    for _ in range(5):
        line.send(piece, 5.9)
        assert line.got() is None
    line.send(piece, 0.6)
    assert line.got() == b""


def test_a_body_that_is_large_may_take_its_time(line: Line) -> None:
    line.send(CHUNKED)
    for _ in range(50):
        line.send(b"%x\r\n%s\r\n" % (BODY_STEP, b"a" * BODY_STEP), 29.0)
        assert line.got() is None
    line.send(b"0\r\n\r\n")
    assert (line.got() or b"").endswith(b"asked")


def test_nobody_is_late_while_the_house_does_not_read(line: Line) -> None:
    line.reads.clear()
    line.send(LONG + b"a" * 100_000)
    line.turn(31)
    line.turn(31)
    assert line.got() is None
    line.reads.set()
    line.send(b"a" * 100_000, 29)
    assert line.got() is None
    line.turn(31)
    line.turn(31)
    assert line.got() == b""


def test_an_answer_does_not_make_the_rest_of_a_body_welcome(line: Line) -> None:
    line.early = True
    line.send(LONG + b"a")
    assert (line.got() or b"").endswith(b"asked")
    for _ in range(6):
        line.send(b"a", 4.9)
    line.turn(2)
    assert line.got() == b""


def test_a_body_that_has_ended_is_not_waited_for(line: Line) -> None:
    line.reads.clear()
    line.send(CHUNKED + b"1\r\na\r\n0\r\n\r\n")
    line.turn(1000)
    assert line.got() is None
    line.reads.set()
    line.turn(0)
    assert (line.got() or b"").endswith(b"asked")
