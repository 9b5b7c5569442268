"""What a scanning process and its parent say to each other: the task, what the process may ask for, and how it ends."""

from __future__ import annotations

import struct

import msgspec

from fastness.models.scan.records import FindingRecord, ReportRecord, unpacked

PIECE = 4 << 20
"""The most that one answer holds."""
ORDER = struct.Struct("<QQd")
"""What the parent tells the one that forks, with descriptors: 1 if a file is among them, bytes of memory, seconds."""
HELLO, RAN, OVERDUE = b"H", b"R", b"T"
OK, FAILED = b"\0", b"\1"
BROKE, NO_PROCESS, NO_LOCK = 70, 71, 96
"""How a process that scans ends by itself, other than well: it broke, it could not be started, or not lock itself in."""
LONGEST_PATH = 20_000
"""No file of a folder has a longer one."""


class Task(msgspec.Struct, frozen=True, array_like=True):
    """One thing to scan.

    Attributes:
        whole: it is a folder, of which only what stands between the files is asked.
        given: its bytes are behind the descriptor; otherwise they are asked for.
        path: its place in the folder that it belongs to; empty for none.
        folder: the name of that folder.
        readers: those that must read it.
        bounds: the fields of `ScanSettings`.
    """

    name: str
    size: int
    whole: bool = False
    given: bool = False
    path: str = ""
    folder: str = ""
    readers: tuple[str, ...] = ()
    bounds: dict[str, int] = {}


class Read(msgspec.Struct, frozen=True, tag="read", array_like=True):
    """Asks for bytes of a file of the folder; of the file itself where the path is empty."""

    path: str
    offset: int
    length: int


class Has(msgspec.Struct, frozen=True, tag="has", array_like=True):
    """Asks whether the folder holds a file."""

    path: str


class Sizes(msgspec.Struct, frozen=True, tag="sizes", array_like=True):
    """Asks for the files of the folder with their sizes."""


class Noted(msgspec.Struct, frozen=True, tag="noted", array_like=True):
    """Tells what blocks, as soon as it is found: it counts where the scan does not come to its end."""

    finding: FindingRecord


class Done(msgspec.Struct, frozen=True, tag="done", array_like=True):
    """The end of a scan.

    Attributes:
        report: None where no layout knows the folder.
        readers: of a folder, path to the readers that must read it.
        referenced: paths that it refers to.
    """

    report: ReportRecord | None
    readers: dict[str, tuple[str, ...]] = {}
    referenced: tuple[str, ...] = ()


class Stopped(msgspec.Struct, frozen=True, tag="stopped", array_like=True):
    """The file could not be read."""

    message: str


Said = Read | Has | Sizes | Noted | Done | Stopped

_DECODER: msgspec.msgpack.Decoder[Said] = msgspec.msgpack.Decoder(Said)


def read_said(data: bytes | bytearray) -> Said:
    """What a scanning process says.

    Raises:
        Corrupt: nothing that it may say.
    """
    return unpacked(_DECODER, data)
