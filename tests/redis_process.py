"""A redis-server of one's own, on a Unix socket in a folder of the test; without persistence."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from pathlib import Path

from tests.needs import need_tool


class RedisProcess:
    """A real server; `kill`, `pause` and `start` are what a machine would do to it."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.socket = folder / "redis.sock"
        self._program = need_tool("redis-server")
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    def start(self) -> None:
        self.socket.unlink(missing_ok=True)
        base = ["--port", "0", "--unixsocket", str(self.socket), "--save", "", "--appendonly", "no"]
        options = [*base, "--dir", str(self.folder), "--daemonize", "no", *self._options]
        self._process = subprocess.Popen([self._program, *options], stdout=subprocess.DEVNULL)
        for _ in range(2000):
            if self.talk(b"PING\r\n"):
                return
            time.sleep(0.005)
        raise RuntimeError("redis-server did not start")

    def talk(self, line: bytes) -> bytes:
        """What it answers to an inline command; nothing where it does not answer at all."""
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(5)
                connection.connect(str(self.socket))
                connection.sendall(line)
                return connection.recv(1 << 16)
        except OSError:
            return b""

    def kill(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()

    def pause(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)
