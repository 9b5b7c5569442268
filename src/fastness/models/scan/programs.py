"""What a program looks like: headers whose fields agree with each other, not two bytes at the front.

Weights are as good as random, so that a magic of two bytes stands in every file of some size, and one of four bytes in
every few gigabytes. What is called a program here has at least 52 bits that must fit (see `payloads`).

Misses: programs that are packed, encrypted or encoded, and headerless machine code.

Source: System V ABI, "Object Files" (ELF header); Microsoft PE Format, "COFF File Header" and "Optional Header"; Apple
`mach-o/loader.h` and `fat.h`; JVM specification, 4.1; WebAssembly core specification, 5.5.16; Android, "Dalvik executable
format", header item.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from enum import StrEnum


class Sort(StrEnum):
    """What a program is made for."""

    NATIVE = "native"
    """A processor and an operating system run it as it is."""
    MANAGED = "managed"
    """A virtual machine runs it."""
    SCRIPT = "script"
    """A shell or an interpreter runs it."""
    CARRIER = "carrier"
    """A native program that brings a model along, such as a llamafile."""
    DEVICE = "device"
    """An accelerator runs it, and can reach nothing but its own memory."""


@dataclass(frozen=True, slots=True)
class Program:
    """What stands at some place.

    Attributes:
        kind: for people.
    """

    kind: str
    sort: Sort


LONGEST = 32
"""How many bytes of a header, from its magic on, decide."""

_ELF_MACHINES = {
    0: "", 2: "SPARC", 3: "x86", 8: "MIPS", 20: "PowerPC", 21: "PowerPC64", 22: "S390", 40: "ARM", 42: "SuperH", 50: "IA-64",
    62: "x86-64", 164: "Hexagon", 183: "ARM64", 243: "RISC-V", 247: "BPF", 258: "LoongArch",
}  # fmt: skip
_ELF_DEVICES = {190: "CUDA", 224: "AMD GPU"}
_PE_MACHINES = {
    0x014C: "x86", 0x0200: "IA-64", 0x01C0: "ARM", 0x01C4: "ARM", 0xAA64: "ARM64", 0x8664: "x86-64", 0x0EBC: "EFI",
    0x5032: "RISC-V", 0x5064: "RISC-V", 0x6264: "LoongArch", 0xA641: "ARM64",
}  # fmt: skip
_MACHO_PROCESSORS = {7: "x86", 0x01000007: "x86-64", 12: "ARM", 0x0100000C: "ARM64", 0x0200000C: "ARM64", 18: "PowerPC"}


def program_at(data: bytes, at: int = 0) -> Program | None:
    """The program whose header begins at `at` of `data`, in which `LONGEST` bytes should follow; None if there is none."""
    reader = _BY_MAGIC.get(data[at : at + 4])
    return reader(data[at : at + LONGEST]) if reader is not None else None


def _elf(head: bytes) -> Program | None:
    """16 bytes of identification: class, byte order and version, a known system, and zeros."""
    if len(head) < 16 or head[4] not in {1, 2} or head[5] not in {1, 2} or head[6] != 1 or any(head[9:16]):
        return None
    order = "<" if head[5] == 1 else ">"
    machine = struct.unpack_from(f"{order}H", head, 18)[0] if len(head) >= 20 else 0
    if machine in _ELF_DEVICES:
        return Program(f"ELF code for a {_ELF_DEVICES[machine]} device", Sort.DEVICE)
    named = _ELF_MACHINES.get(machine, "an unknown processor")
    return Program(f"ELF program for {named}" if named else "ELF program", Sort.NATIVE)


def _pe(head: bytes) -> Program | None:
    """Behind the signature: a known machine, some sections, and an optional header that begins as its length says."""
    if len(head) < 26:
        return None
    machine, sections = struct.unpack_from("<HH", head, 4)
    length, _, magic = struct.unpack_from("<HHH", head, 20)
    if machine not in _PE_MACHINES or not 1 <= sections <= 96 or not 0x60 <= length <= 0x400:
        return None
    return Program(f"Windows program for {_PE_MACHINES[machine]}", Sort.NATIVE) if magic in {0x10B, 0x20B} else None


def _macho(head: bytes) -> Program | None:
    order = "<" if head[3] == 0xFE else ">"
    if len(head) < 24:
        return None
    processor, _, sort, commands, size = struct.unpack_from(f"{order}5I", head, 4)
    fits = processor in _MACHO_PROCESSORS and 1 <= sort <= 12 and commands < 1 << 14 and size < 1 << 24
    return Program(f"Mach-O program for {_MACHO_PROCESSORS[processor]}", Sort.NATIVE) if fits else None


def _cafebabe(head: bytes) -> Program | None:
    """A fat Mach-O counts its architectures where a Java class has its version, which is 45 at least."""
    if len(head) < 20:
        return None
    number, first = struct.unpack_from(">II", head, 4)
    if 1 <= number <= 30 and first in _MACHO_PROCESSORS:
        return Program("Mach-O program for several processors", Sort.NATIVE)
    minor, major, constants, tag = struct.unpack_from(">HHHB", head, 4)
    java = 45 <= major <= 80 and minor in {0, 3, 65535} and constants > 1 and 1 <= tag <= 20
    return Program("Java class", Sort.MANAGED) if java else None


def _dex(head: bytes) -> Program | None:
    return Program("Dalvik program", Sort.MANAGED) if re.match(rb"dex\n0\d\d\0", head) else None


def _wasm(head: bytes) -> Program | None:
    fits = head[4:8] == b"\1\0\0\0" and (len(head) == 8 or head[8] <= 13)
    return Program("WebAssembly module", Sort.MANAGED) if fits else None


_BY_MAGIC = {
    b"\x7fELF": _elf,
    b"PE\0\0": _pe,
    b"\xce\xfa\xed\xfe": _macho,
    b"\xcf\xfa\xed\xfe": _macho,
    b"\xfe\xed\xfa\xce": _macho,
    b"\xfe\xed\xfa\xcf": _macho,
    b"\xca\xfe\xba\xbe": _cafebabe,
    b"dex\n": _dex,
    b"\0asm": _wasm,
}
MAGICS = frozenset(_BY_MAGIC)
"""The four bytes with which each begins; of Windows programs the signature behind the DOS part."""

_INTERPRETER = (
    rb"(?:ba|da|z|k|c|tc|fi|a)?sh|env|python[0-9.]*|perl[0-9.]*|ruby|node|php|lua|tclsh|pwsh|osascript|[gm]?awk|busybox"
)
SHEBANG = re.compile(rb"#![ \t]*/(?:[\w.+-]+/){0,12}(" + _INTERPRETER + rb")(?=[\s\0]|\Z)")
"""The first line of a script for an interpreter that is known."""


def windows_program(data: bytes) -> Program | None:
    """The Windows program that begins with `data`: behind the DOS part, at the place which that part names."""
    if data[:2] not in {b"MZ", b"ZM"} or len(data) < 64:
        return None
    at = int.from_bytes(data[60:64], "little")
    return program_at(data, at) if data[at : at + 4] == b"PE\0\0" else None


_PORTABLE = (b"MZqFpD=", b"jartsr=", b"APEDBG=")
_OBJECTS = (b"!<arch>\n", b"!<thin>\n")
_JAVA_OBJECTS = b"\xac\xed\x00\x05"
_SHORTCUT = b"L\0\0\0\x01\x14\x02\0\0\0\0\0\xc0\0\0\0\0\0\0F"
_BYTECODE_VERSIONS = range(3000, 3900)


def file_program(head: bytes) -> Program | None:
    """The program that a file is, by its first bytes."""
    if head.startswith(_PORTABLE):
        return Program("portable program, such as a llamafile", Sort.CARRIER)
    if head.startswith(_OBJECTS):
        return Program("archive of object files", Sort.NATIVE)
    if (
        int.from_bytes(head[:2], "little") in _BYTECODE_VERSIONS
        and head[2:4] == b"\r\n"
        and head[16:17] in {b"\xe3", b"c"}
    ):
        return Program("Python bytecode", Sort.MANAGED)
    if head.startswith(_JAVA_OBJECTS) and head[4:5] and 0x70 <= head[4] <= 0x7E:
        return Program("objects of Java, which loading builds by the classes that it names", Sort.MANAGED)
    if head.startswith(_SHORTCUT):
        return Program("Windows shortcut", Sort.NATIVE)
    return program_at(head) or windows_program(head) or script(head)


def script(data: bytes) -> Program | None:
    """The script that begins with `data`, behind a byte order mark at most."""
    match = SHEBANG.match(data.removeprefix(b"\xef\xbb\xbf"))
    return Program(f"script for {match[1].decode('ascii')}", Sort.SCRIPT) if match else None
