"""Sandboxes for tests, and a start without any isolation, to see whether its absence is noticed."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from fastness.foundation.sandbox import EntryPoint, Limits, Sandbox, SandboxSettings, SealedFile, Worker
from fastness.foundation.sandbox.cgroups import Group
from fastness.foundation.sandbox.worker import Spawned
from tests.needs import ROOT, need_host, need_tool

GUEST = EntryPoint("tests.unit.foundation.sandbox.guests")
BACKENDS = ("bubblewrap", "namespaces")


@cache
def can_isolate() -> bool:
    """Whether the kernel lets this process do it at all; asked without our own code."""
    landlock = ctypes.CDLL(None).syscall(444, None, 0, 1) >= 1
    unshare = shutil.which("unshare")
    if not landlock or unshare is None:
        return False
    return subprocess.run([unshare, "--user", "--net", "--pid", "--fork", "true"], check=False).returncode == 0


@cache
def sandbox(backend: str = "auto") -> Sandbox:
    """One for all tests, so that its layers are proven once."""
    need_host("user namespaces and landlock", present=can_isolate())
    if backend != "namespaces":
        need_tool("bwrap")
    return Sandbox.detect(SandboxSettings(backend=backend))


@contextmanager
def guest(backend: str = "auto", *files: SealedFile, limits: Limits | None = None) -> Iterator[Worker]:
    worker = sandbox(backend).start(GUEST, files, limits or Limits())
    try:
        yield worker
    finally:
        worker.close()


def ask(worker: Worker, act: str, value: str = "", timeout_s: float = 10.0) -> Any:
    return json.loads(worker.call(json.dumps({"do": act, "with": value}).encode(), timeout_s))


def sealed(data: bytes, name: str = "file") -> SealedFile:
    return SealedFile.filled(name, len(data), lambda into: into.__setitem__(slice(None), data))


def start_unprotected(
    entry: EntryPoint,
    files: Sequence[SealedFile],
    limits: Limits,
    listener: socket.socket | None = None,
    extra: tuple[tuple[str, str], ...] = (),
    prelude: str = "",
) -> Worker:
    """As a sandbox starts a guest, but as a plain process of the same user; `extra` is asked for where it lies.

    Args:
        prelude: a line of Python that runs before the guest.
    """
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    fds = [theirs.fileno(), *(file.fileno() for file in files), *([listener.fileno()] if listener else [])]
    arguments = {
        "control": theirs.fileno(),
        "files": {file.name: file.fileno() for file in files},
        "listener": listener.fileno() if listener else -1,
        "frame_bytes": limits.frame_bytes,
        "limits": {},
        "main": entry.main,
    }
    packages = [path for path in sys.path if path.endswith("-packages")]
    program = (
        f"import sys; sys.path[:0] = {[str(ROOT / 'src'), str(ROOT), *packages]!r}\n"
        "from fastness.foundation.sandbox.guest import boot\n"
        "boot.SOURCES, boot.PACKAGES = sys.path[:2]\n"
        f"{prelude}\n"
        "boot.run(sys.argv[1])"
    )
    process = subprocess.Popen(
        [sys.executable, "-I", "-c", program, json.dumps(arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=writing,
        pass_fds=fds,
        env={"ORT_DISABLE_TELEMETRY": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    theirs.close()
    os.close(writing)
    return Worker(Spawned(process, ours, reading, Group((), ()), limits.frame_bytes, None), time.monotonic() + 30)


def gone(pid: int, patience_s: float = 10.0) -> bool:
    """Whether process `pid` ends within the time."""
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.01)
    return False
