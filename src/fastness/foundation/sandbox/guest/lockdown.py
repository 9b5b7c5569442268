"""The second lock, from inside: no new privileges, landlock with nothing allowed, seccomp with a short allow-list.

Call `lock_down` once everything needed is imported and open, and before the first byte from outside is looked at. Raw
BPF through ctypes: no library has to be found inside a sandbox. x86-64 (x32 numbers are refused) and aarch64.

Source: Linux Documentation/userspace-api/landlock.rst and seccomp_filter.rst; the numbers are those of
arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import socket
import struct
from collections.abc import Callable
from pathlib import Path

_PR_SET_NO_NEW_PRIVS, _PR_SET_DUMPABLE = 38, 4
_LANDLOCK_CREATE, _LANDLOCK_RESTRICT = 444, 446  # the same on both architectures
_SECCOMP_SET_MODE_FILTER, _TSYNC = 1, 1
_X32 = 0x40000000
_FIONBIO = 0x5421
_PROT_EXEC = 4

# name: (x86-64, aarch64); -1 where the architecture has none. The frequent ones first: the list is walked in order.
CALLS: dict[str, tuple[int, int]] = {
    "recvfrom": (45, 207),
    "sendto": (44, 206),
    "epoll_wait": (232, -1),
    "epoll_pwait": (281, 22),
    "futex": (202, 98),
    "read": (0, 63),
    "write": (1, 64),
    "pread64": (17, 67),
    "lseek": (8, 62),
    "munmap": (11, 215),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "brk": (12, 214),
    "accept4": (288, 242),
    "epoll_ctl": (233, 21),
    "close": (3, 57),
    "poll": (7, -1),
    "ppoll": (271, 73),
    "fstat": (5, 80),
    "getsockname": (51, 204),
    "getsockopt": (55, 209),
    "shutdown": (48, 210),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115),
    "nanosleep": (35, 101),
    "sched_yield": (24, 124),
    "sched_getaffinity": (204, 123),
    "getrandom": (318, 278),
    "getpid": (39, 172),
    "gettid": (186, 178),
    "tgkill": (234, 131),
    "getrusage": (98, 165),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sigaltstack": (131, 132),
    "restart_syscall": (219, 128),
    "membarrier": (324, 283),
    "rseq": (334, 293),
    "set_robust_list": (273, 99),
    "exit": (60, 93),
    "exit_group": (231, 94),
}
# name: (numbers, argument, value that it must have, or None: must not have the bits of `_PROT_EXEC`)
_GUARDED: dict[str, tuple[tuple[int, int], int, int | None]] = {
    "mmap": ((9, 222), 2, None),
    "mprotect": ((10, 226), 2, None),
    "ioctl": ((16, 29), 1, _FIONBIO),
}
_ARCHITECTURES = {"x86_64": (0, 0xC000003E, 317), "aarch64": (1, 0xC00000B7, 277)}

_LD, _JEQ, _JGE, _JSET, _RET = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _EPERM, _KILL = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x80000000
_ARGUMENTS_AT = 16
REFUSED = errno.EPERM
"""What every call that is not listed comes back with."""

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


class LockError(Exception):
    """A lock could not be set, or does not hold."""


def lock_down() -> None:
    """Set all locks on this process; there is no way back.

    Raises:
        LockError: one of them cannot be set, or there are other threads, which landlock would leave out.
    """
    if len(list(Path("/proc/self/task").iterdir())) != 1:
        raise LockError("other threads run already; the locks would not hold for them")
    no_new_privileges()
    restrict_landlock()
    restrict_calls()


def no_new_privileges() -> None:
    """No exec can gain rights any more, and no core dump is written of what is in memory.

    Raises:
        LockError: the kernel refuses.
    """
    _done(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    _done(libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0), "dumpable")


def landlock_abi() -> int:
    """The version of landlock that the kernel speaks; 0 where it has none."""
    return max(0, int(libc.syscall(_LANDLOCK_CREATE, None, 0, 1)))


def restrict_landlock() -> None:
    """Allow nothing that landlock can deny: files, TCP, abstract sockets and signals of others.

    Raises:
        LockError: the kernel has no landlock, or refuses.
    """
    abi = landlock_abi()
    if not abi:
        raise LockError("landlock is not available")
    files = (1 << {1: 13, 2: 14, 3: 15, 4: 15}.get(abi, 16)) - 1  # an old kernel refuses bits that it does not know
    attributes = struct.pack("QQQ", files, 3 if abi >= 4 else 0, 3 if abi >= 6 else 0)
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    rules = int(libc.syscall(_LANDLOCK_CREATE, ctypes.create_string_buffer(attributes), size, 0))
    if rules < 0:
        raise LockError(f"landlock: {os.strerror(ctypes.get_errno())}")
    _done(libc.syscall(_LANDLOCK_RESTRICT, rules, 0), "landlock")
    os.close(rules)


def restrict_calls() -> None:
    """Deny with EPERM every system call but the listed ones; for all threads.

    Raises:
        LockError: the architecture has no table, or the kernel refuses.
    """
    machine = platform.machine()
    if machine not in _ARCHITECTURES:
        raise LockError(f"no table of system calls for {machine}")
    column, audit, seccomp = _ARCHITECTURES[machine]
    program = filter_program(column, audit)
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in program))

    class _Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_void_p))

    whole = _Program(len(program), ctypes.addressof(code))
    _done(libc.syscall(seccomp, _SECCOMP_SET_MODE_FILTER, _TSYNC, ctypes.byref(whole)), "seccomp")


def filter_program(column: int, audit: int) -> list[tuple[int, int, int, int]]:
    """The BPF of an architecture: (code, jump if true, jump if false, constant).

    Args:
        column: of `CALLS`.
        audit: the AUDIT_ARCH word; calls by any other architecture kill the process.
    """
    program = [(_LD, 0, 0, 4), (_JEQ, 1, 0, audit), (_RET, 0, 0, _KILL), (_LD, 0, 0, 0)]
    if column == 0:
        program += [(_JGE, 0, 1, _X32), (_RET, 0, 0, _EPERM)]
    for numbers in CALLS.values():
        if numbers[column] >= 0:
            program += [(_JEQ, 0, 1, numbers[column]), (_RET, 0, 0, _ALLOW)]
    for numbers, argument, value in _GUARDED.values():
        test = (_JSET, 1, 0, _PROT_EXEC) if value is None else (_JEQ, 0, 1, value)
        load = (_LD, 0, 0, _ARGUMENTS_AT + 8 * argument)
        program += [(_JEQ, 0, 4, numbers[column]), load, test, (_RET, 0, 0, _ALLOW), (_RET, 0, 0, _EPERM)]
    return [*program, (_RET, 0, 0, _EPERM)]


def self_test() -> dict[str, int]:
    """Attempt what must be impossible now; act to errno, 0 where it was possible."""
    acts: dict[str, Callable[[], object]] = {
        "open": lambda: os.close(os.open("/", os.O_RDONLY)),
        "socket": lambda: socket.socket().close(),
        "fork": _fork,
        "exec": lambda: os.execv("/nothing-of-this-name", ["nothing"]),  # noqa: S606 - it must fail, and has no shell
    }
    return {name: attempt(act) for name, act in acts.items()} | {"unlisted": _unlisted()}


def attempt(act: Callable[[], object]) -> int:
    """The errno with which `act` fails; 0 where it does not."""
    try:
        act()
    except OSError as error:
        return error.errno or -1
    return 0


def _fork() -> None:
    if os.fork() == 0:
        os._exit(0)


def _unlisted() -> int:
    """The errno of getppid, which harms nobody and is not listed: shows that the default denies."""
    number = {"x86_64": 110, "aarch64": 173}[platform.machine()]
    return ctypes.get_errno() if libc.syscall(number) < 0 else 0


def _done(result: int, what: str) -> None:
    if result:
        raise LockError(f"{what}: {os.strerror(ctypes.get_errno())}")
