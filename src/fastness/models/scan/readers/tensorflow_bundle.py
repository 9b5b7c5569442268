"""TensorFlow's checkpoints: the index of a bundle, a sorted table of names, and the text file that names the latest one.

The index says where each tensor stands in the files of numbers beside it; those are read as numbers.

Misses: the numbers. Cost: one step an entry.

Source: tensorflow 2.21, `core/lib/io/table_format.txt`, `core/protobuf/tensor_bundle.proto`,
`python/checkpoint/checkpoint_state.proto`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from fastness.core.findings import Rule, Severity
from fastness.core.sources import BytesSource, RandomAccess
from fastness.models.scan.budget import Budget
from fastness.models.scan.cursor import Cursor
from fastness.models.scan.facts import Fact, FactKind, Look, Told, found, span
from fastness.models.scan.payloads import search_payloads
from fastness.models.scan.protobuf import LENGTH, VARINT, NotProtobuf, fields
from fastness.models.scan.rules import MAPS, undecided
from fastness.models.scan.tensorflow_schema import schema

MALFORMED = undecided(
    "tensorflow-index-malformed", "The index of a TensorFlow checkpoint that is not understood",
    "What cannot be parsed cannot be vouched for.", "Save the checkpoint again.",
)  # fmt: skip
UNKNOWN_FIELD = Rule(
    "tensorflow-index-field", "A field of a checkpoint's index that TensorFlow does not know", Severity.MEDIUM,
    "Bytes that no reader looks at can carry anything.", "Save the checkpoint again.", MAPS,
)  # fmt: skip
BLANK = Rule(
    "tensorflow-index-blank", "The index of a checkpoint holds nothing but zeros", Severity.LOW,
    "It names no tensors, and no library opens it.", "Save the model again if it has variables.", MAPS,
)  # fmt: skip

ELSEWHERE = Rule(
    "tensorflow-checkpoint-path", "The latest checkpoint is named by a path of another machine", Severity.LOW,
    "Restoring reads what lies at that path, which need not be what lies beside the file.",
    "Write the name alone: relative paths are those beside the file.", {**MAPS, "cwe": "CWE-73"},
)  # fmt: skip

RULES: tuple[Rule, ...] = (MALFORMED, UNKNOWN_FIELD, BLANK, ELSEWHERE)

MAGIC = bytes.fromhex("57fb808b247547db")
_FOOTER = 48
_OWN_PATH = re.compile(r"(?:/|[A-Za-z]:[/\\])(?!.*\.\.)")
_TRAILER = 5
_STATE = re.compile(
    rb"\s*+(?:(?:(?:model_checkpoint_path|all_model_checkpoint_paths)\s*+:\s*+\"(?:[^\"\\\n]|\\.)*+\""
    rb"|(?:all_model_checkpoint_timestamps|last_preserved_timestamp)\s*+:\s*+[-+0-9.eE]++|#[^\n]*+)\s*+)*+"
)
_LATEST = re.compile(rb"^\s*model_checkpoint_path\s*:\s*\"((?:[^\"\\\n]|\\.)*)\"", re.MULTILINE)


class _Wrong(Exception):
    """The index is broken at `at`."""

    def __init__(self, at: int, problem: str) -> None:
        super().__init__(problem)
        self.at = at


@dataclass(frozen=True)
class TensorflowBundleReader:
    """Reads variables.index, *.ckpt.index and `checkpoint` files."""

    name: ClassVar[str] = "tensorflow-bundle"
    suffixes: ClassVar[tuple[str, ...]] = ()

    def claims(self, look: Look) -> bool:
        """By the magic at the end, or by the first word of a checkpoint's state."""
        return look.tail[-8:] == MAGIC or look.head.startswith(b"model_checkpoint_path")

    def read(self, source: RandomAccess, budget: Budget) -> Iterator[Told]:
        """References, faults and the spans.

        Raises:
            TooLarge: the budget is spent.
        """
        budget.require("header_bytes", source.size)
        data = source.read_at(0, source.size)
        if data[-8:] == MAGIC:
            yield from _index(data, source.name, budget)
            yield from search_payloads(source, 0, source.size, budget)
        elif data.lstrip().startswith(b"model_checkpoint_path"):
            yield from _state(data, source.name)
        elif not data.strip(b"\0"):
            yield found(BLANK, source.name, 0, f"{len(data)} zeros")
            yield span(source.name, 0, len(data))


def _state(data: bytes, name: str) -> Iterator[Told]:
    """The text file that names the latest checkpoint; older ones that it lists may be gone."""
    if _STATE.fullmatch(data) is None:
        yield found(MALFORMED, name, 0, "no state of a checkpoint")
        return
    for match in _LATEST.finditer(data):
        location = match[1].decode("utf-8", "replace")
        if _OWN_PATH.match(location):  # what TensorFlow writes where it was told an absolute path to save to
            yield found(ELSEWHERE, name, match.start(1), f"the latest checkpoint is {location[:120]!a}")
        else:
            yield Fact(FactKind.REFERENCE, name, match.start(1), f"{location}.index")
    yield span(name, 0, len(data))


def _index(data: bytes, name: str, budget: Budget) -> Iterator[Told]:
    table = _Table(data, name, budget)
    try:
        table.walk()
    except _Wrong as wrong:
        yield found(MALFORMED, name, wrong.at, str(wrong))
        return
    for kind, number in sorted(table.unknown):
        yield found(UNKNOWN_FIELD, name, 0, f"field {number} of {kind}")
    for start, end in table.blocks:
        yield span(name, start, end - start)
    yield span(name, len(data) - _FOOTER, _FOOTER)


@dataclass(slots=True)
class _Table:
    """One table: blocks of keys that share their beginnings, an index of blocks, and a footer."""

    data: bytes
    name: str
    budget: Budget
    blocks: list[tuple[int, int]] = field(default_factory=list)
    unknown: set[tuple[str, int]] = field(default_factory=set)
    shards: int = -1

    def walk(self) -> None:
        end = len(self.data) - _FOOTER
        if end < 0:
            raise _Wrong(0, "the table is shorter than its footer")
        at, meta = self._handle(end)
        _, index = self._handle(at)
        for _, _ in self._entries(*meta):
            pass
        for _, (start, stop) in list(self._entries(*index)):
            _, block = self._handle(start, stop)
            for key, (first, last) in list(self._entries(*block)):
                self._entry(key, first, last)
        if self.shards < 0:
            raise _Wrong(0, "a table without a header")

    def _entry(self, key: bytes, start: int, end: int) -> None:
        """One tensor, or under the empty name the header."""
        kind = "BundleEntryProto" if key else "BundleHeaderProto"
        known = schema()[kind]
        if not key:
            self.shards = 1
        try:
            for one in fields(Cursor(BytesSource("", self.data), start), end, self.budget):
                if one.number not in known:
                    self.unknown.add((kind, one.number))
                elif one.wire not in {VARINT, LENGTH, 5}:
                    raise _Wrong(one.offset, f"field {one.number} of {kind} has wire type {one.wire}")
        except NotProtobuf as error:
            raise _Wrong(error.at, str(error)) from error

    def _entries(self, start: int, size: int) -> Iterator[tuple[bytes, tuple[int, int]]]:
        """Key and place of the value of each entry of a block, whose bytes are then accounted for."""
        end = start + size
        if end + _TRAILER > len(self.data) - _FOOTER or size < 4:
            raise _Wrong(min(start, len(self.data)), "a block reaches beyond the table")
        if self.data[end]:
            raise _Wrong(end, "a block that is compressed")
        self.blocks.append((start, end + _TRAILER))
        restarts = int.from_bytes(self.data[end - 4 : end], "little")
        last = end - 4 - 4 * restarts
        if last < start:
            raise _Wrong(start, "a block of more restarts than it has room for")
        at, key = start, b""
        while at < last:
            self.budget.spend("fields")
            at, shared = self._varint(at, last)
            at, own = self._varint(at, last)
            at, length = self._varint(at, last)
            if shared > len(key) or at + own + length > last:
                raise _Wrong(at, "an entry reaches beyond its block")
            key = key[:shared] + self.data[at : at + own]
            yield key, (at + own, at + own + length)
            at += own + length

    def _handle(self, at: int, end: int | None = None) -> tuple[int, tuple[int, int]]:
        """Where a block stands, and its size."""
        end = len(self.data) if end is None else end
        at, start = self._varint(at, end)
        at, size = self._varint(at, end)
        return at, (start, size)

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        value = 0
        for shift in range(0, 70, 7):
            if at >= end:
                break
            byte = self.data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return at, value
        raise _Wrong(at, "a number that does not end")


READER = TensorflowBundleReader
