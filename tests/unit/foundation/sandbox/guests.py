"""Guests for tests: they run inside the sandbox, and do as they are told or as they should not."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

from fastness.foundation.sandbox import Channel, Guest, pack_head


def main(guest: Guest) -> None:
    control = socket.socket(fileno=guest.control)
    channel = Channel(control, guest.frame_bytes)
    while True:
        asked = json.loads(channel.receive())
        act, value = asked["do"], asked.get("with", "")
        if act == "hang":
            time.sleep(3600)
        elif act == "spin":
            while True:
                pass
        elif act == "exit":
            os._exit(int(value))
        elif act == "crash":
            os.kill(
                os.getpid(), signal.SIGSEGV
            )  # the first process of a namespace gets no signal that it did not ask for
            os.abort()
        elif act == "raw":
            control.sendall(bytes.fromhex(value))
        elif act == "trickle":
            for byte in pack_head(16):
                control.sendall(bytes([byte]))
                time.sleep(0.2)
        elif act == "announce":
            control.sendall(pack_head(int(value)))
        elif act == "chatter":
            os.write(2, b"\x1b[31mnoise\n" * 100_000)
            channel.send(b"still here")
        else:
            channel.send(json.dumps(answer(act, value, guest)).encode())


def answer(act: str, value: str, guest: Guest) -> object:
    if act == "echo":
        return value
    if act == "read":
        return attempt(lambda: begin_of(value))
    if act == "list":  # of a folder
        return attempt(lambda: sorted(path.name for path in Path(value).iterdir()))
    if act == "environment":
        return dict(os.environ)
    if act == "files":
        return {name: os.pread(fd, 1 << 16, 0).hex() for name, fd in guest.files.items()}
    if act == "write-file":
        return [attempt(lambda fd=fd: os.pwrite(fd, b"x", 0)) for fd in guest.files.values()]
    if act == "descriptors":
        return sorted(int(path.name) for path in Path("/proc/self/fd").iterdir())
    if act == "kill":
        return attempt(lambda: os.kill(int(value), signal.SIGKILL))
    if act == "connect":
        host, port = value.split()
        return attempt(lambda: socket.create_connection((host, int(port)), 2).close())
    if act == "lock":
        return attempt(guest.lock_down) or guest.self_test()
    if act == "status":
        rows = (line.split(":", 1) for line in Path("/proc/self/status").read_text("ascii").splitlines())
        return {name: text.strip() for name, text in rows}
    raise ValueError(act)


def begin_of(path: str) -> str:
    with Path(path).open("rb") as file:
        return file.read(16).hex()


def attempt(act: Callable[[], object]) -> object:
    try:
        return act()
    except OSError as error:
        return f"errno {error.errno}"
