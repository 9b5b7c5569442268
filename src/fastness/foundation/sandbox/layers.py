"""Does each layer hold? Found by attempting the forbidden act from inside, never by reading what the host promises."""

from __future__ import annotations

import errno
import json
import os
import socket
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from fastness.core.errors import FastnessError, Unavailable
from fastness.foundation.sandbox.settings import ALL_LAYERS, EntryPoint, Layer, Limits
from fastness.foundation.sandbox.worker import Worker

_PROBE = EntryPoint("fastness.foundation.sandbox.guest.probe")
_MIB = 1 << 20
_MEMORY, _PIDS = 64 * _MIB, 12
_PRIVATE = "/app/private"
_PATIENCE_S = 20.0
_PRIVATE_FOLDERS = {"boot", "etc", "media", "mnt", "run", "srv", "sys", "var"}  # others may lie above the interpreter
_DENIED = (errno.EPERM, errno.EACCES)

Start = Callable[..., Worker]
"""`Sandbox.start` without the question whether the layers hold; takes further files to bind as `extra`."""

_HINTS = {
    Layer.NETWORK: "Allow unprivileged user namespaces (user.max_user_namespaces, and AppArmor's restriction of them).",
    Layer.REAL_UID: "Give the process the right to change its user (CAP_SETUID, CAP_SETGID), or do not start it as root.",
    Layer.MEMORY: "Delegate the memory controller to this service (systemd: Delegate=yes).",
    Layer.PIDS: "Delegate the pids controller to this service (systemd: Delegate=yes).",
    Layer.LANDLOCK: "Use Linux 5.13 or newer with landlock among the kernel's `lsm=`.",
    Layer.SECCOMP: "Use a kernel with CONFIG_SECCOMP_FILTER, on x86-64 or aarch64.",
}
_ANY_HINT = "Install bubblewrap and allow user namespaces; `sandbox.required` names the layers that must hold."


@dataclass(frozen=True, slots=True)
class LayerProof:
    """What came of one attempt.

    Attributes:
        layer: its name, as in `sandbox.required`.
        how: what was attempted and what was seen.
        hint: what to install or enable where it does not hold.
    """

    layer: str
    holds: bool
    required: bool
    how: str
    hint: str = ""


def prove(start: Start, required: Collection[str], limited: Collection[str], backend: str) -> tuple[LayerProof, ...]:
    """All layers, in the order of `Layer`.

    Args:
        limited: which of memory and pids a cgroup limits.
        backend: for the words.
    """
    found: dict[Layer, tuple[bool, str]] = {}
    for part in (_outer, _inner, _memory, _pids):
        found |= part(start, limited)
    return tuple(
        LayerProof(
            name,
            found[Layer(name)][0],
            name in required,
            f"{found[Layer(name)][1]} [{backend}]",
            "" if found[Layer(name)][0] else _HINTS.get(Layer(name), _ANY_HINT),
        )
        for name in ALL_LAYERS
    )


Found = dict[Layer, tuple[bool, str]]


def _outer(start: Start, _: Collection[str]) -> Found:
    layers = (Layer.NETWORK, Layer.FILES, Layer.WRITE, Layer.PROCESSES, Layer.CAPABILITIES, Layer.REAL_UID)
    with _bait() as (private, port, name):
        try:
            worker = start(_PROBE, (), Limits(), None, ((private, _PRIVATE),))
        except FastnessError as error:
            return dict.fromkeys(layers, (False, error.message))
        try:
            seen = _ask(worker, {"act": "outer", "private": _PRIVATE, "port": str(port), "abstract": name})
        except FastnessError as error:
            return dict.fromkeys(layers, (False, error.message))
        finally:
            uid = worker.uid
            worker.close()
    reached = [what for what in ("tcp", "abstract") if seen[what] == 0]
    outside = [name for name in seen["interfaces"] if name != "lo"]
    foreign = _PRIVATE_FOLDERS & set(seen["root"])
    return {
        Layer.NETWORK: _network(reached, outside),
        Layer.FILES: (
            seen["passwd"] != 0 and not foreign,
            f"/etc/passwd: {_word(seen['passwd'])}; at the root: {' '.join(seen['root'])}",
        ),
        Layer.WRITE: (not seen["writable"], f"new files in: {' '.join(seen['writable']) or 'no folder'}"),
        Layer.PROCESSES: (seen["processes"] <= 3, f"{seen['processes']} processes visible"),
        Layer.CAPABILITIES: (
            not seen["effective"] and seen["mount"] in _DENIED and seen["chroot"] in _DENIED,
            f"capabilities {seen['effective'] or 'none'}; mount: {_word(seen['mount'])}, chroot: {_word(seen['chroot'])}",
        ),
        Layer.REAL_UID: _real_uid(uid, seen["private"]),
    }


def _network(reached: list[str], outside: list[str]) -> tuple[bool, str]:
    how = f"reached: {' '.join(reached) or 'nothing'}; interfaces besides lo: {' '.join(outside) or 'none'}"
    return not reached and not outside, how


def _real_uid(uid: int, private: int) -> tuple[bool, str]:
    if os.geteuid() != 0:
        return uid not in {0, -1}, f"the kernel sees user {uid}; not started by root"
    how = f"the kernel sees user {uid}; a bound file of root's with mode 0600: {_word(private)}"
    return uid not in {0, -1} and private == errno.EACCES, how


def _inner(start: Start, _: Collection[str]) -> Found:
    layers = (Layer.LANDLOCK, Layer.SECCOMP, Layer.OPEN, Layer.SOCKET, Layer.FORK, Layer.EXEC)
    try:
        seen = _run(start, Limits(), {"act": "inner"})
    except FastnessError as error:
        return dict.fromkeys(layers, (False, error.message))
    landlock, seccomp = seen["landlock"], seen["seccomp"]
    held = seen["before"] == 0 and landlock != {} and all(number == errno.EACCES for number in landlock.values())
    found: Found = {
        Layer.LANDLOCK: (held, f"version {seen['abi']}; " + _words(landlock)),
        Layer.SECCOMP: (
            seccomp.get("unlisted") == errno.EPERM,
            f"a call that is not listed: {_word(seccomp['unlisted'])}" if seccomp else seen["error"],
        ),
    }
    for layer in layers[2:]:
        number = seccomp.get(str(layer))
        found[layer] = (number == errno.EPERM, _word(number) if number is not None else seen["error"])
    return found


def _memory(start: Start, limited: Collection[str]) -> Found:
    means = "cgroup" if "memory" in limited else "address space"
    wanted = {"act": "memory", "bytes": str(1024 * _MIB)}
    try:
        seen = _run(start, Limits(memory_bytes=_MEMORY), wanted)
    except _Ended as error:
        if error.reason == "out-of-memory":
            return {Layer.MEMORY: (True, f"killed beyond {_MEMORY // _MIB} MiB ({means})")}
        return {Layer.MEMORY: (False, f"ended by {error.reason or 'an unknown cause'} ({means})")}
    except FastnessError as error:
        return {Layer.MEMORY: (False, error.message)}
    refused = int(seen["refused_at"])
    how = f"refused after {refused // _MIB} MiB" if refused else "1 GiB was given where less was allowed"
    return {Layer.MEMORY: (refused > 0, f"{how} ({means})")}


def _pids(start: Start, limited: Collection[str]) -> Found:
    means = "cgroup" if "pids" in limited else "limit of the user"
    try:
        seen = _run(start, Limits(pids=_PIDS), {"act": "pids", "count": str(_PIDS * 2)})
    except FastnessError as error:
        return {Layer.PIDS: (False, error.message)}
    held = seen["errno"] == errno.EAGAIN and seen["forked"] < _PIDS
    return {Layer.PIDS: (held, f"{seen['forked']} forks, then {_word(seen['errno'])} ({means})")}


class _Ended(Unavailable):
    """The probe was ended from outside."""

    def __init__(self, reason: str) -> None:
        super().__init__("probe-ended", f"the probe ended: {reason}")
        self.reason = reason


def _run(start: Start, limits: Limits, question: dict[str, str]) -> dict[str, Any]:
    worker = start(_PROBE, (), limits)
    try:
        return _ask(worker, question)
    except FastnessError as error:
        raise _Ended(worker.exit_reason()) from error
    finally:
        worker.close()


def _ask(worker: Worker, question: dict[str, str]) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(worker.call(json.dumps(question).encode(), _PATIENCE_S))
    return answer


@contextmanager
def _bait() -> Iterator[tuple[str, int, str]]:
    """A file that only its owner may read, a TCP port and an abstract socket of this host: all out of reach."""
    name = f"fastness-probe-{os.getpid()}-{os.urandom(6).hex()}"  # the kernel's randomness: nobody may guess it
    with (
        tempfile.NamedTemporaryFile() as private,  # mode 0600
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as abstract,
    ):
        private.write(b"secret")
        private.flush()
        abstract.bind(f"\0{name}")
        abstract.listen(1)
        yield private.name, tcp.getsockname()[1], name


def _word(number: int) -> str:
    return errno.errorcode.get(number, f"error {number}") if number else "WAS POSSIBLE"


def _words(numbers: dict[str, int]) -> str:
    return ", ".join(f"{name}: {_word(number)}" for name, number in numbers.items()) or "not available"
