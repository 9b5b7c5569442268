"""The control process of `fastness up`: `python -m fastness.interfaces.api.process --home FOLDER`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import sys
from pathlib import Path

import uvicorn

from fastness.app import ControlProcess, Home, Settings, lifeline, load_settings, open_house, write_private
from fastness.core.errors import FastnessError
from fastness.interfaces.api.app import create_api

_log = logging.getLogger(__name__)


def main() -> None:
    """Serve the control plane until the supervisor goes away or asks to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--passphrase-fd", type=int)
    parser.add_argument("--url", default="")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s control %(levelname)s %(message)s")
    home = Home(options.home)
    try:
        settings = load_settings(home, dict(item.split("=", 1) for item in options.set))
        passphrase = None
        if options.passphrase_fd is not None:
            passphrase = os.pread(options.passphrase_fd, 4096, 0).decode()
        asyncio.run(_serve(home, settings, passphrase, options.url))
    except FastnessError as error:
        sys.stderr.write(f"control: {error}\n")
        sys.exit(error.exit)


async def _serve(home: Home, settings: Settings, passphrase: str | None, url: str) -> None:
    with home.locked(), open_house(home, settings, passphrase) as house:
        process = ControlProcess(house)
        house.attach(lambda version: process.system_view(version, url), process.published)
        home.control_socket.unlink(missing_ok=True)
        write_private(home.url, url.encode())
        config = uvicorn.Config(
            create_api(house), uds=str(home.control_socket), lifespan="off", access_log=False, log_level="warning",
            server_header=False, ws="none", interface="asgi3", timeout_graceful_shutdown=5,
        )  # fmt: skip
        server = uvicorn.Server(config)
        watching = asyncio.create_task(_watch_lifeline(server))
        async with process.running():
            await server.serve()
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching
        home.url.unlink(missing_ok=True)
        home.control_socket.unlink(missing_ok=True)


async def _watch_lifeline(server: uvicorn.Server) -> None:
    """Stop when standard input ends: the supervisor holds its other end."""
    await lifeline()
    server.should_exit = True


if __name__ == "__main__":
    main()
