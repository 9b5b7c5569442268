"""The seccomp program, run here by a small machine of our own, for both architectures on any."""

from __future__ import annotations

import errno
import struct

import pytest

from fastness.foundation.sandbox.guest import lockdown

ALLOW, EPERM, KILL = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x80000000
X86, ARM = (0, 0xC000003E), (1, 0xC00000B7)
FORBIDDEN = {
    "openat": (257, 56),
    "openat2": (437, 437),
    "socket": (41, 198),
    "connect": (42, 203),
    "bind": (49, 200),
    "listen": (50, 201),
    "socketpair": (53, 199),
    "sendmsg": (46, 211),
    "recvmsg": (47, 212),
    "clone": (56, 220),
    "clone3": (435, 435),
    "execve": (59, 221),
    "execveat": (322, 281),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "kill": (62, 129),
    "prctl": (157, 167),
    "setuid": (105, 146),
    "mount": (165, 40),
    "unshare": (272, 97),
    "setns": (308, 268),
    "bpf": (321, 280),
    "io_uring_setup": (425, 425),
    "userfaultfd": (323, 282),
    "perf_event_open": (298, 241),
    "keyctl": (250, 219),
    "memfd_create": (319, 279),
    "pidfd_getfd": (438, 438),
    "dup3": (292, 24),
    "getppid": (110, 173),
}


def verdict(
    architecture: tuple[int, int], number: int, arguments: tuple[int, ...] = (), audit: int | None = None
) -> int:
    """What the program of `architecture` returns for a call. Only the instructions that it uses are known."""
    data = struct.pack("<IIQ6Q", number, architecture[1] if audit is None else audit, 0, *(*arguments, *[0] * 6)[:6])
    program = lockdown.filter_program(*architecture)
    at = accumulator = 0
    while True:
        code, true, false, value = program[at]
        at += 1
        if code == 0x06:
            return value
        if code == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, value)
            continue
        holds = {0x15: accumulator == value, 0x35: accumulator >= value, 0x45: bool(accumulator & value)}[code]
        at += true if holds else false


@pytest.mark.parametrize("architecture", [X86, ARM], ids=["x86-64", "aarch64"])
def test_each_listed_call_is_allowed(architecture: tuple[int, int]) -> None:
    for name, numbers in lockdown.CALLS.items():
        if numbers[architecture[0]] >= 0:
            assert verdict(architecture, numbers[architecture[0]]) == ALLOW, name


@pytest.mark.parametrize("architecture", [X86, ARM], ids=["x86-64", "aarch64"])
@pytest.mark.parametrize("name", FORBIDDEN)
def test_what_could_lead_out_is_refused(architecture: tuple[int, int], name: str) -> None:
    assert verdict(architecture, FORBIDDEN[name][architecture[0]]) == EPERM


@pytest.mark.parametrize(("architecture", "number"), [(X86, 9), (X86, 10), (ARM, 222), (ARM, 226)])
def test_memory_is_mapped_but_never_to_be_executed(architecture: tuple[int, int], number: int) -> None:
    assert verdict(architecture, number, (0, 4096, 3)) == ALLOW
    assert verdict(architecture, number, (0, 4096, 5)) == EPERM
    assert verdict(architecture, number, (0, 4096, 7)) == EPERM


@pytest.mark.parametrize(("architecture", "number"), [(X86, 16), (ARM, 29)])
def test_of_ioctl_only_one_is_allowed(architecture: tuple[int, int], number: int) -> None:
    assert verdict(architecture, number, (3, 0x5421)) == ALLOW
    assert verdict(architecture, number, (3, 0x5412)) == EPERM  # TIOCSTI would type into the parent's terminal


def test_calls_by_another_architecture_end_the_process() -> None:
    assert verdict(X86, 0, audit=0x40000003) == KILL  # 32-bit, where 0 is another call
    assert verdict(ARM, 63, audit=0x40000028) == KILL


@pytest.mark.parametrize("number", [0, 1, 45, 202])
def test_x32_numbers_are_refused(number: int) -> None:
    assert verdict(X86, number | 0x40000000) == EPERM


def test_no_number_is_allowed_twice_or_by_accident() -> None:
    for column, architecture in enumerate((X86, ARM)):
        listed = {numbers[column] for numbers in lockdown.CALLS.values()}
        guarded = {9, 10, 16} if column == 0 else {222, 226, 29}
        allowed = {number for number in range(600) if verdict(architecture, number, (0, 0x5421, 0)) == ALLOW}
        assert allowed == (listed | guarded) - {-1}
