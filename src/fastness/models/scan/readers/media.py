"""Pictures and sounds of model cards: walked to their end, so that nothing hides behind or between their parts.

What a picture shows is not looked at. SVG is text that may hold scripts, which only a browser runs; they are told.
Source: PNG (ISO/IEC 15948), JPEG (ITU-T T.81), GIF89a, RIFF (WebP, WAV), Ogg (RFC 3533), FLAC, MPEG audio and ISO media by
their boxes. Cost: the heads of the parts, and one pass over the bytes for programs and pickles in them.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from fastness.core.findings import Rule, Severity
from fastness.core.sources import RandomAccess
from fastness.models.scan.budget import Budget
from fastness.models.scan.cursor import Cursor, Truncated
from fastness.models.scan.facts import Look, Told, found, span
from fastness.models.scan.payloads import search_payloads
from fastness.models.scan.pictures import NoPicture, bmp_end, icon_end, tiff_gap
from fastness.models.scan.rules import MAPS, undecided
from fastness.models.scan.texts import NotText, tell_text, whole

TRAILING = undecided(
    "media-trailing-bytes", "Bytes behind a picture or sound",
    "Another program may read what this one did not: archives and pickles are appended to pictures.",
    "Save the picture again, and remove what was appended.",
)  # fmt: skip
BROKEN = Rule(
    "media-broken", "A picture or sound that is cut off or broken", Severity.LOW,
    "Programs that show it may stumble over it.", "Fetch the file again.", MAPS,
)  # fmt: skip
SCRIPT = Rule(
    "media-script", "A picture or document that holds a script", Severity.MEDIUM,
    "A browser or viewer that opens it by itself runs the script.",
    "Save the picture without scripts, or as PNG.", {**MAPS, "cwe": "CWE-79"},
)  # fmt: skip

RULES: tuple[Rule, ...] = (TRAILING, BROKEN, SCRIPT)

_SCRIPTED = re.compile(
    r"<script|\son\w+\s*=|javascript:|<foreignObject|<!ENTITY|xlink:href\s*=\s*[\"']\s*(?:file|data:text)",
    re.IGNORECASE,
)
_ACTIONS = re.compile(rb"/(?:JavaScript|JS|Launch|EmbeddedFile|RichMedia)\b")
_ISO = (b"ftyp", b"styp")
_PADDING = 4096
"""So many zeros and blanks may stand behind the end."""
_RIFF_KINDS = (b"WEBP", b"WAVE", b"AVI ")


@dataclass(frozen=True)
class MediaReader:
    """Reads pictures and sounds."""

    name: ClassVar[str] = "media"
    suffixes: ClassVar[tuple[str, ...]] = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".svg", ".wav", ".flac",
                                           ".ogg", ".mp3", ".mp4", ".webm", ".pdf", ".bmp", ".dib", ".ico", ".cur",
                                           ".tif", ".tiff")  # fmt: skip

    def claims(self, look: Look) -> bool:
        """By the magic; SVG by its name, and so are streams whose magic is short or whose frames are not walked."""
        kind = _kind(look.head)
        if kind in _NAMED:
            return look.named(*_NAMED[kind])
        return bool(kind) or look.named(".svg")

    def read(self, source: RandomAccess, budget: Budget) -> Iterator[Told]:
        """How far the picture or sound reaches.

        Raises:
            TooLarge: it has more parts than the budget allows.
        """
        kind = _kind(source.read_at(0, 16)) or "svg"
        if kind == "svg":
            yield from _svg(source, budget)
            return
        yield from search_payloads(source, 1, source.size, budget)  # no part of a picture is looked into otherwise
        if kind == "pdf":
            yield from _pdf(source)
            return
        try:
            end = _ENDS[kind](source, budget)
        except NoPicture as wrong:
            yield found(TRAILING, source.name, 0, f"{wrong}")
            return
        except Truncated as cut:
            yield found(BROKEN, source.name, cut.at, f"the {kind} ends within a part")
            end = source.size
        except _Strange as strange:
            yield found(TRAILING, source.name, strange.at, f"no {kind} from here on")
            yield span(source.name, 0, strange.at)
            return
        yield from _behind(kind, source, end)


def _behind(kind: str, source: RandomAccess, end: int) -> Iterator[Told]:
    """What stands behind the end: a little padding, or what is not the picture's."""
    left = source.size - end
    if left < 0:
        yield found(BROKEN, source.name, source.size, f"the {kind} ends within a part")
    elif left > _PADDING or source.read_at(end, left).strip(b"\0\r\n "):
        yield found(TRAILING, source.name, end, f"{left} bytes follow the {kind}")
        yield span(source.name, 0, end)
        return
    yield span(source.name, 0, source.size)


class _Strange(Exception):
    """What stands here does not belong to the format."""

    def __init__(self, at: int) -> None:
        super().__init__(at)
        self.at = at


_NAMED = {
    "mp3": (".mp3",),
    "flac": (".flac",),
    "bmp": (".bmp", ".dib"),
    "ico": (".ico", ".cur"),
    "tiff": (".tif", ".tiff"),
}
_MAGICS = (
    (b"BM", "bmp"), (b"\0\0\1\0", "ico"), (b"\0\0\2\0", "ico"), (b"II*\0", "tiff"), (b"MM\0*", "tiff"),
    (b"\x89PNG\r\n\x1a\n", "png"), (b"\xff\xd8\xff", "jpeg"), (b"GIF87a", "gif"), (b"GIF89a", "gif"), (b"%PDF-", "pdf"),
    (b"fLaC", "flac"), (b"OggS", "ogg"), (b"ID3", "mp3"), (b"\xff\xfb", "mp3"), (b"\xff\xf3", "mp3"), (b"\xff\xf2", "mp3"),
)  # fmt: skip


def _kind(head: bytes) -> str:
    for magic, kind in _MAGICS:
        if head.startswith(magic):
            return kind
    if head.startswith(b"RIFF") and head[8:12] in _RIFF_KINDS:
        return "riff"
    return "iso" if head[4:8] in _ISO else ""


def _svg(source: RandomAccess, budget: Budget) -> Iterator[Told]:
    budget.require("header_bytes", source.size)
    try:
        yield from tell_text(source)
        text = whole(source)
    except NotText:
        return
    if "<svg" not in text[:4096]:
        return
    if match := _SCRIPTED.search(text):
        yield found(SCRIPT, source.name, 0, f"it holds {match[0][:40]!a}")
    yield span(source.name, 0, source.size)


def _pdf(source: RandomAccess) -> Iterator[Told]:
    """Papers that lie beside a model; what is compressed within is not opened."""
    kept = b""
    for offset in range(0, source.size, 1 << 20):
        piece = kept + source.read_at(offset, 1 << 20)
        if match := _ACTIONS.search(piece):
            yield found(SCRIPT, source.name, 0, f"it holds {match[0].decode()}")
            break
        kept = piece[-16:]
    end = source.read_at(max(0, source.size - 2048), 2048)
    behind = len(end) - end.rfind(b"%%EOF") - 5
    if b"%%EOF" not in end or end[len(end) - behind :].strip(b"\0\r\n "):
        yield found(TRAILING, source.name, source.size - behind, "bytes follow the document, or its end is missing")
        return
    yield span(source.name, 0, source.size)


def _png(cursor: Cursor, budget: Budget) -> int:
    cursor.skip(8)
    while True:
        budget.spend("fields")
        length, name = struct.unpack(">I4s", cursor.take(8))
        if not name.isalpha():
            raise _Strange(cursor.position - 8)
        cursor.skip(length + 4)
        if name == b"IEND":
            return cursor.position


def _jpeg(cursor: Cursor, budget: Budget) -> int:
    cursor.skip(2)
    while True:
        budget.spend("fields")
        while cursor.peek(2) == b"\xff\xff":
            cursor.skip(1)
        mark, marker = cursor.take(2)
        if mark != 0xFF:
            raise _Strange(cursor.position - 2)
        if marker == 0xD9:
            return cursor.position
        if marker == 1 or 0xD0 <= marker <= 0xD8:
            continue
        cursor.skip(struct.unpack(">H", cursor.take(2))[0] - 2)
        if marker == 0xDA:
            _entropy_coded(cursor)


def _entropy_coded(cursor: Cursor) -> None:
    """Step over picture data up to the next marker, which is left in place."""
    while True:
        window = cursor.peek(1 << 16)
        if len(window) < 2:
            raise Truncated(cursor.position)
        match = re.search(rb"\xff[^\x00\xd0-\xd7\xff]", window)
        if match:
            cursor.skip(match.start())
            return
        cursor.skip(len(window) - 1)


def _gif(cursor: Cursor, budget: Budget) -> int:
    cursor.skip(10)
    flags = cursor.take(3)[0]
    cursor.skip(3 << (flags & 7) + 1 if flags & 0x80 else 0)
    while True:
        budget.spend("fields")
        kind = cursor.take(1)
        if kind == b";":
            return cursor.position
        if kind == b"!":
            cursor.skip(1)
        elif kind == b",":
            flags = cursor.take(9)[8]
            cursor.skip((3 << (flags & 7) + 1 if flags & 0x80 else 0) + 1)
        else:
            raise _Strange(cursor.position - 1)
        while length := cursor.take(1)[0]:
            cursor.skip(length)


def _riff(cursor: Cursor, budget: Budget) -> int:
    del budget
    length = struct.unpack("<4sI", cursor.take(8))[1]
    cursor.skip(length + length % 2 if cursor.position + length + length % 2 <= cursor.end else length)
    return cursor.position


def _ogg(cursor: Cursor, budget: Budget) -> int:
    while cursor.position < cursor.end:
        budget.spend("fields")
        head = cursor.take(27)
        if not head.startswith(b"OggS\0"):
            raise _Strange(cursor.position - 27)
        cursor.skip(sum(cursor.take(head[26])))
    return cursor.position


def _all(cursor: Cursor, budget: Budget) -> int:
    """Streams of frames: what does not begin like one of theirs at the end is not looked for."""
    del budget
    return cursor.end


def _iso(cursor: Cursor, budget: Budget) -> int:
    while cursor.position < cursor.end:
        budget.spend("fields")
        start = cursor.position
        length, name = struct.unpack(">I4s", cursor.take(8))
        if not re.fullmatch(rb"[a-zA-Z0-9 \xa9-]{4}", name):
            raise _Strange(start)
        if length == 1:
            length = struct.unpack(">Q", cursor.take(8))[0]
        cursor.skip((cursor.end if length == 0 else start + max(length, 8)) - cursor.position)
    return cursor.position


def _walked(walk: Callable[[Cursor, Budget], int]) -> Callable[[RandomAccess, Budget], int]:
    return lambda source, budget: walk(Cursor(source), budget)


_ENDS: dict[str, Callable[[RandomAccess, Budget], int]] = {
    "bmp": lambda source, _: bmp_end(source),
    "ico": lambda source, _: icon_end(source),
    "tiff": tiff_gap,
    "png": _walked(_png),
    "jpeg": _walked(_jpeg),
    "gif": _walked(_gif),
    "riff": _walked(_riff),
    "flac": _walked(_all),
    "ogg": _walked(_ogg),
    "mp3": _walked(_all),
    "iso": _walked(_iso),
}
"""Where each kind ends."""

READER = MediaReader
