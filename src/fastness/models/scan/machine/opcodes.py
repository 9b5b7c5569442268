"""How each pickle instruction's argument is read, for protocols 0 to 5.

Source: the opcode table of CPython's `pickletools`; a test compares the two.
"""

from __future__ import annotations

import codecs
import re
import struct
from collections.abc import Callable

from fastness.models.scan.cursor import Cursor, Truncated
from fastness.models.scan.machine.values import SHORT_BYTES, SHORT_TEXT, Text

HEAD = 64
NAME_LINE = 1 << 16
TEXT_LINE = 32 << 20
NUMBER_LIMIT = 4300
_OCTAL = re.compile(rb"[ \t\v\f\r]*[+-]?0[0-7]+")
_NUMBER = re.compile(rb"\s*[+-]?\.?[\w\s]")
_LIMITLESS = re.compile(rb"\s*[+-]?0[xXoObB]")
"""Python limits the digits of numbers of other bases only."""
_TEMPLATE = "\ndef _parse_args(self, "
_LEGACY = "\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""How torch's files of before archives begin; the place of one that protocol 2 writes as a text is kept, though it be short."""


class BadArgument(Exception):
    """An argument that no unpickler accepts."""


def _unsigned(width: int) -> Callable[[Cursor], int]:
    return lambda cursor: int.from_bytes(cursor.take(width), "little")


def _signed4(cursor: Cursor) -> int:
    return int.from_bytes(cursor.take(4), "little", signed=True)


def _double(cursor: Cursor) -> float:
    return float(struct.unpack(">d", cursor.take(8))[0])


def _digits(cursor: Cursor) -> tuple[bytes, int]:
    """A line that begins as a number does, up to the zero byte at which C stops, and how long it was."""
    if not _NUMBER.match(cursor.peek(HEAD)):
        raise BadArgument("a line that is not a number")
    line, length = cursor.long_line(NUMBER_LIMIT)
    return line.partition(b"\0")[0], length


def _number_line(cursor: Cursor) -> int | bool | Text:
    line, length = _digits(cursor)
    if line in {b"00", b"01"}:
        return line == b"01"
    # C's strtol, which goes first, takes a leading zero for eight as the base; Python's own unpickler refuses it.
    return _whole(line, length, 8 if _OCTAL.fullmatch(line) else 0)


def _long_line(cursor: Cursor) -> int | Text:
    line, length = _digits(cursor)
    return _whole(line.removesuffix(b"L"), length, 0)


def _entry_line(cursor: Cursor) -> int:
    value = _whole(*_digits(cursor), 10)
    if isinstance(value, Text):
        raise BadArgument(f"an entry of {value.length} digits")
    return value


def _whole(line: bytes, length: int, base: int) -> int | Text:
    """A number; one of very many digits is not worked out."""
    if length > NUMBER_LIMIT:
        if not _LIMITLESS.match(line):
            raise BadArgument(f"a number of {length} digits")
        return Text(length, line[:HEAD])
    try:
        return int(line, base)
    except ValueError as error:
        raise BadArgument("a line that is not a number") from error


def _float_line(cursor: Cursor) -> float | Text:
    line, length = _digits(cursor)
    try:
        return float(line) if length <= NUMBER_LIMIT else Text(length, line[:HEAD])
    except ValueError as error:
        raise BadArgument("a line that is not a number") from error


def _text_line(cursor: Cursor) -> str | Text:
    line, length = cursor.long_line(TEXT_LINE)
    if length > TEXT_LINE:
        return Text(length, line[:HEAD].decode("latin-1"))
    try:
        return _kept(line.decode("raw-unicode-escape"), cursor, len(line), "raw-unicode-escape")
    except UnicodeDecodeError as error:
        raise BadArgument("a line that is not escaped text") from error


def _plain_line(cursor: Cursor) -> str:
    return _name(_name_line(cursor))


def _two_lines(cursor: Cursor) -> tuple[str, str]:
    module, name = _name_line(cursor), _name_line(cursor)
    return _name(module), _name(name)


def _name_line(cursor: Cursor) -> bytes:
    try:
        return cursor.line(NAME_LINE)
    except Truncated:
        if cursor.end - cursor.position <= NAME_LINE:
            raise
        raise BadArgument("a name that does not end") from None


def _name(line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadArgument("a line that is not UTF-8") from error


def _quoted_line(cursor: Cursor) -> str | Text:
    whole, length = cursor.long_line(TEXT_LINE)
    if length > TEXT_LINE:
        return Text(length, whole[1:HEAD].decode("latin-1"))
    line = whole.strip()
    if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in {b"'", b'"'}:
        raise BadArgument("a string without its quotes")
    try:
        text, _ = codecs.escape_decode(line[1:-1])
    except ValueError as error:
        raise BadArgument("a string with a broken escape") from error
    return _kept(text.decode("latin-1"), cursor, len(whole), "quoted")


def _kept(value: str, cursor: Cursor, length: int, form: str) -> str | Text:
    """A text of a line that has just been passed."""
    if len(value) <= SHORT_TEXT or _is_template(value):
        return value
    return Text(len(value), value[:HEAD], cursor.position - length - 1, length, form)


def _is_template(value: str) -> bool:
    """Whether it looks like the text that scipy's distributions run, which is kept for being judged."""
    return value.startswith(_TEMPLATE) and len(value) <= SHORT_TEXT * 4


def _counted(width: int, *, signed: bool = False) -> Callable[[Cursor], tuple[int, bytes]]:
    def read(cursor: Cursor) -> tuple[int, bytes]:
        length = int.from_bytes(cursor.take(width), "little", signed=signed)
        if length < 0:
            raise BadArgument("a negative length")
        if length > cursor.end - cursor.position:
            raise Truncated(cursor.position)
        head = cursor.take(min(length, SHORT_TEXT * 4))
        cursor.skip(length - len(head))
        return length, head

    return read


def _text(width: int) -> Callable[[Cursor], str | Text]:
    counted = _counted(width)

    def read(cursor: Cursor) -> str | Text:
        length, head = counted(cursor)
        at = cursor.position - length
        if length > len(head):
            return Text(length, head[:HEAD].decode("utf-8", "replace"), at, length)
        try:
            text = head.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError as error:
            raise BadArgument("a text that is not UTF-8") from error
        whole = not text.startswith(_LEGACY) if len(text) <= SHORT_TEXT else _is_template(text)
        return text if whole else Text(len(text), text[:HEAD], at, length)

    return read


def _string(width: int, *, signed: bool = False) -> Callable[[Cursor], str | Text]:
    counted = _counted(width, signed=signed)

    def read(cursor: Cursor) -> str | Text:
        length, head = counted(cursor)
        text = head.decode("latin-1")
        return Text(length, text[:HEAD], cursor.position - length, length, "latin-1") if length > SHORT_TEXT else text

    return read


def _bytes(width: int) -> Callable[[Cursor], bytes | Text]:
    counted = _counted(width)

    def read(cursor: Cursor) -> bytes | Text:
        length, head = counted(cursor)
        return Text(length, head[:HEAD], cursor.position - length, length) if length > SHORT_BYTES else head

    return read


def _long(width: int) -> Callable[[Cursor], int | Text]:
    counted = _counted(width, signed=width == 4)

    def read(cursor: Cursor) -> int | Text:
        length, head = counted(cursor)
        return Text(length, head[:8]) if length > len(head) else int.from_bytes(head, "little", signed=True)

    return read


Argument = Callable[[Cursor], object]

OPCODES: dict[int, tuple[str, Argument | None]] = {
    ord(code): (name, argument)
    for code, name, argument in (
        ("I", "INT", _number_line),
        ("J", "BININT", _signed4),
        ("K", "BININT1", _unsigned(1)),
        ("M", "BININT2", _unsigned(2)),
        ("L", "LONG", _long_line),
        ("\x8a", "LONG1", _long(1)),
        ("\x8b", "LONG4", _long(4)),
        ("S", "STRING", _quoted_line),
        ("T", "BINSTRING", _string(4, signed=True)),
        ("U", "SHORT_BINSTRING", _string(1)),
        ("B", "BINBYTES", _bytes(4)),
        ("C", "SHORT_BINBYTES", _bytes(1)),
        ("\x8e", "BINBYTES8", _bytes(8)),
        ("\x96", "BYTEARRAY8", _bytes(8)),
        ("\x97", "NEXT_BUFFER", None),
        ("\x98", "READONLY_BUFFER", None),
        ("N", "NONE", None),
        ("\x88", "NEWTRUE", None),
        ("\x89", "NEWFALSE", None),
        ("V", "UNICODE", _text_line),
        ("\x8c", "SHORT_BINUNICODE", _text(1)),
        ("X", "BINUNICODE", _text(4)),
        ("\x8d", "BINUNICODE8", _text(8)),
        ("F", "FLOAT", _float_line),
        ("G", "BINFLOAT", _double),
        ("]", "EMPTY_LIST", None),
        ("a", "APPEND", None),
        ("e", "APPENDS", None),
        ("l", "LIST", None),
        (")", "EMPTY_TUPLE", None),
        ("t", "TUPLE", None),
        ("\x85", "TUPLE1", None),
        ("\x86", "TUPLE2", None),
        ("\x87", "TUPLE3", None),
        ("}", "EMPTY_DICT", None),
        ("d", "DICT", None),
        ("s", "SETITEM", None),
        ("u", "SETITEMS", None),
        ("\x8f", "EMPTY_SET", None),
        ("\x90", "ADDITEMS", None),
        ("\x91", "FROZENSET", None),
        ("0", "POP", None),
        ("2", "DUP", None),
        ("(", "MARK", None),
        ("1", "POP_MARK", None),
        ("g", "GET", _entry_line),
        ("h", "BINGET", _unsigned(1)),
        ("j", "LONG_BINGET", _unsigned(4)),
        ("p", "PUT", _entry_line),
        ("q", "BINPUT", _unsigned(1)),
        ("r", "LONG_BINPUT", _unsigned(4)),
        ("\x94", "MEMOIZE", None),
        ("\x82", "EXT1", _unsigned(1)),
        ("\x83", "EXT2", _unsigned(2)),
        ("\x84", "EXT4", _signed4),
        ("c", "GLOBAL", _two_lines),
        ("\x93", "STACK_GLOBAL", None),
        ("R", "REDUCE", None),
        ("b", "BUILD", None),
        ("i", "INST", _two_lines),
        ("o", "OBJ", None),
        ("\x81", "NEWOBJ", None),
        ("\x92", "NEWOBJ_EX", None),
        ("\x80", "PROTO", _unsigned(1)),
        (".", "STOP", None),
        ("\x95", "FRAME", _unsigned(8)),
        ("P", "PERSID", _plain_line),
        ("Q", "BINPERSID", None),
    )
}

PUSHING = frozenset({
    "INT", "LONG", "LONG1", "LONG4", "FLOAT", "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE",
    "BINUNICODE8", "BINBYTES", "BINBYTES8", "BYTEARRAY8", "GET", "GLOBAL", "PERSID",
})  # fmt: skip
"""Instructions that put one value on the stack, whatever their argument says."""
