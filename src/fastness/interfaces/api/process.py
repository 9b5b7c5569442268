"""The control process of `fastness up`: `python -m fastness.interfaces.api.process --home FOLDER`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import socket
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import uvicorn

from fastness.app import ControlProcess, Home, Settings, lifeline, load_settings, open_house, write_private
from fastness.core.errors import FastnessError
from fastness.interfaces.api.app import create_api
from fastness.interfaces.api.headers import AsgiApp
from fastness.interfaces.api.peer import PeerProtocol

_log = logging.getLogger(__name__)
_MOST_AT_ONCE = 1000
"""Connections and requests on their way; further ones get 503."""


def main() -> None:
    """Serve the control plane until the supervisor goes away or asks to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--passphrase-fd", type=int)
    parser.add_argument("--url", default="")
    parser.add_argument("--admin-fd", type=int)
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s control %(levelname)s %(message)s")
    home = Home(options.home)
    try:
        settings = load_settings(home, dict(item.split("=", 1) for item in options.set))
        passphrase = None
        if options.passphrase_fd is not None:
            passphrase = os.pread(options.passphrase_fd, 4096, 0).decode()
        admin = None if options.admin_fd is None else socket.socket(fileno=options.admin_fd)
        if admin is not None:
            settings = replace(settings, server=settings.server.listening(admin.getsockname()[1]))
        asyncio.run(_serve(home, settings, passphrase, options.url, admin))
    except FastnessError as error:
        sys.stderr.write(f"control: {error}\n")
        sys.exit(error.exit)


async def _serve(home: Home, settings: Settings, passphrase: str | None, url: str, admin: socket.socket | None) -> None:
    with home.locked(), open_house(home, settings, passphrase) as house:
        process = ControlProcess(house)
        house.attach(lambda version, tenant: process.system_view(version, url, tenant), process.published)
        home.control_socket.unlink(missing_ok=True)
        write_private(home.url, url.encode())
        api = create_api(house)
        servers = [uvicorn.Server(_config(api, uds=str(home.control_socket)))]
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(process.running())
            serving = [servers[0].serve()]
            if admin is not None:
                config = _config(api)
                config.load()
                config.ssl = await stack.enter_async_context(process.secured())
                servers.append(uvicorn.Server(config))
                serving.append(servers[1].serve(sockets=[admin]))
            watching = asyncio.create_task(_watch_lifeline(servers))
            await asyncio.gather(*serving)
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching
        home.url.unlink(missing_ok=True)
        home.control_socket.unlink(missing_ok=True)


def _config(api: AsgiApp, uds: str | None = None) -> uvicorn.Config:
    return uvicorn.Config(
        api, uds=uds, lifespan="off", access_log=False, log_level="warning", server_header=False, ws="none",
        interface="asgi3", timeout_graceful_shutdown=5, proxy_headers=False, http=PeerProtocol,
        limit_concurrency=_MOST_AT_ONCE,
    )  # fmt: skip


async def _watch_lifeline(servers: Sequence[uvicorn.Server]) -> None:
    """Stop when standard input ends: the supervisor holds its other end."""
    await lifeline()
    for server in servers:
        server.should_exit = True


if __name__ == "__main__":
    main()
