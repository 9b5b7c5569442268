"""Requests to an application in the same process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from fastness.interfaces.cli.inprocess import InProcessTransport


async def echo(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answers with a line for each piece of the body, as it comes."""
    await send({"type": "http.response.start", "status": 207, "headers": [(b"X-Path", scope["path"].encode())]})
    while True:
        message = await receive()
        if message["body"]:
            await send({"type": "http.response.body", "body": b"%d\nx" % len(message["body"]), "more_body": True})
        if not message["more_body"]:
            break
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def broken(scope: dict[str, Any], receive: Any, send: Any) -> None:
    raise LookupError("a fault")


async def broken_later(scope: dict[str, Any], receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    raise LookupError("a fault")


def test_a_body_flows_in_and_lines_flow_out() -> None:
    with InProcessTransport(echo) as transport:
        reply = transport.send("POST", "/a%20b?x=1", {}, (b"x" * n for n in (1, 22)))
        assert (reply.status, reply.headers) == (207, {"x-path": "/a b"})
        assert list(reply.lines()) == [b"1", b"x22", b"x"]


def test_a_reply_is_read_while_the_body_is_still_being_made() -> None:
    seen: list[str] = []

    def body() -> Iterator[bytes]:
        for n in range(3):
            seen.append(f"made {n}")
            yield b"z"

    with InProcessTransport(echo) as transport:
        seen.extend("line" for _ in transport.send("POST", "/", {}, body()).lines())
    assert seen.count("line") == 4


@pytest.mark.parametrize("app", [broken, broken_later])
def test_a_fault_of_the_application_is_raised_here(app: Any) -> None:
    with InProcessTransport(app) as transport, pytest.raises(LookupError):
        transport.send("GET", "/", {}).read()


def test_no_body() -> None:
    with InProcessTransport(echo) as transport:
        assert transport.send("GET", "/", {}).read() == b""
