"""Pickles of protocols 0 to 5, and joblib's files: pickles between whose instructions raw arrays stand.

Every stream in the file is walked by the symbolic machine. What follows a stream must be another one; anything else is
unexplained, and searched for further streams. A file with raw arrays is walked a second time as `pickle.load` would
read it, for then the arrays' bytes are instructions: only what would be called there counts.

Misses: what a loader's own `find_class` or `persistent_load` does with a name. Cost: linear in the instructions; array
bytes are stepped over.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from itertools import islice, takewhile
from typing import ClassVar

from fastness.core.errors import TooLarge
from fastness.core.findings import Finding, Rule, Severity
from fastness.core.sources import BytesSource, RandomAccess
from fastness.models.scan.budget import Budget, ScanSettings
from fastness.models.scan.configs import RUNS_TEXT
from fastness.models.scan.credentials import search_credentials
from fastness.models.scan.cursor import Cursor, Part
from fastness.models.scan.facts import Fact, FactKind, Look, Member, Told, found, span
from fastness.models.scan.machine import OPCODES, Dialect, Event, Sight, Spent, Standing, Trace, explain, run
from fastness.models.scan.payloads import search_programs
from fastness.models.scan.rules import INDEX, PICKLE_MAPS, SAFE_FORMAT, UNFOLLOWED, undecided

MALFORMED = undecided(
    "pickle-malformed", "A pickle with a broken instruction",
    "A loader runs everything that stands before the break; tools that stop at it see nothing.",
    "Do not load it. Save the model again with the library that made it.",
)  # fmt: skip
TRUNCATED = undecided(
    "pickle-truncated", "A pickle that ends early",
    "A loader runs everything up to the end, and then reports an error.",
    "Fetch the file again; do not load it as it is.",
)  # fmt: skip
TRAILING = undecided(
    "pickle-trailing-bytes", "Bytes behind the last pickle",
    "What follows the end is read by loaders that go on, or seek; it can hold another payload.",
    "Save the model again with the library that made it.",
)  # fmt: skip
STACKED = Rule(
    "pickle-stacked", "More than one pickle in the file", Severity.LOW,
    "Some loaders read only the first, others all of them. All were scanned.",
    "Save one object to a file.", PICKLE_MAPS,
)  # fmt: skip
STRADDLE = Rule(
    "pickle-frame-straddle", "Instructions and frames disagree", Severity.HIGH,
    "Python's two unpicklers read such a stream differently, so that a scanner sees another program than the victim.",
    f"No honest library writes this. {SAFE_FORMAT}", PICKLE_MAPS,
)  # fmt: skip
UNRESOLVED = Rule(
    "pickle-unresolved-global", "An imported name that is computed", Severity.HIGH,
    "The name of what is imported comes from a call, so that it cannot be read from the file.",
    f"No honest library writes this. {SAFE_FORMAT}", PICKLE_MAPS,
)  # fmt: skip
EXTENSION = Rule(
    "pickle-extension", "A global by its registry code", Severity.HIGH,
    "What the code stands for depends on the registry of the process that loads the file.",
    f"Save the model without copyreg extensions. {SAFE_FORMAT}", PICKLE_MAPS,
)  # fmt: skip
PERSISTENT = Rule(
    "pickle-persistent-id", "An object that the loader must supply", Severity.MEDIUM,
    "What the id stands for is decided by the loading program, not by the file.",
    f"Find out which program reads it. {SAFE_FORMAT}", PICKLE_MAPS,
)  # fmt: skip
OUTSIDE = Rule(
    "pickle-outside-buffer", "A buffer from outside of the file", Severity.MEDIUM,
    "A part of the object is not in this file and was not scanned.",
    "Save the model in one file, without a buffer callback.", PICKLE_MAPS,
)  # fmt: skip
AMPLIFIED = Rule(
    "pickle-amplification", "Containers that repeat each other", Severity.HIGH,
    "A few bytes stand for billions of items, or for thousands of containers in each other: printing, comparing or copying "
    "the object exhausts the machine, or ends the program.",
    f"No honest library writes this. {SAFE_FORMAT}", {**PICKLE_MAPS, "cwe": "CWE-776", "atlas": "AML.T0029"},
)  # fmt: skip
MEMO_GAP = Rule(
    "pickle-memo-gap", "A memo entry far behind the others", Severity.HIGH,
    "The unpickler makes room for all entries up to the one that is named: five bytes fill the machine's memory.",
    f"No honest library writes this. {SAFE_FORMAT}", {**PICKLE_MAPS, "cwe": "CWE-789", "atlas": "AML.T0029"},
)  # fmt: skip

RULES: tuple[Rule, ...] = (
    MALFORMED, TRUNCATED, TRAILING, STACKED, STRADDLE, UNRESOLVED, EXTENSION, PERSISTENT, OUTSIDE, AMPLIFIED, MEMO_GAP,
)  # fmt: skip

_FINDINGS = {
    Sight.MALFORMED: MALFORMED,
    Sight.TRUNCATED: TRUNCATED,
    Sight.STRADDLE: STRADDLE,
    Sight.UNRESOLVED: UNRESOLVED,
    Sight.EXTENSION: EXTENSION,
    Sight.PERSISTENT: PERSISTENT,
    Sight.OUTSIDE: OUTSIDE,
    Sight.AMPLIFIED: AMPLIFIED,
    Sight.GAP: MEMO_GAP,
    Sight.INDEX: INDEX,
    Sight.UNFOLLOWED: UNFOLLOWED,
}
_FACTS = {
    Sight.IMPORT: FactKind.IMPORT,
    Sight.CALL: FactKind.CALL,
    Sight.TAMPER: FactKind.TAMPER,
    Sight.CREDENTIAL: FactKind.CREDENTIAL,
}
_DRY = ScanSettings(opcodes=4096, facts=256, depth=2)
_STREAM = re.compile(
    rb"\x80[\x02-\x05](?:\x95.{6}\x00\x00|[\x8c\x8dXUTcCB(}\])\x8f\x8aKMJGNI\x88\x89])"
    rb"|c(?:os|posix|nt|builtins|__builtin__|subprocess|sys|runpy|importlib)\n[A-Za-z_]+\n[(q\x85)]",
    re.DOTALL,
)
TORCH = "torch-pickle"
"""The reader that stands in for this one where a layout says that torch wrote the file."""
_MAGIC = bytes.fromhex("6cfc9c46f9206aa85019")
_INSTEAD = frozenset({TORCH, "torch-legacy"})
_MAGIC_WITHIN = 32

_HEAD = 4096
_EXPLAINED = 3
_LINES = 200
_ACTS = frozenset({Sight.IMPORT, Sight.CALL, Sight.TAMPER})
_SEARCHED = 64 << 20
_CANDIDATES = 256
_WINDOW = 1 << 20
_OVERLAP = 64


@dataclass(frozen=True)
class PickleReader:
    """Reads pickles and joblib files."""

    name: ClassVar[str] = "pickle"
    suffixes: ClassVar[tuple[str, ...]] = (".pkl", ".pickle", ".joblib", ".dill")

    def claims(self, look: Look) -> bool:
        """By the PROTO instruction, or, since protocols 0 and 1 have no magic, by a trial of the first instructions.

        The trial refuses only what no unpickler gets past: a file of another format may be a pickle as well.
        """
        if not look.readers.isdisjoint(_INSTEAD) or is_old_torch(look.head):
            return False
        return _begins(look.head)

    def read(self, source: RandomAccess, budget: Budget) -> Iterator[Told]:
        """The globals, calls and changes of every stream; nothing for what fails before it does anything.

        Raises:
            TooLarge: the budget is spent.
        """
        stacked = False
        for item in streams(source, budget, Dialect.JOBLIB):
            if not isinstance(item, Trace):
                yield item
            elif item.start and not stacked:
                stacked = True
                yield found(STACKED, source.name, item.start, "a second pickle begins here")


def is_old_torch(head: bytes) -> bool:
    """Whether a file begins with the number by which torch knows its older files, whose reader stands in for this one."""
    written = b"L%dL\n." % int.from_bytes(_MAGIC, "little")
    return (head[:1] == b"\x80" and _MAGIC in head[:_MAGIC_WITHIN]) or head.startswith(written)


def streams(source: RandomAccess, budget: Budget, dialect: Dialect) -> Iterator[Told | Trace]:
    """Each stream of the file, and before it what was seen in it; nothing for what fails before it does anything.

    Raises:
        TooLarge: the budget is spent.
    """
    cursor, memo, explained = Cursor(source), dict[int, object](), 0
    strong = cursor.peek(1) == b"\x80"
    while cursor.position < source.size:
        start = cursor.position
        if start and not _begins(cursor.peek(_HEAD)):
            yield found(TRAILING, source.name, start, f"{source.size - start} bytes follow the last pickle")
            yield from _search(source, start, budget)
            return
        trace = yield from _followed(source.name, cursor, budget, dialect, None if start else memo)
        if not (start or strong) and _is_no_pickle(trace, cursor):
            return
        worst = _worst(trace)
        chain = _chain(source, start, dialect) if worst is not None and explained < _EXPLAINED else ""
        explained += bool(chain)
        yield from told(source.name, trace.events, worst, chain)
        yield span(source.name, start, (trace.broken if trace.broken >= 0 else trace.end) - start)
        yield trace
        yield from search_programs(source, start, trace.end)
        yield from search_credentials(source, start, trace.end)
        yield from _layers(source, start, trace.end)
        yield from pieces_of(source, trace, budget)
        yield from _read_otherwise(source, trace, budget, memo)
        if trace.broken >= 0:
            yield from _search(source, trace.broken + 1, budget)
            return


def _followed(
    name: str, cursor: Cursor, budget: Budget, dialect: Dialect, memo: dict[int, object] | None
) -> Generator[Fact | Finding, None, Trace]:
    """The trace of a stream; where a bound is met, what stands before it is told, for a loader has done it by then."""
    try:
        return run(cursor, budget, dialect, memo=memo)
    except Spent as spent:
        yield from told(name, spent.trace.events)
        raise


_WORKED_OUT = (b"backbone", b"activation", b"default_act")
_EXPRESSION = re.compile(
    rb"__import__\s{0,9}\(|\b(?:exec|eval)\s{0,9}\(|\bos\.(?:system|popen|exec\w{1,3}|spawn\w{1,4})\s{0,9}\(|\bsubprocess\.\w{1,20}\s{0,9}\("
    rb"|__(?:subclasses|globals|builtins|mro|bases)__"
)
_LAYERS_WITHIN = 8 << 20


def _layers(source: RandomAccess, start: int, end: int) -> Iterator[Finding]:
    """Networks of YOLO that a checkpoint holds as texts: training goes on with them, and works each layer out with `eval`."""
    data = source.read_at(start, min(end - start, _LAYERS_WITHIN))
    match = _EXPRESSION.search(data) if any(key in data for key in _WORKED_OUT) else None
    if match is not None:
        told = found(RUNS_TEXT, source.name, start + match.start(), f"beside layers stands {match[0].decode()!a}")
        yield replace(told, severity=Severity.MEDIUM)


def pieces_of(source: RandomAccess, trace: Trace, budget: Budget) -> Iterator[Member]:
    """The models within the stream, which its functions would read from bytes."""
    for piece in {piece.at: piece for piece in trace.pieces}.values():
        name = f"{source.name}!bytes@{piece.at}"
        if isinstance(piece.head, bytes):
            yield Member(Part(source, name, piece.at, piece.size), piece.at)
            continue
        budget.spend("inflated_bytes", piece.size)
        budget.require("header_bytes", piece.size)
        text = source.read_at(piece.at, piece.size).decode("utf-8", "replace")
        yield Member(BytesSource(name, text.encode("latin-1", "replace")), piece.at)


def _read_otherwise(
    source: RandomAccess, trace: Trace, budget: Budget, memo: dict[int, object]
) -> Iterator[Fact | Finding | Member]:
    """What other loaders make of a stream: one that keeps its memo, and one that knows no raw arrays."""
    if trace.start:
        yield from _with_memo(source, trace.start, budget, memo)
    if trace.array >= 0:
        yield from _as_plain_pickle(source, trace, budget)


def told(name: str, events: list[Event], worst: Event | None = None, chain: str = "") -> Iterator[Fact | Finding]:
    """The events of a stream as facts, for the checks, and as findings about its form.

    Args:
        worst: the one that is told with the whole chain of calls.
    """
    detail: dict[str, str | int]
    for event in events:
        kind, rule = _FACTS.get(event.sight), _FINDINGS.get(event.sight)
        if event.sight is Sight.CODE:
            runs = event.arguments.strip("'")
            detail = {"language": "python", "runs": runs, "standing": int(event.standing), "opcode": event.opcode}
            yield Fact(FactKind.CODE, name, event.offset, event.name, detail)
        elif event.sight is Sight.NAMED:
            detail = {"vocabulary": "hydra", "only": "dangerous"}
            yield Fact(FactKind.CLASS, name, event.offset, event.name, detail)
        elif kind is not None:
            detail = {
                "standing": int(event.standing),
                "opcode": event.opcode,
                "arguments": event.arguments,
            }
            if chain and event is worst:
                detail["chain"] = chain
            yield Fact(kind, name, event.offset, event.name, detail)
        elif rule is not None:
            message = f"{event.opcode}: {event.name}" if event.opcode else event.name
            yield found(rule, name, event.offset, message, opcode=event.opcode)


def _begins(head: bytes) -> bool:
    if head[:1] == b"\x80":
        return len(head) > 2 and head[1] <= 16 and head[2] in OPCODES
    return _runs(head)


def _runs(head: bytes) -> bool:
    """Whether a trial does something, or meets the end of a longer file before it fails."""
    try:
        trace = run(Cursor(BytesSource("", head)), Budget(_DRY))
    except TooLarge:
        return True
    cut = any(event.sight is Sight.TRUNCATED for event in trace.events)
    return not _does_nothing(trace) or (len(head) >= _HEAD and cut)


def _does_nothing(trace: Trace) -> bool:
    """Whether every unpickler fails before anything is imported by name, called, or returned.

    A registry code alone does not count: maps of MessagePack begin with the same byte, and no process registers any. Behind
    a broken instruction only the call of something dangerous does, unless it is itself what is broken: unpicklers differ.
    """
    failures = {event.offset for event in trace.events if event.sight in {Sight.MALFORMED, Sight.TRUNCATED}}
    failed = False
    for event in trace.events:
        if event.sight is Sight.CALL and event.standing is Standing.DANGEROUS and event.offset not in failures:
            return False
        failed = failed or event.offset in failures
        if not failed and event.sight not in _IDLE and not _is_unknown_import(event):
            return False
    return failed or not trace.stopped


_TEXT = re.compile(rb"[\t\n\r\x20-\x7e\x80-\xff]*")


def _is_no_pickle(trace: Trace, cursor: Cursor) -> bool:
    """Whether a file without the magic is no pickle: reading it does nothing, or it is a sentence.

    `Git v2.3 Release Notes` is a number up to its full stop, and text follows that no unpickler reads.
    """
    rest = cursor.peek(_HEAD)
    acts = any(event.sight not in _IDLE and not _is_unknown_import(event) for event in trace.events)
    prose = not acts and bool(rest) and _TEXT.fullmatch(rest) is not None and not _begins(rest)
    return _does_nothing(trace) or prose


def _is_unknown_import(event: Event) -> bool:
    """Lines of plain text look like these (`channels:`, or the labels cat and dog); nothing has been called by then."""
    return event.sight is Sight.IMPORT and event.standing in {Standing.UNKNOWN, Standing.DOTTED}


# A persistent id is a line that begins with P, as sentences do, and asks a hook that plain unpicklers do not have.
_IDLE = frozenset(
    {
        Sight.ARRAY,
        Sight.CREDENTIAL,
        Sight.AMPLIFIED,
        Sight.STRADDLE,
        Sight.EXTENSION,
        Sight.GAP,
        Sight.PERSISTENT,
        Sight.OUTSIDE,
        Sight.INDEX,
        Sight.UNFOLLOWED,
    }
)


def _as_plain_pickle(source: RandomAccess, joblib: Trace, budget: Budget) -> Iterator[Fact | Finding | Member]:
    """What `pickle.load` would do with the bytes of the raw arrays, until it fails; that it does is no news."""
    trace = run(Cursor(source, joblib.start), budget, Dialect.PLAIN)
    behind = (e for e in trace.events if e.offset >= joblib.array)
    run_by_pickle = takewhile(lambda e: e.sight is not Sight.MALFORMED, behind)
    yield from told(source.name, [e for e in run_by_pickle if _acts(e)])
    yield from pieces_of(source, trace, budget)


def _with_memo(
    source: RandomAccess, start: int, budget: Budget, memo: dict[int, object]
) -> Iterator[Fact | Finding | Member]:
    """What a stream would do where one Unpickler reads all streams, and keeps the memo of those before.

    Streams that were not written for it make no sense then, so that only what is known to be dangerous counts.
    """
    trace = run(Cursor(source, start), budget, memo=memo)
    yield from told(source.name, [e for e in trace.events if _acts(e) and e.standing is Standing.DANGEROUS])
    yield from pieces_of(source, trace, budget)


def _worst(trace: Trace) -> Event | None:
    """The first of the worst calls, changes or imports; None where all are reviewed."""
    acts = [e for e in trace.events if e.sight in _ACTS and (e.standing or e.sight is Sight.TAMPER)]
    return max(acts, key=lambda e: (e.standing, e.sight is not Sight.IMPORT), default=None)


def _chain(source: RandomAccess, start: int, dialect: Dialect) -> str:
    return "\n".join(islice(explain(source, start, dialect).lines(), _LINES))


def _acts(event: Event) -> bool:
    if event.sight is Sight.IMPORT:
        return event.standing is Standing.DANGEROUS
    return event.sight in {Sight.CALL, Sight.TAMPER} and event.standing > Standing.MISUSED


def _search(source: RandomAccess, start: int, budget: Budget) -> Iterator[Fact | Finding]:
    """Streams in unexplained bytes that would act; what is no stream there stays unexplained."""
    tried = 0
    for base in range(start, min(source.size, start + _SEARCHED), _WINDOW):
        window = source.read_at(base, _WINDOW + _OVERLAP)
        for match in _STREAM.finditer(window):
            if match.start() >= _WINDOW or tried >= _CANDIDATES:
                break
            tried += 1
            trace = run(Cursor(source, base + match.start()), budget)
            yield from told(source.name, [e for e in trace.events if _acts(e)])


READER = PickleReader
