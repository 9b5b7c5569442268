"""A guest that attempts everything it may not do, and says what came of it.

First with the outer layers alone, then under landlock, then under seccomp: each layer has to hold by itself.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

from fastness.foundation.sandbox.guest import lockdown
from fastness.foundation.sandbox.guest.channel import Channel
from fastness.foundation.sandbox.guest.inside import Guest

_PIECE = 8 << 20


def main(guest: Guest) -> None:
    """Answer one question: `outer`, `inner`, `memory` or `pids`."""
    channel = Channel(socket.socket(fileno=guest.control), guest.frame_bytes)
    asked = json.loads(channel.receive())
    acts: dict[str, Callable[[dict[str, str]], object]] = {
        "outer": _outer,
        "inner": _inner,
        "memory": _memory,
        "pids": _pids,
    }
    channel.send(json.dumps(acts[asked["act"]](asked)).encode())


def _outer(asked: dict[str, str]) -> dict[str, object]:
    return {
        "uid": os.getuid(),
        "private": lockdown.attempt(lambda: _read(asked["private"])),
        "passwd": lockdown.attempt(lambda: _read("/etc/passwd")),
        "root": sorted(path.name for path in Path("/").iterdir()),
        "writable": [path for path in ("/", "/app", "/dev", "/tmp", "/usr/lib") if _writable(path)],  # noqa: S108
        "tcp": lockdown.attempt(lambda: socket.create_connection(("127.0.0.1", int(asked["port"])), 1).close()),
        "abstract": lockdown.attempt(lambda: _abstract(asked["abstract"])),
        "interfaces": [name for _, name in socket.if_nameindex()],
        "effective": _effective(),
        "mount": _errno_of("mount", b"none", b"/", b"no-such-system", 0, None),  # the right is asked for first
        "chroot": lockdown.attempt(lambda: os.chroot("/")),
        "processes": sum(path.name.isdigit() for path in Path("/proc").iterdir()),
    }


def _inner(_: dict[str, str]) -> dict[str, object]:
    """What landlock alone holds, then all locks; each act was possible before."""
    library = Path("/usr/lib" if Path("/usr/lib").is_dir() else "/app")
    before = lockdown.attempt(lambda: list(library.iterdir()))
    lockdown.no_new_privileges()
    abi = lockdown.landlock_abi()
    landlock: dict[str, int] = {}
    if abi:
        lockdown.restrict_landlock()
        landlock = {
            "list": lockdown.attempt(lambda: list(library.iterdir())),
            "read": lockdown.attempt(lambda: _read("/proc/self/status")),
        }
    try:
        lockdown.restrict_calls()
    except lockdown.LockError as error:
        return {"before": before, "abi": abi, "landlock": landlock, "seccomp": {}, "error": str(error)}
    return {"before": before, "abi": abi, "landlock": landlock, "seccomp": lockdown.self_test(), "error": ""}


def _memory(asked: dict[str, str]) -> dict[str, object]:
    """Touch memory up to `bytes`; whoever is stopped by the kernel never answers."""
    held = bytearray()
    try:
        for _ in range(0, int(asked["bytes"]), _PIECE):
            held += b"x" * _PIECE
    except MemoryError:
        return {"refused_at": len(held)}
    return {"refused_at": 0}


def _pids(asked: dict[str, str]) -> dict[str, object]:
    """Fork up to `count` children that wait to be ended."""
    children: list[int] = []
    problem = 0
    for _ in range(int(asked["count"])):
        try:
            child = os.fork()
        except OSError as error:
            problem = error.errno or -1
            break
        if child == 0:
            os.read(os.pipe()[0], 1)
        children.append(child)
    for child in children:
        os.kill(child, 9)
        os.waitpid(child, 0)
    return {"forked": len(children), "errno": problem}


def _read(path: str) -> None:
    with Path(path).open("rb") as file:
        file.read(1)


def _writable(folder: str) -> bool:
    try:
        os.close(os.open(f"{folder}/fastness-attempt", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        Path(f"{folder}/fastness-attempt").unlink()
    except OSError:
        return False
    return True


def _abstract(name: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as attempt:
        attempt.connect(f"\0{name}")


def _effective() -> str:
    with Path("/proc/self/status").open(encoding="ascii") as file:
        rows = dict(line.split(":", 1) for line in file if line.startswith(("CapEff", "CapBnd", "CapPrm")))
    return " ".join(value.strip() for value in rows.values() if int(value, 16))


def _errno_of(call: str, *arguments: object) -> int:
    return ctypes.get_errno() or errno.EIO if getattr(lockdown.libc, call)(*arguments) else 0
