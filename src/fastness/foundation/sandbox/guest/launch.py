"""The last program outside: gives up the parent's rights, then enters the sandbox. It never sees anything untrusted.

Started as `python -I -S launch.py DESCRIPTOR` with a specification (JSON) in that file. In this order:

1. It joins the cgroups whose `cgroup.procs` it was given.
2. Started by root, it makes a mount namespace that holds only the guest's view (a folder that only root may enter, such
   as /root, may lie above the interpreter), and then becomes an unprivileged user for good: bubblewrap's `--uid` renames
   the user inside only, and would leave the kernel seeing root.
3. It becomes bubblewrap, or makes the namespaces itself, through the kernel's own calls.
"""

# This runs at every start, and pathlib costs more to import than all else that it needs.
# ruff: noqa: PTH103, PTH120, PTH123, PTH211

from __future__ import annotations

import ctypes
import errno
import json
import os
import select
import stat
import struct
import sys
from dataclasses import dataclass
from typing import NoReturn

FAILED = 97
_NOBODY = 65534
_NEW_MOUNTS = 0x00020000
_NEW_ALL = _NEW_MOUNTS | 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000
_RDONLY, _NOSUID, _NODEV, _NOEXEC, _REMOUNT, _BIND, _REC, _PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18
_DETACH = 2
_PDEATHSIG, _DUMPABLE, _CAPBSET_DROP, _NO_NEW_PRIVS = 1, 4, 24, 38
_SIGKILL = 9
_MOUNT_SETATTR, _AT_FDCWD, _AT_RECURSIVE = 442, -100, 0x8000
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_DEVICES = ("null", "zero", "full", "random", "urandom")
_STAGE = "/tmp"  # noqa: S108 - only covered by a mount in a namespace of our own

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


@dataclass(frozen=True)
class Specification:
    """What to launch.

    Attributes:
        uid: user and group to become, or 0 to stay who one is.
        parent: process whose death ends everything.
        binds: (source, place) of what is seen, read-only.
        links: (target, place) of symbolic links.
        texts: (content, place) of files written into the view.
        bwrap: path of bubblewrap, or empty.
        cgroups: descriptors of `cgroup.procs`.
    """

    uid: int
    parent: int
    binds: list[tuple[str, str]]
    links: list[tuple[str, str]]
    texts: list[tuple[str, str]]
    environment: dict[str, str]
    command: list[str]
    bwrap: str
    cgroups: list[int]


def main(descriptor: int) -> None:
    """Launch what the file behind `descriptor` asks for; does not return."""
    with open(descriptor, "rb") as file:
        spec = Specification(**json.load(file))
    for cgroup in spec.cgroups:
        os.write(cgroup, b"0")
        os.close(cgroup)
    if spec.uid:
        _stage(spec)
        os.setgroups([])
        os.setresgid(spec.uid, spec.uid, spec.uid)
        os.setresuid(spec.uid, spec.uid, spec.uid)
        _check(libc.prctl(_DUMPABLE, 1, 0, 0, 0), "own /proc/self again")
    _die_with(spec.parent)
    if spec.bwrap:
        os.execve(spec.bwrap, _bubblewrap(spec), {})  # noqa: S606 - no shell is wanted
    _isolate(spec)


def _die_with(parent: int) -> None:
    _check(libc.prctl(_PDEATHSIG, _SIGKILL, 0, 0, 0), "die with parent")
    if os.getppid() != parent:
        raise SystemExit(FAILED)  # it died before we asked to be told


def _stage(spec: Specification) -> None:
    """Make the view with root's rights, for what only root can reach; without the right to mount, do without."""
    if libc.unshare(_NEW_MOUNTS):
        if ctypes.get_errno() == errno.EPERM:
            return
        _check(-1, "unshare")
    binds = [*spec.binds, (spec.bwrap, spec.bwrap)] if spec.bwrap and not _seen(spec.bwrap, spec.binds) else spec.binds
    _assemble(binds, spec.links, [])


def _seen(path: str, binds: list[tuple[str, str]]) -> bool:
    return any(path == place or path.startswith(f"{place}/") for _, place in binds)


def _bubblewrap(spec: Specification) -> list[str]:
    line = [spec.bwrap, "--unshare-user", "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    line += ["--uid", str(_NOBODY), "--gid", str(_NOBODY), "--hostname", "sandbox", "--clearenv"]
    for name, value in spec.environment.items():
        line += ["--setenv", name, value]
    for source, place in spec.binds:
        line += ["--ro-bind", place if spec.uid else source, place]
    for target, place in spec.links:
        line += ["--symlink", target, place]
    for content, place in spec.texts:
        line += ["--ro-bind-data", str(_text(content)), place]
    for name in _DEVICES:
        line += ["--dev-bind", f"/dev/{name}", f"/dev/{name}"]
    return [*line, "--proc", "/proc", "--remount-ro", "/", "--chdir", "/", *spec.command]


def _text(content: str) -> int:
    descriptor = os.memfd_create("text", 0)
    os.write(descriptor, content.encode())
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _isolate(spec: Specification) -> NoReturn:
    """Enter namespaces of one's own; this process stays behind, as the one that waits for the guest."""
    uid, gid = os.getuid(), os.getgid()
    _check(libc.unshare(_NEW_ALL), "unshare")
    for name, value in (("setgroups", "deny"), ("uid_map", f"{_NOBODY} {uid} 1"), ("gid_map", f"{_NOBODY} {gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(value)
    alive, ours = os.pipe()
    guest = os.fork()
    if guest:
        _await(guest, ours)
    os.close(ours)
    _check(libc.prctl(_PDEATHSIG, _SIGKILL, 0, 0, 0), "die with parent")
    if select.select([alive], [], [], 0)[0]:
        os._exit(FAILED)
    os.close(alive)
    _assemble(spec.binds if not spec.uid else [(place, place) for _, place in spec.binds], spec.links, spec.texts)
    _check(libc.sethostname(b"sandbox", 7), "host name")
    _drop_capabilities()
    os.execve(spec.command[0], spec.command, spec.environment)  # noqa: S606 - no shell is wanted


def _await(guest: int, pipe: int) -> NoReturn:
    """End as the guest ends, as bubblewrap does: 128 and the signal, where one killed it."""
    os.closerange(3, pipe)  # among them the guest's end of its channel; the pipe closes as we die
    os.closerange(pipe + 1, 1 << 16)
    _, status = os.waitpid(guest, 0)
    os._exit(128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status))


def _assemble(binds: list[tuple[str, str]], links: list[tuple[str, str]], texts: list[tuple[str, str]]) -> None:
    """Make a root of its own that holds only what is given, read-only, and enter it."""
    _mount(None, "/", None, _REC | _PRIVATE)
    # Opened first: the stage may cover them.
    sources = [(os.open(source, os.O_PATH | os.O_CLOEXEC), place) for source, place in binds]
    devices = [(os.open(f"/dev/{name}", os.O_PATH | os.O_CLOEXEC), f"/dev/{name}") for name in _DEVICES]
    _mount("tmpfs", _STAGE, "tmpfs", _NOSUID | _NODEV, "mode=0755,size=16m")
    # The descriptors name places of the old root, through the old /proc.
    for descriptor, place in [*sources, *devices]:
        where = _place(descriptor, place)
        _mount(f"/proc/self/fd/{descriptor}", where, None, _BIND | _REC)
        os.close(descriptor)
    for _, place in sources:
        _read_only(_STAGE + place)
    for target, place in links:
        os.makedirs(os.path.dirname(_STAGE + place), 0o755, exist_ok=True)
        os.symlink(target, _STAGE + place)
    for content, place in texts:
        os.makedirs(os.path.dirname(_STAGE + place), 0o755, exist_ok=True)
        with open(_STAGE + place, "x") as file:
            file.write(content)
    os.makedirs(_STAGE + _STAGE, 0o755, exist_ok=True)  # where a second view can be made from within this one
    os.makedirs(f"{_STAGE}/proc", 0o755, exist_ok=True)
    _mount("proc", f"{_STAGE}/proc", "proc", _NOSUID | _NODEV | _NOEXEC)
    _enter()


def _place(descriptor: int, place: str) -> str:
    where = _STAGE + place
    if stat.S_ISDIR(os.fstat(descriptor).st_mode):
        os.makedirs(where, 0o755, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(where), 0o755, exist_ok=True)
        os.close(os.open(where, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o444))
    return where


def _enter() -> None:
    os.chdir(_STAGE)
    _check(libc.syscall(_PIVOT_ROOT[os.uname().machine], b".", b"."), "pivot_root")
    _check(libc.umount2(b".", _DETACH), "leave the old root")
    os.chdir("/")
    _mount(None, "/", None, _REMOUNT | _BIND | _RDONLY | _NOSUID | _NODEV)


def _read_only(where: str) -> None:
    """All mounts at and below `where`; flags that a stronger owner has locked stay as they are."""
    attributes = ctypes.create_string_buffer(struct.pack("QQQQ", _RDONLY | _NOSUID | _NODEV, 0, 0, 0))
    result = libc.syscall(_MOUNT_SETATTR, _AT_FDCWD, where.encode(), _AT_RECURSIVE, attributes, 32)
    _check(result, "mount_setattr (Linux 5.12 or newer)")


def _mount(source: str | None, where: str, kind: str | None, flags: int, data: str | None = None) -> None:
    encoded = [text.encode() if text is not None else None for text in (source, where, kind)]
    _check(libc.mount(*encoded, ctypes.c_ulong(flags), data.encode() if data else None), f"mount {source} on {where}")


def _drop_capabilities() -> None:
    for capability in range(64):
        if libc.prctl(_CAPBSET_DROP, capability, 0, 0, 0):
            break
    header = ctypes.create_string_buffer(struct.pack("Ii", 0x20080522, 0))
    _check(libc.capset(header, ctypes.create_string_buffer(24)), "drop capabilities")
    _check(libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")


def _check(result: int, what: str) -> None:
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), what)


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]))
    except OSError as failure:
        sys.stderr.write(f"launch: {failure}\n")
        sys.exit(FAILED)
