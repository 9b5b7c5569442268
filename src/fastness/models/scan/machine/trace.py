"""What one run of the pickle machine saw."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from fastness.core.errors import TooLarge
from fastness.models.scan.budget import Budget
from fastness.models.scan.machine.persistent import Storage
from fastness.models.scan.machine.values import Standing, Text, render

SHOWN_PER_NAME = 16


class Sight(StrEnum):
    """The kinds of event."""

    IMPORT = "import"
    CALL = "call"
    TAMPER = "tamper"
    UNRESOLVED = "unresolved"
    EXTENSION = "extension"
    PERSISTENT = "persistent"
    OUTSIDE = "outside"
    STRADDLE = "straddle"
    MALFORMED = "malformed"
    TRUNCATED = "truncated"
    ARRAY = "array"
    AMPLIFIED = "amplified"
    CREDENTIAL = "credential"
    CODE = "code"
    GAP = "gap"
    NAMED = "named"
    INDEX = "index"
    UNFOLLOWED = "unfollowed"


class Dialect(StrEnum):
    """Which library's loader reads the stream, beyond what every unpickler does."""

    PLAIN = "plain"
    """None: nothing but instructions stands in it."""
    JOBLIB = "joblib"
    """Raw arrays stand behind joblib's wrappers."""
    TORCH = "torch"
    """Persistent ids of torch's forms name storages."""


@dataclass(slots=True)
class Event:
    """One thing seen, at the offset of its instruction.

    Attributes:
        name: of what is imported, called or changed; or a description.
        opcode: name of the instruction.
        arguments: rendered and masked.
    """

    sight: Sight
    offset: int
    name: str
    opcode: str = ""
    standing: Standing = Standing.REVIEWED
    arguments: str = ""


@dataclass(slots=True)
class Trace:
    """The events of one stream, in order, each kind of thing a bounded number of times.

    Attributes:
        start: offset of the first instruction.
        end: offset behind the last instruction read.
        stopped: whether a STOP was reached.
        broken: offset of the instruction that no unpickler gets past, or -1.
        array: offset of the first raw array stepped over, or -1.
        storages: those that torch's persistent ids ask for, by key, each once.
        pieces: bytes that are read as a model of their own; as a text where pickle writes them so.
        result: what it returns.
        sparse: offset and arguments of calls that make sparse tensors, whose indices are in storages.
        conflicts: key and offset where one is described otherwise than before; the first few.
    """

    start: int
    budget: Budget
    end: int = 0
    stopped: bool = False
    broken: int = -1
    array: int = -1
    events: list[Event] = field(default_factory=list)
    storages: dict[str, Storage] = field(default_factory=dict)
    conflicts: list[tuple[str, int]] = field(default_factory=list)
    pieces: list[Text] = field(default_factory=list)
    result: object = None
    sparse: list[tuple[int, object]] = field(default_factory=list)
    _times: dict[tuple[Sight, str, Standing], int] = field(default_factory=dict)

    def ask(self, storage: Storage) -> None:
        """Record that a storage is asked for.

        Raises:
            TooLarge: too many different ones.
        """
        known = self.storages.setdefault(storage.key, storage)
        if (known.type, known.count) != (storage.type, storage.count) and len(self.conflicts) < SHOWN_PER_NAME:
            self.conflicts.append((storage.key, storage.offset))
        self.budget.require("members", len(self.storages))

    def see(
        self,
        sight: Sight,
        offset: int,
        name: str,
        opcode: str = "",
        standing: Standing = Standing.REVIEWED,
        args: object = None,
    ) -> bool:
        """Record an event, unless the same was recorded often enough; whether it was not.

        What is told apart is what a judgement depends on: kind, name and standing; calls with other arguments only
        add examples.

        Raises:
            TooLarge: too many different things.
        """
        key = (sight, name, standing)
        times = self._times.get(key, 0)
        if times >= (1 if standing is Standing.REVIEWED and sight in {Sight.IMPORT, Sight.CALL} else SHOWN_PER_NAME):
            return False
        if not times:
            self.budget.spend("facts")
        self._times[key] = times + 1
        arguments = "" if args is None else render(args)
        self.events.append(Event(sight, offset, name, opcode, standing, arguments))
        return True


class Spent(TooLarge):
    """The budget, or the memory, was spent before the stream ended: with what was seen by then, which counts all the same."""

    def __init__(self, spent: TooLarge | MemoryError, trace: Trace) -> None:
        if isinstance(spent, TooLarge):
            super().__init__(spent.code, spent.message, spent.hint)
        else:
            super().__init__("scan-memory", "the memory that a scan may take is full")
        self.trace = trace
