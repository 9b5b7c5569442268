"""A stream in plain words: what it calls, in order, with what, and where each callable came from.

The machine goes over the stream a second time, by long steps, and keeps notes. Texts from the file are masked and cut as
everywhere. The same bytes always give the same words.

Cost: bounded by `MOST_INSTRUCTIONS`, `MOST_STEPS` and a few lines for each; the stream itself may be of any length.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from fastness.core.errors import TooLarge
from fastness.core.sources import RandomAccess
from fastness.models.scan.budget import Budget, ScanSettings
from fastness.models.scan.credentials import credential_in
from fastness.models.scan.cursor import Cursor, Truncated
from fastness.models.scan.machine.machine import Machine
from fastness.models.scan.machine.opcodes import OPCODES, BadArgument
from fastness.models.scan.machine.run import walk
from fastness.models.scan.machine.standing import catalogue
from fastness.models.scan.machine.trace import Dialect, Sight
from fastness.models.scan.machine.values import BRACKETS, Global, Items, Made, Standing, opened, render

MOST_INSTRUCTIONS = 100_000
MOST_STEPS = 100
MOST_TEXT = 160
BEFORE, AFTER = 6, 2
_SETTINGS = ScanSettings(opcodes=MOST_INSTRUCTIONS, facts=2000, depth=4)
_TOLD = {
    Sight.TAMPER: "changes",
    Sight.UNRESOLVED: "imports",
    Sight.EXTENSION: "takes from the registry of extensions",
    Sight.CODE: "holds the code of",
}
_JUDGED = {
    Standing.REVIEWED: "",
    Standing.MISUSED: "known, but not used like this",
    Standing.UNKNOWN: "not reviewed",
    Standing.DOTTED: "a walk through attributes",
    Standing.COMPUTED: "computed, so that the file does not say what it is",
    Standing.DANGEROUS: "dangerous",
}


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction, as it is shown."""

    offset: int
    name: str
    argument: str


@dataclass(slots=True)
class Step:
    """One thing that loading does.

    Attributes:
        number: of the call, from 1 on; 0 for what is no call.
        what: the callable or object.
        arguments: rendered and masked; what earlier calls gave is named by their number.
        origin: where the callable came from.
        around: the instructions around it; empty where it is reviewed.
    """

    number: int
    offset: int
    opcode: str
    verb: str
    what: str
    arguments: str
    origin: str
    standing: Standing
    around: list[Instruction] = field(default_factory=list)

    def words(self) -> str:
        """The step as a sentence."""
        head = f"{self.number}. " if self.number else "-  "
        given = f"({self.arguments})" if self.number else ""
        judged = f"; {_JUDGED[self.standing]}" if _JUDGED[self.standing] else ""
        origin = f", {self.origin}" if self.origin else ""
        return f"{head}byte {self.offset}, {self.opcode}: {self.verb} {self.what}{given}{origin}{judged}"


@dataclass(frozen=True, slots=True)
class Explanation:
    """One stream.

    Attributes:
        start: offset of its first instruction.
        end: offset behind the last one that was read.
        steps: those that are kept: all that are not reviewed come before any that is.
        left_out: how many there were beside them.
        ending: how the stream ends.
    """

    start: int
    end: int
    steps: tuple[Step, ...]
    left_out: int
    ending: str

    def lines(self) -> Iterator[str]:
        """All of it for people, with the instructions around what is not reviewed."""
        yield f"The pickle at byte {self.start} does, in this order:"
        for step in self.steps:
            yield f"  {step.words()}"
            for one in step.around:
                mark = ">" if one.offset == step.offset else " "
                yield f"      {mark} {one.offset:>8}  {one.name:<16} {one.argument}".rstrip()
        if self.left_out:
            yield f"  and {self.left_out} more that are not shown."
        yield f"  {self.ending}"


def explain(source: RandomAccess, start: int = 0, dialect: Dialect = Dialect.JOBLIB) -> Explanation:
    """What the stream that begins at `start` does."""
    machine = _Telling(Cursor(source, start), Budget(_SETTINGS), dialect)
    try:
        trace = walk(machine, 0, machine.note)
        broken = trace.broken >= 0
        ending = f"It breaks at byte {trace.broken}." if broken else f"It ends at byte {trace.end}."
    except TooLarge as spent:
        ending = f"It goes on, but is not followed any further: {spent.message}."
    machine.finish()
    steps = sorted((machine.worse + machine.reviewed)[:MOST_STEPS], key=lambda step: step.offset)
    for step in steps:
        step.around = [_decoded(source, offset) for offset in machine.places.get(step.offset, ())]
    return Explanation(start, machine.cursor.position, tuple(steps), machine.seen - len(steps), ending)


class _Memo(dict[int, object]):
    """A memo that notes which of its entries a value was last taken from."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: dict[int, tuple[int, object]] = {}

    def get(self, key: int, default: object = None) -> object:
        value = super().get(key, default)
        if isinstance(value, Global | Made):
            self.taken[id(value)] = (key, value)
        return value


class _Telling(Machine):
    """A machine that takes notes of what it does.

    Attributes:
        worse: steps that are not reviewed; `reviewed` has the others, as far as there is room.
        places: by the offset of a step, those of the instructions around it.
        seen: how many steps there were.
    """

    def __init__(self, cursor: Cursor, budget: Budget, dialect: Dialect) -> None:
        super().__init__(cursor, budget, catalogue(), dialect)
        self.memo: dict[int, object] = _Memo()
        self.worse: list[Step] = []
        self.reviewed: list[Step] = []
        self.places: dict[int, list[int]] = {}
        self.seen = 0
        self._born: dict[int, tuple[str, object]] = {}
        self._calls = 0
        self._callee: object = None
        self._recent: deque[int] = deque(maxlen=BEFORE + 1)
        self._open: list[int] = []

    def note(self, window: bytes, at: int, machine: Machine, most: int) -> tuple[int, int, int]:
        """Takes no short step, but notes where the next instruction stands."""
        del window, machine, most
        position = self.cursor.position
        self._recent.append(position)
        for offset in self._open:
            self.places[offset].append(position)
        self._open = [offset for offset in self._open if len(self.places[offset]) < BEFORE + 1 + AFTER]
        return at, at, 0

    def finish(self) -> None:
        """Leave out the instructions that would stand behind the end."""
        for places in self.places.values():
            places[:] = [offset for offset in places if offset < self.cursor.end]

    def find(self, module: str, name: str) -> Global:
        """As the machine, and where it was imported."""
        value = super().find(module, name)
        self._bear(value, f"imported at byte {self.at}")
        return value

    def call(self, callee: object, args: object, *, new: bool = False) -> Made | Global:
        """As the machine, and which call it was."""
        self._callee = callee
        result = super().call(callee, args, new=new)
        self._bear(result, f"the result of call {self._calls}")
        return result

    def see(self, sight: Sight, name: str, standing: Standing = Standing.REVIEWED, args: object = None) -> bool:
        """As the machine, and as a step."""
        if sight is Sight.CALL:
            self._calls += 1
            self._tell(
                Step(
                    self._calls,
                    self.at,
                    self.opcode,
                    "calls",
                    _cut(name),
                    self._arguments(args),
                    self._origin(),
                    standing,
                )
            )
        elif sight is Sight.IMPORT and standing is not Standing.REVIEWED:
            self._tell(Step(0, self.at, self.opcode, "imports", _cut(name), "", "", standing))
        elif sight in _TOLD:
            self._tell(Step(0, self.at, self.opcode, _TOLD[sight], _cut(name), "", "", max(standing, Standing.MISUSED)))
        return super().see(sight, name, standing, args)

    def _tell(self, step: Step) -> None:
        self.seen += 1
        kept = self.reviewed if step.standing is Standing.REVIEWED else self.worse
        if len(self.worse) + (len(self.reviewed) if kept is self.reviewed else 0) >= MOST_STEPS:
            return
        kept.append(step)
        if kept is self.worse and step.offset not in self.places:
            self.places[step.offset] = list(self._recent)
            self._open.append(step.offset)

    def _bear(self, value: object, how: str) -> None:
        if len(self._born) < 10 * MOST_STEPS:
            self._born.setdefault(id(value), (how, value))  # the value is kept, so that no other gets its id

    def _origin(self) -> str:
        callee, self._callee = self._callee, None
        if callee is None:
            return ""
        how = self._born.get(id(callee), ("of unknown origin", None))[0]
        key = self.memo.taken.get(id(callee)) if isinstance(self.memo, _Memo) else None
        return f"{how}, taken from memo entry {key[0]}" if key else how

    def _arguments(self, args: object) -> str:
        if args is None:
            return ""
        text = self._shown(args, 4)
        return text[1:-1] if isinstance(args, Items) and args.kind == "tuple" else text

    def _shown(self, value: object, depth: int) -> str:
        value = opened(value)
        if isinstance(value, Made):
            return self._born.get(id(value), (f"a {_cut(value.maker)}", None))[0]
        if not isinstance(value, Items):
            return _cut(_leaf(value))
        if depth <= 0:
            return "..."
        left, right = BRACKETS.get(value.kind, ("{", "}"))
        inner = [self._shown(item, depth - 1) for item in value.kept[:6]]
        more = ["..."] if value.count > 6 else []
        return _cut(left + ", ".join(inner + more) + right)


def _leaf(value: object) -> str:
    if isinstance(value, str) and (kind := credential_in(value)):
        return f"<{kind}>"
    return ascii(value.path)[1:-1] if isinstance(value, Global) else render(value, 2)


def _cut(text: str) -> str:
    return text if len(text) <= MOST_TEXT else f"{text[: MOST_TEXT - 3]}..."


def _decoded(source: RandomAccess, offset: int) -> Instruction:
    cursor = Cursor(source, offset)
    code = cursor.byte()
    if code not in OPCODES:
        return Instruction(offset, f"0x{max(code, 0):02x}", "no instruction")
    name, read = OPCODES[code]
    try:
        argument = read(cursor) if read is not None else None
    except (Truncated, BadArgument):
        return Instruction(offset, name, "broken")
    if read is None:
        return Instruction(offset, name, "")
    shown = " ".join(_leaf(part) for part in argument) if isinstance(argument, tuple) else _leaf(argument)
    return Instruction(offset, name, _cut(shown))
