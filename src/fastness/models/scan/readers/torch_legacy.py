"""Torch's files from before its archives: five pickles behind each other, then the storages; and the records of its tars.

Every pickle is hostile: the first two are only numbers, and yet the loader runs whatever stands there. What lies behind the
last storage is unexplained, unless another such file begins there.

Misses: nothing known. Cost: the pickles, and one pass over the storages for programs that stand in them.

Source: torch 2.13, `torch/serialization.py`, `_legacy_save` and `_legacy_load` (whose `legacy_load` reads the tars).
"""

from __future__ import annotations

import struct
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import ClassVar

from fastness.core.findings import Finding, Rule
from fastness.core.sources import RandomAccess
from fastness.models.scan.budget import Budget
from fastness.models.scan.cursor import Cursor, Truncated
from fastness.models.scan.facts import Fact, Look, Member, Told, found, span
from fastness.models.scan.machine import OPCODES, Dialect, Sight, Spent, Storage, Trace, run
from fastness.models.scan.machine.opcodes import BadArgument
from fastness.models.scan.machine.persistent import width_of
from fastness.models.scan.payloads import search_payloads
from fastness.models.scan.readers.pickles import is_old_torch, pieces_of, told
from fastness.models.scan.readers.torch_pickle import sparse_problems
from fastness.models.scan.rules import undecided

STORAGES = undecided(
    "torch-legacy-storages", "Storages that do not fit the file",
    "What the pickles say of the storages and what stands there differ, so that bytes are left over or missing.",
    "Save the model again with torch.save, or as safetensors.",
)  # fmt: skip

RULES: tuple[Rule, ...] = (STORAGES,)

_PICKLES = 5
_WITHIN = 64
_LARGEST = 1 << 16
_KEYS = 16 << 20
_DIMENSIONS = 64


class _Unfit(ValueError):
    """The storages are not as they should be."""


@dataclass(frozen=True)
class TorchLegacyReader:
    """Reads files that torch saved without an archive."""

    name: ClassVar[str] = "torch-legacy"
    suffixes: ClassVar[tuple[str, ...]] = ()

    def claims(self, look: Look) -> bool:
        """By the magic number, which is the first pickle."""
        return is_old_torch(look.head)

    def read(self, source: RandomAccess, budget: Budget) -> Iterator[Told]:
        """What the pickles do, and where the storages are.

        Raises:
            TooLarge: the budget is spent.
        """
        cursor = Cursor(source)
        start = 0
        try:
            if source.name.endswith("!storages"):
                start = yield from _tar_storages(cursor, source, budget)
            elif source.name.endswith("!tensors"):
                start = yield from _tar_tensors(cursor, source, budget)
            else:
                while is_old_torch(cursor.peek(_WITHIN)):
                    start = yield from _file(cursor, source, budget)
        except (_Unfit, Truncated) as error:
            yield found(
                STORAGES, source.name, cursor.position, str(error) if isinstance(error, _Unfit) else "it ends early"
            )
        yield span(source.name, 0, start)


Reading = Generator[Fact | Finding | Member, None, int]


def _file(cursor: Cursor, source: RandomAccess, budget: Budget) -> Reading:
    """One saved object; where it ends."""
    storages: dict[str, Storage] = {}
    keys, places, sparse = cursor.position, dict[str, tuple[RandomAccess, int, int]](), list[tuple[int, object]]()
    for _ in range(_PICKLES):
        keys = cursor.position
        trace = yield from _pickle(cursor, source, budget)
        storages = trace.storages or storages
        sparse += trace.sparse
    for key in _texts(source, keys, cursor.position):
        storage = storages.get(key)
        (count,) = struct.unpack("<q", cursor.take(8))
        if storage is None or not storage.width or count != storage.count:
            raise _Unfit(f"storage {key[:40]!a} is not the one that the pickle names")
        places[key] = source, cursor.position, count * storage.width
        yield from _numbers(cursor, source, count * storage.width, budget)
    for offset, args in sparse:
        yield from sparse_problems(source.name, offset, args, lambda storage: places.get(storage.key), budget)
    return cursor.position


def _numbers(cursor: Cursor, source: RandomAccess, length: int, budget: Budget) -> Iterator[Fact]:
    """Step over numbers; what stands in them and has no business there is told."""
    start = cursor.position
    cursor.skip(length)
    yield from search_payloads(source, start, cursor.position, budget)


def _pickle(cursor: Cursor, source: RandomAccess, budget: Budget) -> Generator[Fact | Finding | Member, None, Trace]:
    """The trace of the next pickle.

    Raises:
        _Unfit: it is broken, so that no loader gets to what follows.
    """
    try:
        trace = run(cursor, budget, Dialect.TORCH)
    except Spent as spent:  # what stands before the bound is done by then
        yield from told(source.name, spent.trace.events)
        raise
    yield from told(source.name, trace.events)
    yield from pieces_of(source, trace, budget)
    if trace.broken >= 0:
        yield span(source.name, 0, trace.broken)
        raise _Unfit("a pickle is broken")
    return trace


def _texts(source: RandomAccess, start: int, stop: int) -> list[str]:
    """The texts in a pickle, in order, as they stand."""
    if stop - start > _KEYS:
        raise _Unfit("the list of storages is too long")
    cursor, texts = Cursor(source, start, stop), []
    while (code := cursor.byte()) >= 0:
        name, read = OPCODES[code]
        try:
            value = read(cursor) if read is not None else None
        except BadArgument as error:
            raise _Unfit("the list of storages is broken") from error
        if isinstance(value, str) and "UNICODE" in name:
            texts.append(value)
    return texts


def _number(source: RandomAccess, start: int, stop: int) -> int:
    """The only number that a pickle pushes."""
    cursor = Cursor(source, start, stop)
    numbers = []
    while (code := cursor.byte()) >= 0:
        name, read = OPCODES[code]
        try:
            value = read(cursor) if read is not None else None
        except BadArgument as error:
            raise _Unfit("a count is broken") from error
        if type(value) is int and ("INT" in name or "LONG" in name) and "PUT" not in name and "GET" not in name:
            numbers.append(value)
    if len(numbers) != 1 or not 0 <= numbers[0] <= _LARGEST:
        raise _Unfit("a count is not a small number")
    return numbers[0]


def _tar_storages(cursor: Cursor, source: RandomAccess, budget: Budget) -> Reading:
    """The member `storages` of a tar: a count, then pickles with the numbers behind each, then the views."""
    yield from _pickle(cursor, source, budget)
    for _ in range(_number(source, 0, cursor.position)):
        trace = yield from _pickle(cursor, source, budget)
        types = [width_of(event.name) for event in trace.events if event.sight is Sight.IMPORT]
        (count,) = struct.unpack("<q", cursor.take(8))
        if len(types) != 1 or not types[0] or count < 0:
            raise _Unfit("a storage has no type")
        yield from _numbers(cursor, source, count * types[0], budget)
    yield from _pickle(cursor, source, budget)
    return cursor.position


def _tar_tensors(cursor: Cursor, source: RandomAccess, budget: Budget) -> Reading:
    """The member `tensors` of a tar: a count, then pickles with the shape behind each."""
    yield from _pickle(cursor, source, budget)
    for _ in range(_number(source, 0, cursor.position)):
        yield from _pickle(cursor, source, budget)
        (dimensions,) = struct.unpack("<i", cursor.take(8)[:4])
        if not 0 <= dimensions <= _DIMENSIONS:
            raise _Unfit("a tensor has too many dimensions")
        cursor.skip(16 * dimensions + 8)
    return cursor.position


READER = TorchLegacyReader
