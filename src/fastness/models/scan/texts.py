"""Text in a model, whatever it is written in: its encoding, credentials, files that are hidden in it, invisible characters.

Read in pieces, so that a vocabulary or a table may be of any length. Misses: payloads cut into short pieces, and those
encoded in other ways than base64, base32, base85 and hexadecimal digits, packed with gzip, zlib, bzip2 or xz within.
"""

from __future__ import annotations

import base64
import binascii
import bz2
import codecs
import lzma
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from fastness.core.findings import Finding, Rule, Severity
from fastness.core.sources import BytesSource, RandomAccess
from fastness.models.scan.commands import dangerous_command
from fastness.models.scan.credentials import credential_in
from fastness.models.scan.facts import Fact, FactKind, Member, found
from fastness.models.scan.python_code import is_hard, reach_of
from fastness.models.scan.rules import MAPS

INVISIBLE = Rule(
    "text-invisible", "Text with characters that change how it reads", Severity.LOW,
    "Marks of direction and characters without width make text look like other text than it is.",
    "Remove the characters.", {**MAPS, "cwe": "CWE-1007"},
)  # fmt: skip

ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-32", "latin-1")
for _encoding_name in ENCODINGS:  # what they load is there before a sandbox closes
    codecs.lookup(_encoding_name)

CHUNK = 1 << 20
_OVERLAP = 4096
_SMALL = 4 << 20
"""Invisible characters are looked for in texts up to here; vocabularies hold them all."""
_CONTROLS = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_SELDOM = 50
"""Text has at most one control character in so many; packed scripts have a few."""
_DIRECTIONS = re.compile("[\u202a-\u202e\u2066-\u2069\U000e0001-\U000e007f]")
_TAGS = re.compile("[\U000e0020-\U000e007e]{12,}")
"""A text within the text: flags take six of these at most."""
_MOST_MENTIONS, _DESCRIPTION = 1000, 8192
_DESCRIBED = re.compile(
    r"\"(?:doc|docs|documentation|description|help|help_?text|summary|comments?|notes?|long_?description|error_?message|explanation|abstract)\"\s{0,9}:\s{0,9}\Z",
    re.IGNORECASE,
)
_IS_CODE = re.compile(r"curl|wget|fetch\s*\(|urlopen|requests?\.|http\.client|\|\s*sh\b|\{\{|\{%|\$\{", re.IGNORECASE)
_METADATA = re.compile(
    r"https?://(?:169\.254\.169\.254|metadata\.google\.internal|100\.100\.100\.200|\[fd00:ec2::254\])[^\s\"']{0,80}"
)
_PAYLOAD = re.compile(
    r"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{36,}+={0,6}|(?:\\x[0-9a-fA-F]{2}){12,}+"
    r"|(?<![!-~])(?:[A-Za-z0-9+/]{32,76}={0,2}(?:\\r)?(?:\\n|\s)[ \t]{0,40}){2,}+[A-Za-z0-9+/]{0,76}={0,2}"
)
_DENSE = re.compile(r"(?<![0-9A-Za-z!#$%&()*+;<=>?@^_`{|}~-])[0-9A-Za-z!#$%&()*+;<=>?@^_`{|}~-]{50,}+(?![\\./:,])")
_MOST_DENSE = 64
_MOST_PAYLOADS = 32
_LONGEST_PAYLOAD = 4 << 20


class NotText(ValueError):
    """The bytes are no text; the message says why."""


@dataclass(slots=True)
class Told:
    """What stands in a text."""

    facts: list[Fact | Finding | Member] = field(default_factory=list)
    kinds: set[str] = field(default_factory=set)
    payloads: int = 0

    def look(self, name: str, text: str, offset: int, *, small: bool) -> None:
        """Take in a piece of text."""
        kind = credential_in(text)
        if kind and kind not in self.kinds:
            self.kinds.add(kind)
            self.facts.append(Fact(FactKind.CREDENTIAL, name, offset, kind))
        for number, asked in enumerate(_METADATA.finditer(text)):
            described = number < _MOST_MENTIONS and _is_described(text, asked.start())
            told = Fact(FactKind.URL, name, offset, asked[0], {"runs": "mention" if described else "use"})
            self._once(told, f"{asked[0]} {described}")
            if not described:
                break
        if small and (match := _DIRECTIONS.search(text)):
            self._once(found(INVISIBLE, name, offset, f"the character {match[0]!a}"), "invisible")
        if match := _TAGS.search(text):
            hidden = found(
                INVISIBLE, name, offset, f"{len(match[0])} tag characters in a row, which only programs read"
            )
            self._once(replace(hidden, severity=Severity.MEDIUM), "tags")
        for inner, suffix in hidden_files(text):
            if self.payloads < _MOST_PAYLOADS:
                self.payloads += 1
                self.facts.append(Member(BytesSource(f"{name}!encoded{self.payloads}{suffix}", inner), offset))

    def _once(self, item: Fact | Finding, key: str) -> None:
        if key not in self.kinds:
            self.kinds.add(key)
            self.facts.append(item)


def _is_described(text: str, at: int) -> bool:
    """Whether a place stands in the words of a description: in a text of JSON under such a key, and beside no command."""
    start = text.rfind('"', max(0, at - _DESCRIPTION), at)
    if start < 0 or text[start - 1 : start] == "\\" or start + 1 == at:
        return False
    return _DESCRIBED.search(text[max(0, start - 60) : start]) is not None and not _IS_CODE.search(
        text[start : at + 200]
    )


def pieces(source: RandomAccess) -> Iterator[tuple[int, str]]:
    """The text of a whole file, piece by piece, each with its byte offset.

    UTF-8 with or without a mark, UTF-16 and UTF-32 with one; what is none of these is taken as Latin-1.

    Raises:
        NotText: it holds what no text holds.
    """
    encoding = _encoding(source)
    decoder = codecs.getincrementaldecoder(encoding)()
    for offset in range(0, source.size, CHUNK):
        data = source.read_at(offset, CHUNK)
        try:
            text = decoder.decode(data, final=offset + CHUNK >= source.size)
        except UnicodeDecodeError as error:
            raise NotText(f"not {encoding} at byte {offset + error.start}") from error
        if "\0" in text or (_CONTROLS.search(text) and len(_CONTROLS.findall(text)) * _SELDOM > len(text)):
            raise NotText("characters that no text holds")
        yield offset, text


def _encoding(source: RandomAccess) -> str:
    head = source.read_at(0, 4)
    for mark, encoding in (
        (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"), (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
    ):  # fmt: skip
        if head.startswith(mark):
            return encoding
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for offset in range(0, source.size, CHUNK):
            decoder.decode(source.read_at(offset, CHUNK), final=offset + CHUNK >= source.size)
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8"


def tell_text(source: RandomAccess) -> list[Fact | Finding | Member]:
    """What stands in a file of text.

    Raises:
        NotText: it is none.
    """
    told, kept = Told(), ""
    for offset, text in pieces(source):
        told.look(source.name, kept + text, offset, small=source.size <= _SMALL)
        kept = text[-_OVERLAP:] if source.size > CHUNK else ""
    return told.facts


def whole(source: RandomAccess) -> str:
    """All of a text that the caller knows to be small.

    Raises:
        NotText: it is none.
    """
    return "".join(text for _, text in pieces(source))


_MAGICS = (
    b"\x7fELF",
    b"PK\x03\x04",
    b"7z\xbc\xaf",
    b"\xcf\xfa\xed\xfe",
    b"\xce\xfa\xed\xfe",
    b"\xca\xfe\xba\xbe",
    b"#!/",
)
_PACKED = (
    (b"\x1f\x8b\x08", 31),
    (b"\x78\x01", 15),
    (b"\x78\x5e", 15),
    (b"\x78\x9c", 15),
    (b"\x78\xda", 15),
    (b"BZh", 0),
    (b"\xfd7zXZ", -1),
)
_MOST_UNPACKED = 4 << 20
_MOST_MEMORY = 32 << 20
_PLAIN = re.compile(rb"[\t\n\r\x20-\x7e]{24,}")
_HINTS = re.compile(
    r"exec|eval|system|popen|subprocess|socket|__import__|spawn|urlopen|importlib|marshal|ctypes|curl|wget|/dev/tcp|iex|base64"
)


def hidden_files(text: str) -> Iterator[tuple[bytes, str]]:
    """The programs, archives, pickles and scripts that runs of digits encode, each with a suffix for its name."""
    for match in _PAYLOAD.finditer(text):
        if found := hidden_file(match[0]):
            yield found
    tried = 0
    for match in _DENSE.finditer(text):
        if tried < _MOST_DENSE and not match[0].isalnum():
            tried += 1
            if found := _hidden(_from_base85(match[0])):
                yield found


def hidden_file(text: str) -> tuple[bytes, str] | None:
    """What one run of digits encodes, in base64, base32 or hexadecimal, with the suffix its name takes; None for nothing."""
    if len(text) > _LONGEST_PAYLOAD:
        return None
    return next((found for decode in (_from_base64, _from_hex, _from_base32) if (found := _hidden(decode(text)))), None)


def _hidden(data: bytes, depth: int = 0) -> tuple[bytes, str] | None:
    is_pickle = data[:1] == b"\x80" and data[1:2] in b"\x02\x03\x04\x05" and data.rstrip(b"\0").endswith(b".")
    if is_pickle or (data[:2] == b"MZ" and b"PE\0\0" in data[:4096]) or data.startswith(_MAGICS):
        return data, _suffix(data)
    for magic, window in _PACKED if depth < _DEEPEST else ():
        if data.startswith(magic):
            return _hidden(_unpacked(data, window), depth + 1)
    return _source(data, depth)


def _suffix(data: bytes) -> str:
    """Of the name that a script takes, so that its reader reads it."""
    first = data.partition(b"\n")[0] if data.startswith(b"#!/") else b""
    return ".py" if b"python" in first else ".sh" if b"sh" in first else ""


_DEEPEST = 3


def _source(data: bytes, depth: int) -> tuple[bytes, str] | None:
    """Python or commands that act; text that only tells of them is left alone, and so is what is no text."""
    if data[1:2] == b"\0" and data[3:4] == b"\0":  # as PowerShell takes it
        data = data.decode("utf-16-le", "ignore").encode()
    text = data.decode("utf-8", "replace")
    if not _PLAIN.match(data) or not _HINTS.search(text):
        return hidden_file(text) if depth < _DEEPEST and _AGAIN.fullmatch(data) else None
    if dangerous_command(text):
        return data, ".sh"
    reach = reach_of(text)
    return (data, ".py") if any(map(is_hard, (*reach.at_import, *reach.in_calls))) else None


_AGAIN = re.compile(rb"[A-Za-z0-9+/_-]{36,}={0,2}\s*")


def _unpacked(data: bytes, window: int) -> bytes:
    """The beginning of what gzip, zlib, bzip2 (0) or xz (-1) packed; empty for what is none."""
    try:
        if window > 0:
            return zlib.decompressobj(window).decompress(data, _MOST_UNPACKED)
        one = lzma.LZMADecompressor(memlimit=_MOST_MEMORY) if window else bz2.BZ2Decompressor()
        return one.decompress(data, _MOST_UNPACKED)
    except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError):
        return b""


def _from_base64(text: str) -> bytes:
    plain = _BREAK.sub("", text).replace("-", "+").replace("_", "/").rstrip("=")
    plain = plain[: len(plain) - (len(plain) % 4 == 1)]
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4))
    except binascii.Error:
        return b""


_BREAK = re.compile(r"(?:\\r)?\\n|\s+")
_BASE32 = re.compile(r"[A-Z2-7]+={0,6}")


def _from_hex(text: str) -> bytes:
    try:
        return bytes.fromhex(_BREAK.sub("", text.replace("\\x", "")))
    except ValueError:
        return b""


def _from_base32(text: str) -> bytes:
    if not _BASE32.fullmatch(text):
        return b""
    plain = text.rstrip("=")
    try:
        return base64.b32decode(plain + "=" * (-len(plain) % 8))
    except binascii.Error:
        return b""


def _from_base85(text: str) -> bytes:
    try:
        return base64.b85decode(text[:_MOST_BASE85])
    except (ValueError, binascii.Error):
        return b""


_MOST_BASE85 = 50_000  # a multiple of five: it is decoded in Python
