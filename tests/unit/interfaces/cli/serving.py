"""A town that serves on its socket and a port, for commands that are typed as people type them."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvicorn

from fastness.interfaces.api import create_api
from fastness.interfaces.cli import main
from tests.unit.interfaces.api.town import Town

Run = Callable[..., tuple[int, str, str]]


@contextlib.contextmanager
def serving(town: Town) -> Iterator[str]:
    """Serve on the home's socket and on a port of this machine; the address of the port."""
    listener = socket.create_server(("127.0.0.1", 0))
    unix = socket.socket(socket.AF_UNIX)
    unix.bind(str(town.house.home.control_socket))
    config = uvicorn.Config(
        create_api(town.house), ws="none", lifespan="off", access_log=False, log_level="critical", proxy_headers=False
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener, unix]})
    thread.start()
    while not server.started:
        time.sleep(0.005)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()
        unix.close()
        town.house.home.control_socket.unlink(missing_ok=True)


def typed(town: Town, capsys: pytest.CaptureFixture[str], who: str) -> Run:
    """What types a line as `who`, and gives its exit status and what was printed."""

    def one(*line: str, who: str = who, home: Path | None = None, form: str = "json") -> tuple[int, str, str]:
        capsys.readouterr()
        status = 0
        try:
            main([*line, "--home", str(home or town.house.home.root), "--as", who, "--format", form])
        except SystemExit as ended:
            status = int(ended.code or 0)
        return (status, *capsys.readouterr())

    return one
