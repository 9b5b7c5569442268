"""The suite cannot leave the machine, by whatever function it tries."""

from __future__ import annotations

import asyncio
import socket
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

# TEST-NET-1 and its IPv6 counterpart (RFC 5737, RFC 3849): nobody answers there.
OUTSIDE = "192.0.2.1"
OUTSIDE6 = "2001:db8::1"


def connected(family: socket.AddressFamily, address: str) -> None:
    with socket.socket(family) as sock:
        sock.settimeout(0.1)
        sock.connect((address, 9))


def connected_without_raising(address: str) -> None:
    with socket.socket() as sock:
        sock.settimeout(0.1)
        sock.connect_ex((address, 9))


def sent(address: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"x", (address, 9))


async def opened(host: str) -> None:
    await asyncio.open_connection(host, 9)


@pytest.mark.parametrize(
    "leave",
    [
        pytest.param(lambda: connected(socket.AF_INET, OUTSIDE), id="connect"),
        pytest.param(lambda: connected(socket.AF_INET6, OUTSIDE6), id="connect by IPv6"),
        pytest.param(lambda: connected_without_raising(OUTSIDE), id="connect_ex"),
        pytest.param(lambda: sent(OUTSIDE), id="datagram"),
        pytest.param(lambda: socket.create_connection(("example.org", 9), 0.1), id="create_connection"),
        pytest.param(lambda: socket.getaddrinfo("example.org", 443), id="name lookup"),
        pytest.param(lambda: socket.gethostbyname("example.org"), id="old name lookup"),
        pytest.param(lambda: asyncio.run(opened(OUTSIDE)), id="asyncio"),
        pytest.param(lambda: urllib.request.urlopen("http://example.org/", timeout=0.1), id="urllib"),
    ],
)
def test_leaving_is_refused(leave: Callable[[], object]) -> None:
    with pytest.raises(RuntimeError, match=r"tests (use no network|ask no name server)"):
        leave()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.3.2.1", "localhost"])
def test_the_loopback_stays_open(host: str) -> None:
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection((host, port), 5) as sock:
            assert sock.getpeername()[1] == port


def test_unix_sockets_stay_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket is short
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as sock:
        server.bind("socket")
        server.listen()
        sock.connect("socket")
        assert sock.getpeername() == "socket"
