"""What archives of every kind have in common: entries with names, links and modes, and what can be wrong with them."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator

from fastness.core.findings import Finding, Rule, Severity
from fastness.core.sources import BytesSource
from fastness.models.scan.facts import Fact, FactKind, found
from fastness.models.scan.rules import MAPS, undecided

PATH = Rule(
    "archive-path", "A name that leads out of the archive's folder", Severity.HIGH,
    "Unpacking writes where the name says: over a start-up file, a key or another model.",
    "Do not unpack it. Ask for an archive of relative names.", {**MAPS, "cwe": "CWE-22"},
)  # fmt: skip
LINK_OUT = Rule(
    "archive-link-outside", "A link that leads out of the archive's folder", Severity.HIGH,
    "What is read or written through the link is a file of the machine that unpacks it.",
    "Do not unpack it. Ask for an archive without links.", {**MAPS, "cwe": "CWE-59"},
)  # fmt: skip
LINK = Rule(
    "archive-link", "A link within the archive", Severity.MEDIUM,
    "Which bytes a loader finds under its name depends on how the archive is unpacked.",
    "Ask for an archive of regular files.", {**MAPS, "cwe": "CWE-59"},
)  # fmt: skip
DEVICE = Rule(
    "archive-device", "A device, pipe or other special file", Severity.HIGH,
    "No model needs one; unpacked by an administrator it gives access to the machine.",
    "Do not unpack it.", {**MAPS, "cwe": "CWE-61"},
)  # fmt: skip
NAME = Rule(
    "archive-name", "A name that programs read differently", Severity.MEDIUM,
    "A zero byte, a backslash or a control character makes one program find another file than the next one.",
    "Ask for an archive whose names are plain.", {**MAPS, "cwe": "CWE-436"},
)  # fmt: skip
TWICE = Rule(
    "archive-duplicate", "Two members of one name", Severity.HIGH,
    "Some programs read the first, others the last. All were scanned.",
    "Save the model again with the library that made it.", {**MAPS, "cwe": "CWE-694"},
)  # fmt: skip
ENCRYPTED = undecided(
    "archive-encrypted", "A member that is encrypted",
    "What stands inside was not seen.", "Decrypt it, and scan what it holds.",
)  # fmt: skip
METHOD = undecided(
    "archive-method", "A member whose compression cannot be opened here",
    "What stands inside was not seen.", "Unpack it, and scan what it holds.",
)  # fmt: skip
BROKEN = undecided(
    "archive-broken-member", "A member whose data is broken",
    "A loader may have run what stands inside before it meets the fault.",
    "Fetch the file again; do not load it as it is.",
)  # fmt: skip
BOMB = Rule(
    "archive-bomb", "A small archive that becomes very large", Severity.MEDIUM,
    "Unpacking it fills the disk or the memory of the machine; that is an attack, or an array of one value.",
    "Find out what it holds before unpacking it.", {**MAPS, "cwe": "CWE-409", "atlas": "AML.T0029"},
)  # fmt: skip
EMPTY = Rule(
    "archive-empty", "An archive without files", Severity.MEDIUM,
    "An empty archive is no model; it may be a failed export.", "Export the model again.", MAPS,
)  # fmt: skip

RULES = (PATH, LINK_OUT, LINK, DEVICE, NAME, TWICE, ENCRYPTED, METHOD, BROKEN, BOMB, EMPTY)
"""Listed by the reader of zip archives, and used by all readers of archives."""

REGULAR, LINKED, FOLDER = 0o100000, 0o120000, 0o040000
_KIND = 0o170000
_CONTROL = re.compile(r"[\x00-\x1f\x7f\u202a-\u202e\u2066-\u2069]")
_DRIVE = re.compile(r"[A-Za-z]:")
_PROGRAMS = ((b"\x7fELF", "ELF"), (b"MZ", "PE"), (b"#!", "script"))


def kind_of(mode: int) -> int:
    """The kind of file that a Unix mode tells; a regular one where it tells none."""
    return mode & _KIND or REGULAR


def leads_out(path: str) -> bool:
    """Whether unpacking a name, by any program, may write outside of the folder."""
    path = path.replace("\\", "/")
    return path.startswith(("/", "~/")) or bool(_DRIVE.match(path)) or ".." in path.split("/")


def judge_name(source: str, offset: int, path: str) -> Iterator[Finding]:
    """What is wrong with the name of an entry."""
    if leads_out(path):
        yield found(PATH, source, offset, f"{shown(path)} leads out of the folder")
    elif "\\" in path or _CONTROL.search(path):
        yield found(NAME, source, offset, f"{shown(path)} is read differently by other programs")


def judge_link(source: str, offset: int, beside: str, target: str, path: str = "") -> Finding:
    """What is wrong with a link.

    Args:
        beside: the path that the target is relative to; empty for the archive itself.
        path: of the link, where that is another.
    """
    led = posixpath.normpath(posixpath.join(posixpath.dirname(beside), target.replace("\\", "/")))
    message = f"{shown(path or beside)} is a link to {shown(target)}"
    return found(LINK_OUT if leads_out(led) else LINK, source, offset, message)


def judge_kind(source: str, offset: int, path: str, mode: int) -> Iterator[Finding]:
    """What is wrong with an entry that is neither a file, nor a folder, nor a link."""
    if kind_of(mode) not in {REGULAR, LINKED, FOLDER}:
        yield found(DEVICE, source, offset, f"{shown(path)} is a special file")


def program(source: str, head: bytes) -> Iterator[Fact]:
    """The fact that an archive begins as a program, as those do that unpack themselves."""
    for magic, name in _PROGRAMS:
        if head.startswith(magic):
            yield Fact(FactKind.EXECUTABLE, source, 0, name)


def shown(text: str, limit: int = 120) -> str:
    """A text from the file, fit for a message."""
    return ascii(text if len(text) <= limit else f"{text[:limit]}…")


def member_name(outer: str, path: str) -> str:
    """The name of a member as a source: fit to be shown, and ending as its path does."""
    plain = ascii(path)[1:-1]
    return f"{outer}!{plain if len(plain) <= 240 else plain[:120] + '...' + plain[-117:]}"


def is_text(data: bytes) -> bool:
    """Whether bytes are text that nothing could be hidden in."""
    try:
        return not _CONTROL.search(re.sub(r"[\t\r\n]", "", data.decode()))
    except UnicodeDecodeError:
        return False


def nothing(name: str) -> BytesSource:
    """A source without bytes."""
    return BytesSource(name, b"")
