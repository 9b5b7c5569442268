"""Attacks on the control plane by who has no key yet: headers without an end, and requests that name two hosts.

Success rate: 0. Known limit: a body may come slowly; its size is bounded.
"""

from __future__ import annotations

import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from fastness.interfaces.api.connections import MOST_HEADER_BYTES, MOST_HEADERS, BoundedProtocol


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
