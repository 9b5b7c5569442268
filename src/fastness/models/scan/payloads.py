"""Programs, and pickles that would act, within bytes that should be numbers: the storages of tensors.

One pass over the bytes marks where a magic, a stream or a script may begin; what is marked is looked at closely. Without
Hyperscan the pass marks, at both alignments, the two middle bytes of every magic, and blocks of plain text. Honest weights never alarm: a program needs at least 52 fixed bits (the fewest: Windows, 32
of signature, 16 of machine with 11 values, 16 of the optional header with 2, and 7 bits of counts), which random bytes
hold once in 10^13; a pickle must import a name made of letters from a module made of letters and call it, and a script
must begin with its interpreter's path.

Misses: Mach-O programs with the high byte first (PowerPC); what is compressed, encrypted or encoded otherwise than in base64. Cost: 2 to 3 GB a second, 1 without Hyperscan (memory: 3 MB).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

import numpy as np
from numpy.typing import NDArray

from fastness.core.errors import TooLarge
from fastness.core.sources import RandomAccess
from fastness.foundation.text import Patterns
from fastness.models.scan.budget import Budget, ScanSettings
from fastness.models.scan.cursor import Cursor
from fastness.models.scan.facts import Detail, Fact, FactKind
from fastness.models.scan.machine import OPCODES, Event, Sight, Standing, Trace, catalogue, run
from fastness.models.scan.programs import LONGEST, MAGICS, SHEBANG, Program, Sort, program_at
from fastness.models.scan.texts import hidden_file

_WINDOW = 1 << 19
_OVERLAP = 512
_SHOWN = 16
_TASTE = 4096
_MOST_ENDS = 1 << 16
_LENGTHS = (4, 3)  # of the patterns whose matches are all of one length
# Instructions of one length, themselves included; those without an argument are one byte.
_PLAIN_LENGTHS = {code: 1 for code, (_, argument) in OPCODES.items() if argument is None} | {
    ord("J"): 5, ord("K"): 2, ord("M"): 3, ord("G"): 9, 0x80: 2, 0x82: 2, 0x83: 3, 0x84: 5, 0x95: 9,
}  # fmt: skip
_PUSHES = {
    b"\x8c": 1, b"C": 1, b"U": 1, b"X": 4, b"B": 4, b"T": 4, b"\x8d": 8, b"\x8e": 8, b"\x96": 8,
}  # fmt: skip
"""Instructions of pickles that push texts or bytes, and the bytes of the length behind them."""
_LONGEST_PUSH, _SHORTEST_SCRIPT = 9, 8
_AROUND = 192  # within which a text stands whose middle or end was found

# The pairs of bytes that are searched for: the first two or the middle two of each magic. None holds a zero: zeros are what
# half of all honest storages are made of. PROTO and its version, 0x80 and 2 to 5, are four more.
_PAIRS = (b"EL", b"PE", b"\xfa\xed", b"\xfe\xba", b"ex", b"as")
_PROTO = np.uint16(0x0280)
_VERSION = np.uint16(0xFCFF)
_HIGH_BITS = np.uint64(0x8080808080808080)
_LEAST_TEXT = np.uint64(0x0900000000000000)
_NAME = rb"[A-Za-z_][\w.]{1,80}\n"
# Each begins with bytes that are the same in all it finds, which makes the search ten times faster.
_TEXTS = (
    (re.compile(rb"#! ?/"), None),
    (re.compile(rb"@(?i:echo off)\r?\n"), Program("script for Windows", Sort.SCRIPT)),
    (
        re.compile(
            rb"ower[Ss]hell(?:\.exe)? +-(?i:e|enc|encodedcommand|nop|noprofile|w|windowstyle|ep|ex|c|command)\b"
        ),
        Program("script for PowerShell", Sort.SCRIPT),
    ),
    (re.compile(rb"TV[oqpr][A-Q]AA[A-Z]AA"), Program("Windows program in base64", Sort.NATIVE)),
    (re.compile(rb"f0VMR[gh][IE]BAQ"), Program("ELF program in base64", Sort.NATIVE)),
    (re.compile(rb"IyEv(?:YmluL|dXNyL)"), None),
    (re.compile(rb"aW1wb3J0I"), None),
    (re.compile(rb"ZnJvbS[AB]"), None),
)
_ENCODED = re.compile(rb"(?:IyEv(?:YmluL|dXNyL)|aW1wb3J0I|ZnJvbS[AB])[A-Za-z0-9+/]{16,}={0,2}")
"""A script, or Python that begins with an import; what it says is looked at."""
_SECOND_LINE = re.compile(rb"\n(?=" + _NAME + rb")")
_FIRST_LINE = re.compile(rb"[ci]" + _NAME + rb"\Z")
_DRY = ScanSettings(opcodes=4096, facts=256, depth=2)
_ACTS = {Sight.IMPORT: FactKind.IMPORT, Sight.CALL: FactKind.CALL, Sight.TAMPER: FactKind.TAMPER}
_CALLEE = re.compile(r"[A-Za-z_][\w.]+[.:][A-Za-z_][\w.]+")


def search_payloads(source: RandomAccess, start: int, end: int, budget: Budget) -> Iterator[Fact]:
    """What stands in the bytes from `start` to `end` and has no business among numbers.

    Yields EXECUTABLE facts with `embedded` set, and IMPORT, CALL and TAMPER facts of pickles that would act.

    Raises:
        TooLarge: the budget is spent, by something that goes on as a pickle does.
    """
    seen: dict[str, int] = {}
    done = start
    scratch = _Scratch(min(_WINDOW + _OVERLAP, max(0, end - start)))
    for base in range(start, end, _WINDOW):
        window = source.read_at(base, min(_WINDOW + _OVERLAP, end - base))
        for at in _marked(window, scratch):
            offset = base + at
            if at >= _WINDOW or offset < done:
                continue  # the next window shows it whole, or it stands within a pickle that was read
            program = _program(window, at)
            if program is not None:
                yield from _told(source.name, offset, program, seen)
            elif _may_be_pickle(window, at):
                done, facts = _pickle(source, offset, end, budget)
                yield from facts


def search_programs(source: RandomAccess, start: int, end: int) -> Iterator[Fact]:
    """Programs alone, with `embedded` set, from `start` to `end` of what is read as a pickle anyhow.

    A script counts only where it is a whole value, and then as a script beside the model: texts may tell of scripts.
    """
    seen: dict[str, int] = {}
    scratch = _Scratch(min(_WINDOW + _OVERLAP, max(0, end - start)))
    for base in range(start, end, _WINDOW):
        window = source.read_at(base, min(_WINDOW + _OVERLAP, end - base))
        for at in (at for at in _marked(window, scratch) if at < _WINDOW):
            program = _program(window, at)
            if program is None:
                continue
            if program.sort is not Sort.SCRIPT:
                yield from _told(source.name, base + at, program, seen)
            elif _begins_value(source, base + at):
                yield executable(source.name, base + at, program, embedded=False)


def _begins_value(source: RandomAccess, at: int) -> bool:
    """Whether an instruction that pushes a text or bytes stands right before it, with a length that fits."""
    before = source.read_at(max(0, at - _LONGEST_PUSH), min(at, _LONGEST_PUSH))
    lengths = {name: before[-width:] for name, width in _PUSHES.items() if before[-width - 1 : -width] == name}
    return any(_SHORTEST_SCRIPT <= int.from_bytes(length, "little") <= source.size - at for length in lengths.values())


def executable(name: str, offset: int, program: Program, *, embedded: bool) -> Fact:
    """The fact that a program stands there."""
    detail: dict[str, Detail] = {"sort": program.sort.value, "embedded": int(embedded)}
    return Fact(FactKind.EXECUTABLE, name, offset, program.kind, detail)


def _told(name: str, offset: int, program: Program, seen: dict[str, int]) -> Iterator[Fact]:
    seen[program.kind] = seen.get(program.kind, 0) + 1
    if seen[program.kind] <= _SHOWN:
        yield executable(name, offset, program, embedded=True)


# ---------------------------------------------------------------- places worth a look
class _Scratch:
    """Arrays that are used again for each window: fresh ones would cost more than the search, a page at a time."""

    def __init__(self, size: int) -> None:
        self.words = np.empty(size // 2, np.uint16)
        self.changed = np.empty(size // 2, np.uint16)
        self.marks = np.empty(size // 2, bool)
        self.one = np.empty(size // 2, bool)
        self.blocks = np.empty(size // 8, np.uint64)


def _marked(window: bytes, scratch: _Scratch) -> list[int]:
    """The places in a window where something may begin, in order."""
    data = np.frombuffer(window, np.uint8)
    if data.size < 8:
        return []
    engine = _engine()
    ends = engine.ends(window, _MOST_ENDS) if engine is not None else None
    if ends is not None:
        return sorted(_places_of(window, ends))
    return sorted({*_magic_places(data, scratch).tolist(), *_text_places(window, scratch)})


@cache
def _engine() -> Patterns | None:
    """All that may begin something: the magics, PROTO with an instruction behind it, then what `_in_text` looks for."""
    magics = b"|".join(b"".join(b"\\x%02x" % byte for byte in magic) for magic in sorted(MAGICS))
    firsts = b"".join(b"\\x%02x" % byte for byte in np.flatnonzero(_first_instructions()).tolist())
    modules = [rb"[ci]" + re.escape(module.encode()) + rb"\n" for module in catalogue().dangerous_modules]
    return Patterns.compiled(
        [magics, rb"\x80[\x02-\x05][" + firsts + rb"]", *modules, *(text.pattern for text, _ in _TEXTS)]
    )


def _places_of(window: bytes, ends: list[tuple[int, int]]) -> set[int]:
    places = {end - _LENGTHS[number] for end, number in ends if number < len(_LENGTHS)}
    begun = done = 0
    for end in sorted(end for end, number in ends if number >= len(_LENGTHS)):
        if end - _AROUND > done:
            places.update(_in_text(window, begun, done))
            begun = end - _AROUND
        done = end + _AROUND
    places.update(_in_text(window, begun, done))
    return places


def _magic_places(data: NDArray[np.uint8], scratch: _Scratch) -> NDArray[np.intp]:
    """Where the first four bytes are a magic, or PROTO with an instruction behind it."""
    found = []
    for alignment in (0, 1):
        count = (data.size - alignment) // 2
        words, changed = scratch.words[:count], scratch.changed[:count]
        marks, one = scratch.marks[:count], scratch.one[:count]
        words.view(np.uint8)[:] = data[alignment : alignment + 2 * count]  # comparing is twice as fast where aligned
        np.subtract(words, _PROTO, out=changed)
        np.bitwise_and(changed, _VERSION, out=changed)
        np.equal(changed, 0, out=marks)
        for value in _values():
            np.equal(words, value, out=one)
            np.logical_or(marks, one, out=marks)
        found.append(2 * _few(marks) + alignment)
    return _confirmed(data, np.concatenate(found))


def _few(marks: NDArray[np.bool_]) -> NDArray[np.intp]:
    """As flatnonzero, and several times faster where hardly any is set."""
    whole = marks.size // 8 * 8
    eights = np.flatnonzero(marks[:whole].view(np.uint64) != 0)
    row, column = np.nonzero(marks[:whole].reshape(-1, 8)[eights])
    return np.concatenate([eights[row] * 8 + column, np.flatnonzero(marks[whole:]) + whole])


def _confirmed(data: NDArray[np.uint8], pairs: NDArray[np.intp]) -> NDArray[np.intp]:
    """The beginnings that belong to pairs, where all four bytes fit."""
    starts = np.unique(np.concatenate([pairs, pairs - 1]))
    starts = starts[(starts >= 0) & (starts + 4 <= data.size)]
    columns = [data[starts + shift].astype(np.uint32) for shift in range(4)]
    words = columns[0] | columns[1] << 8 | columns[2] << 16 | columns[3] << 24
    proto = (columns[0] == 0x80) & (columns[1] >= 2) & (columns[1] <= 5) & _first_instructions()[columns[2]]
    kept: NDArray[np.intp] = starts[np.isin(words, _magic_words()) | proto]
    return kept


def _text_places(window: bytes, scratch: _Scratch) -> list[int]:
    """Where something stands in plain text: sixteen bytes at a stretch that hold no high bit and do not end in a zero."""
    blocks = np.frombuffer(window, np.uint64, len(window) // 8)
    high = np.bitwise_and(blocks, _HIGH_BITS, out=scratch.blocks[: blocks.size])
    plain = (high == 0) & (blocks >= _LEAST_TEXT)
    pairs = np.flatnonzero(plain[:-1] & plain[1:]) * 8
    if not pairs.size:
        return []
    breaks = np.flatnonzero(np.diff(pairs) > 64)
    firsts = pairs[np.concatenate([[0], breaks + 1])]
    lasts = pairs[np.concatenate([breaks, [pairs.size - 1]])]
    found: list[int] = []
    for first, last in zip(firsts.tolist(), lasts.tolist(), strict=True):
        found += _in_text(window, max(0, first - 16), last + 32)
    return found


def _in_text(window: bytes, start: int, end: int) -> Iterator[int]:
    for pattern, _ in _TEXTS:
        yield from (match.start() for match in pattern.finditer(window, start, end))
    for match in _SECOND_LINE.finditer(window, start, end):  # GLOBAL and INST: a module and a name, a line each
        line = window[max(0, match.start() - 82) : match.start() + 1]
        for shift in (at for at in range(len(line)) if line[at] in b"ci"):
            if _FIRST_LINE.match(line, shift):
                yield match.start() + 1 - len(line) + shift


@cache
def _values() -> tuple[np.uint16, ...]:
    return tuple(np.uint16(int.from_bytes(pair, "little")) for pair in _PAIRS)


@cache
def _magic_words() -> NDArray[np.uint32]:
    return np.array([int.from_bytes(magic, "little") for magic in sorted(MAGICS)], np.uint32)


@cache
def _first_instructions() -> NDArray[np.bool_]:
    table = np.zeros(256, bool)
    table[list(b"\x80\x82\x83\x84\x88\x89\x8a\x8b\x8c\x8d\x8e\x8f\x95\x96\x97()BCFGIJKLMNPSTUVXc]}")] = True
    return table


# ---------------------------------------------------------------- the closer look
def _program(window: bytes, at: int) -> Program | None:
    program = program_at(window[at : at + LONGEST])
    if program is not None:
        return program
    if encoded := _ENCODED.match(window, at):
        hidden = hidden_file(encoded[0].decode("ascii"))
        return Program("source that acts, in base64", Sort.MANAGED) if hidden else None
    named = SHEBANG.match(window, at)
    if named is not None:
        return Program(f"script for {named[1].decode('ascii')}", Sort.SCRIPT)
    return next((kind for pattern, kind in _TEXTS if kind is not None and pattern.match(window, at)), None)


def _may_be_pickle(window: bytes, at: int) -> bool:
    """Whether instructions begin there; of what chance makes to look like PROTO, most goes wrong with the next one."""
    if window[at] != 0x80:
        return window[at] in b"ci"
    length = _PLAIN_LENGTHS.get(window[at + 2])
    return length is None or at + 2 + length >= len(window) or window[at + 2 + length] in OPCODES


def _pickle(source: RandomAccess, start: int, end: int, budget: Budget) -> tuple[int, list[Fact]]:
    """Where the stream that begins at `start` ends, and what it would do; chance ends most after an instruction or two."""
    trace = _taste(source, start, end) or run(Cursor(source, start, end), budget)
    least = Standing.UNKNOWN if source.read_at(start, 1) == b"\x80" else Standing.DANGEROUS
    acts = [_fact(source.name, event) for event in trace.events if _would_act(event, least)]
    return (trace.end if acts else start + 1), acts


def _taste(source: RandomAccess, start: int, end: int) -> Trace | None:
    """The trace of a stream that ends soon; None where it goes on, which chance does not do."""
    stop = min(end, start + _TASTE)
    try:
        trace = run(Cursor(source, start, stop), Budget(_DRY))
    except TooLarge:
        return None
    return trace if stop == end or trace.stopped or trace.end < stop - _OVERLAP else None


def _would_act(event: Event, least: Standing) -> bool:
    """Bytes that are all letters, such as small whole numbers, spell unknown names: a stream without PROTO must name known ones."""
    if event.sight not in _ACTS or not _CALLEE.fullmatch(event.name):
        return False
    return event.standing >= (Standing.DANGEROUS if event.sight is Sight.IMPORT else least)


def _fact(name: str, event: Event) -> Fact:
    detail: dict[str, Detail] = {"standing": int(event.standing), "opcode": event.opcode, "arguments": event.arguments}
    return Fact(_ACTS[event.sight], name, event.offset, event.name, detail)
