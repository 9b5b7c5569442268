"""Starts guests so that they can do nothing but compute and answer.

From exec on: all namespaces, no network, a read-only view of little more than the C library and the interpreter, no
capabilities, an unprivileged user in the kernel's eyes (see `guest/launch.py`), limits by cgroup and rlimit, death with
the parent. From inside, before untrusted bytes are looked at: landlock and seccomp (see `guest/lockdown.py`).

What it does not hold: the processor's side channels, and bugs of the kernel that the allowed calls reach. A guest costs
two or three processes (the guest, and what waits for it).
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fastness.core.clock import Entropy, system_entropy
from fastness.core.errors import Unavailable
from fastness.foundation.sandbox.cgroups import Cgroups, Group
from fastness.foundation.sandbox.guest import launch
from fastness.foundation.sandbox.layers import LayerProof, prove
from fastness.foundation.sandbox.sealed import SealedFile
from fastness.foundation.sandbox.settings import EntryPoint, Limits, SandboxSettings
from fastness.foundation.sandbox.view import View, view_of
from fastness.foundation.sandbox.worker import Spawned, Worker

_ENVIRONMENT = {
    "HOME": "/",
    "LANG": "C.UTF-8",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "ORT_DISABLE_TELEMETRY": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONHASHSEED": "0",
}
_UIDS = 1 << 16
_OVERFLOW_UID = 65534
_ADDRESS_SPACE_EXTRA = 384 << 20  # the interpreter's and the libraries' own; only where no cgroup counts real memory


class Sandbox:
    """Where guests are started. One for a process; it proves its layers before the first guest.

    Use `Sandbox.detect`.
    """

    def __init__(self, settings: SandboxSettings, bwrap: str, cgroups: Cgroups, entropy: Entropy) -> None:
        self.settings = settings
        self.backend = "bubblewrap" if bwrap else "namespaces"
        self._bwrap = bwrap
        self._cgroups = cgroups
        self._entropy = entropy
        self._proofs: tuple[LayerProof, ...] = ()
        self._lock = threading.Lock()
        # Dying with the parent means with the thread that forked: this one lives as long as its guests hold it.
        self._spawner = ThreadPoolExecutor(1, thread_name_prefix="sandbox")

    @classmethod
    def detect(cls, settings: SandboxSettings, entropy: Entropy = system_entropy) -> Sandbox:
        """What this host offers; starts nothing yet.

        Raises:
            Unavailable: the settings ask for bubblewrap and it is not there.
        """
        bwrap = "" if settings.backend == "namespaces" else shutil.which("bwrap") or ""
        if settings.backend == "bubblewrap" and not bwrap:
            raise Unavailable(
                "sandbox-backend-missing", "bubblewrap is not installed", "Install bubblewrap (the program bwrap)."
            )
        return cls(settings, str(Path(bwrap).resolve()) if bwrap else "", Cgroups.detect(), entropy)

    def layers(self) -> Sequence[LayerProof]:
        """Each layer with whether it holds, found by attempting the forbidden act; attempted once."""
        with self._lock:
            if not self._proofs:
                limited = frozenset(c for c in ("memory", "pids") if self._cgroups.has(c))
                self._proofs = prove(self._start, self.settings.required, limited, self.backend)
            return self._proofs

    def start(
        self, entry: EntryPoint, files: Sequence[SealedFile], limits: Limits, listener: socket.socket | None = None
    ) -> Worker:
        """Run `entry` with `files` and, if given, a listening socket; both stay the caller's.

        Raises:
            Unavailable: `sandbox-layer-missing` where a required layer does not hold; `sandbox-failed` where the guest
                did not come up.
        """
        missing = [proof for proof in self.layers() if proof.required and not proof.holds]
        if missing:
            raise Unavailable(
                "sandbox-layer-missing",
                "required layers of the sandbox do not hold: " + "; ".join(f"{p.layer}: {p.how}" for p in missing),
                missing[0].hint,
            )
        return self._start(entry, files, limits, listener)

    def _start(
        self,
        entry: EntryPoint,
        files: Sequence[SealedFile],
        limits: Limits,
        listener: socket.socket | None = None,
        extra: tuple[tuple[str, str], ...] = (),
    ) -> Worker:
        view = view_of(entry, extra)
        deadline = time.monotonic() + self.settings.start_timeout_s
        try:
            spawned = self._spawner.submit(self._spawn, entry, view, (files, listener), limits).result()
        except OSError as error:
            raise Unavailable(
                "sandbox-failed", f"the sandbox did not start: {error.strerror}", "See `fastness doctor`."
            ) from error
        return Worker(spawned, deadline)

    def _spawn(
        self,
        entry: EntryPoint,
        view: View,
        given: tuple[Sequence[SealedFile], socket.socket | None],
        limits: Limits,
    ) -> Spawned:
        files, listener = given
        ours, theirs = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)  # a guest that writes without end loses it
        opened = [theirs.fileno(), *(file.fileno() for file in files)]
        if listener is not None:
            opened.append(listener.fileno())
        group = Group((), ())
        procs: list[int] = []
        try:
            group = self._cgroups.make(limits.memory_bytes, limits.pids)
            procs = list(group.procs())
            arguments = json.dumps(
                {
                    "control": theirs.fileno(),
                    "files": {file.name: file.fileno() for file in files},
                    "listener": listener.fileno() if listener is not None else -1,
                    "frame_bytes": limits.frame_bytes,
                    "limits": self._rlimits(limits),
                    "main": entry.main,
                }
            )
            command = [view.interpreter, "-I", "-S", "-B", view.boot, arguments]
            process = self._launch(view, {**_ENVIRONMENT, **dict(entry.environment)}, command, (opened, procs, writing))
        except BaseException:
            ours.close()
            os.close(reading)
            group.remove()
            raise
        finally:
            theirs.close()
            for descriptor in (writing, *procs):
                os.close(descriptor)
        return Spawned(process, ours, reading, group, limits.frame_bytes, self)

    def _launch(
        self, view: View, environment: Mapping[str, str], command: list[str], fds: tuple[list[int], list[int], int]
    ) -> subprocess.Popen[bytes]:
        opened, procs, stderr = fds
        specification = json.dumps(
            {
                "uid": self._uid(),
                "parent": os.getpid(),
                "binds": view.binds,
                "links": view.links,
                "texts": view.texts,
                "environment": environment,
                "command": command,
                "bwrap": self._bwrap,
                "cgroups": procs,
            }
        ).encode()
        with SealedFile.filled("launch", len(specification), lambda into: _fill(into, specification)) as file:
            return subprocess.Popen(
                [view.interpreter, "-I", "-S", "-B", launch.__file__, str(file.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                env={},
                cwd="/",
                pass_fds=(*opened, *procs, file.fileno()),
                start_new_session=True,
            )

    def _uid(self) -> int:
        """A user of its own for each guest, where this process can give itself one; 0 to stay who one is."""
        if os.geteuid() != 0:
            return 0
        chosen = self.settings.uid_first + int.from_bytes(self._entropy(2)) % _UIDS
        return chosen if _mapped(chosen) else _OVERFLOW_UID

    def _rlimits(self, limits: Limits) -> dict[str, int]:
        chosen = {"CORE": 0, "FSIZE": 0, "NOFILE": limits.descriptors, "NPROC": limits.pids, "MEMLOCK": 0}
        if limits.cpu_s:
            chosen["CPU"] = limits.cpu_s
        if not self._cgroups.has("memory"):
            chosen["AS"] = limits.memory_bytes + _ADDRESS_SPACE_EXTRA
        return chosen


def _fill(into: memoryview, data: bytes) -> None:
    into[:] = data


def _mapped(uid: int) -> bool:
    """Whether `uid` exists in this process's user namespace."""
    rows = [line.split() for line in Path("/proc/self/uid_map").read_text("ascii").splitlines()]
    return any(int(first) <= uid < int(first) + int(count) for first, _, count in rows)
