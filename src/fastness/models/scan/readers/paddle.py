"""PaddlePaddle: programs of the older kind (.pdmodel) and of the newer one (JSON), and joined parameters (.pdiparams).

Tells every operator; those that call Python, and those that read or write files, are on no list. Parameters must follow
each other without a gap. Pickles of states (.pdparams, .pdopt) are read as the pickles they are. Cost: one step a field
or operator; numbers are stepped over.

Source: PaddlePaddle 3.3.1, `framework.proto`, `dense_tensor_serialize.cc`, `pir/serialize_deserialize`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from fastness.core.findings import Rule, Severity
from fastness.core.sources import BytesSource, RandomAccess
from fastness.models.scan.budget import Budget, ScanSettings
from fastness.models.scan.credentials import SHORTEST, credential_in
from fastness.models.scan.cursor import Cursor, Truncated
from fastness.models.scan.decoded import Row, Walk, schema_of
from fastness.models.scan.events import Broken, Kind, json_events
from fastness.models.scan.facts import Fact, FactKind, Look, Told, found, span
from fastness.models.scan.payloads import search_payloads
from fastness.models.scan.protobuf import LENGTH, NotProtobuf, fields
from fastness.models.scan.rules import MAPS, undecided

MALFORMED = undecided(
    "paddle-malformed", "A PaddlePaddle file that is not understood",
    "What cannot be parsed cannot be vouched for.", "Fetch the file again, or export the model again.",
)  # fmt: skip
UNKNOWN_FIELD = Rule(
    "paddle-unknown-field", "A field that the format does not know", Severity.MEDIUM,
    "Bytes that no reader looks at can carry anything, or belong to a newer version of the format.",
    "Export the model again with a published version of its library.", MAPS,
)  # fmt: skip
BOUNDS = Rule(
    "paddle-bounds", "A parameter whose data does not fit its shape or its file", Severity.HIGH,
    "Runtimes have read beyond such data; a file that was cut short looks the same.",
    "Fetch the file again, or export the model again.", {**MAPS, "cwe": "CWE-1284"},
)  # fmt: skip

RULES: tuple[Rule, ...] = (MALFORMED, UNKNOWN_FIELD, BOUNDS)

_PIR = re.compile(rb'"magic"\s*:\s*"pir"')
_NAMED = "#"
"""The key under which operators, types and parts of programs have their names."""
_WIDTHS = {0: 1, 1: 2, 2: 4, 3: 8, 4: 2, 5: 4, 6: 8, 19: 8, 20: 1, 21: 1, 22: 2, 23: 8, 24: 16, 32: 1, 33: 1}
_LONGEST = 1 << 12
_OP = re.compile(r"[0-9]{1,2}\.([A-Za-z0-9_.]+)\Z")
_TYPE = re.compile(r"[0-9]{1,2}\.(?:a|t)_[a-z0-9_]+\Z")
_STRUCTURE = re.compile(r"(?:region|block)_[0-9]+\Z|p\Z")


@dataclass(frozen=True)
class PaddleReader:
    """Reads .pdmodel, .pdiparams and the JSON of programs."""

    name: ClassVar[str] = "paddle"
    suffixes: ClassVar[tuple[str, ...]] = (".pdmodel", ".pdiparams")

    def claims(self, look: Look) -> bool:
        """By the mark of a program in JSON, by the name, or by a first parameter's header: the format has no magic."""
        is_json = look.head.lstrip()[:1] == b"{"
        if is_json and _PIR.search(look.head):
            return True
        if look.named(".pdmodel"):
            return not is_json
        return _starts_a_program(look.head) or (look.named(".pdiparams") and not is_json)

    def read(self, source: RandomAccess, budget: Budget) -> Iterator[Told]:
        """Operators, credentials and faults.

        Raises:
            TooLarge: the budget is spent.
        """
        head = source.read_at(0, 4096)
        if head.lstrip()[:1] == b"{":
            yield from _json(source, budget)
        elif head[:4] == bytes(4):
            yield from _parameters(source, budget)
        else:
            yield from _program(source, budget)


def _program(source: RandomAccess, budget: Budget) -> Iterator[Told]:
    walk, operators = Walk(source, schema_of("paddle"), budget), dict[str, int]()
    blocks = 0
    try:
        for row in walk.rows():
            blocks += row.message == "BlockDesc"
            if row.message == "OpDesc":
                operators.setdefault(row.text("type"), row.at)
            yield from _credentials(source.name, row, budget)
    except NotProtobuf as error:
        yield found(MALFORMED, source.name, error.at, str(error))
        return
    for (message, number), at in walk.unknown.items():
        yield found(UNKNOWN_FIELD, source.name, at, f"field {number} of {message}")
    if walk.odd_numbers:
        yield found(UNKNOWN_FIELD, source.name, 0, f"{walk.odd_numbers} numbers in fields that are not known")
    for name, at in operators.items():
        budget.spend("facts")
        yield Fact(FactKind.OPERATOR, source.name, at, name, {"domain": "paddle", "local": 0})
    if not blocks:
        yield found(MALFORMED, source.name, 0, "a program without a block")
        return
    yield from search_payloads(source, 0, source.size, budget)
    yield span(source.name, 0, source.size)


def _credentials(name: str, row: Row, budget: Budget) -> Iterator[Fact]:
    for text in (text for texts in row.texts.values() for text in texts if len(text) >= SHORTEST):
        if kind := credential_in(text):
            budget.spend("facts")
            yield Fact(FactKind.CREDENTIAL, name, row.at, kind)


def _json(source: RandomAccess, budget: Budget) -> Iterator[Told]:
    """The operators of a program in JSON."""
    operators: dict[str, int] = {}
    try:
        for event in json_events(source, budget):
            if event.key == _NAMED and event.kind is Kind.TEXT:
                operators.setdefault(event.text, event.at)
    except Broken as broken:
        yield found(MALFORMED, source.name, broken.at, str(broken))
        return
    for name, at in operators.items():
        operator = _OP.match(name)
        if _TYPE.match(name) or _STRUCTURE.match(name):
            continue
        budget.spend("facts")
        shown = operator[1].rstrip("_") if operator else name
        yield Fact(FactKind.OPERATOR, source.name, at, shown, {"domain": "paddle", "local": 0})
    yield span(source.name, 0, source.size)


def _parameters(source: RandomAccess, budget: Budget) -> Iterator[Told]:
    cursor = Cursor(source)
    reached = 0
    try:
        while cursor.position < source.size:
            budget.spend("fields")
            _parameter(source, cursor, budget)
            reached = cursor.position
    except (Truncated, NotProtobuf) as error:
        rule = BOUNDS if reached or isinstance(error, Truncated) else MALFORMED
        yield found(rule, source.name, error.at, "a parameter's header or data is not whole")
        yield span(source.name, 0, source.size)
        return
    yield from search_payloads(source, 0, source.size, budget)
    yield span(source.name, 0, source.size)


def _parameter(source: RandomAccess, cursor: Cursor, budget: Budget) -> None:
    """Step over one parameter.

    Raises:
        Truncated: it is longer than the file.
        NotProtobuf: its header is none.
    """
    at = cursor.position
    if cursor.take(4) != bytes(4):
        raise NotProtobuf(at, "a version that is not known")
    levels = int.from_bytes(cursor.take(8), "little")
    for _ in range(levels):
        budget.spend("fields")
        cursor.skip(int.from_bytes(cursor.take(8), "little"))
    if cursor.take(4) != bytes(4):
        raise NotProtobuf(at, "a version that is not known")
    size = int.from_bytes(cursor.take(4), "little")
    if size > _LONGEST:
        raise NotProtobuf(at, "a header that is too long")
    start = cursor.position
    kind, dims = 0, list[int]()
    for row in Walk(source, schema_of("paddle_tensor"), budget, start, start + size).rows():
        kind = row.numbers.get("data_type", [-1])[-1]
        dims = row.numbers.get("dims", [])
    cursor.skip(size)
    if kind not in _WIDTHS or any(dim >> 62 for dim in dims):
        raise NotProtobuf(at, "an element type or a shape that is none")
    cursor.skip(math.prod(dims) * _WIDTHS[kind])


def _starts_a_program(head: bytes) -> bool:
    """Whether `head` begins with a block whose first fields are its numbers and a variable."""
    if head[:1] != b"\x0a":
        return False
    try:
        outer = next(fields(Cursor(BytesSource("", head)), 1 << 40, Budget(ScanSettings(fields=8))), None)
        if outer is None or outer.wire != LENGTH:
            return False
        numbers = []
        cursor = Cursor(BytesSource("", head), outer.start)
        for one in fields(cursor, outer.end, Budget(ScanSettings(fields=8))):
            numbers.append((one.number, one.wire))
            if one.end > len(head) or len(numbers) == 3:
                break
    except (NotProtobuf, Truncated):
        return False
    return numbers[:3] == [(1, 0), (2, 0), (3, LENGTH)]


READER = PaddleReader
