"""Walk a pickle stream, instruction by instruction.

After a broken instruction the walk goes on with an unknown value where the stream still has a meaning, for a loader has
by then run what stood before; an unknown instruction, or the end of the file, ends the stream. Where C and Python
unpicklers differ (an instruction that crosses its frame's end), the difference itself is an event.

Cost: one step an instruction; memory in proportion to instructions, not to the sizes they name.
"""

from __future__ import annotations

from fastness.core.errors import TooLarge
from fastness.models.scan.budget import Budget
from fastness.models.scan.cursor import WINDOW, Cursor, Truncated
from fastness.models.scan.machine.arrays import NotUnderstood, raw_array
from fastness.models.scan.machine.contents import Place
from fastness.models.scan.machine.effects import EFFECTS, Effect
from fastness.models.scan.machine.fast import LONGEST, Sprint, sprint
from fastness.models.scan.machine.machine import Machine, tell_held
from fastness.models.scan.machine.opcodes import OPCODES, PUSHING, Argument, BadArgument
from fastness.models.scan.machine.standing import catalogue
from fastness.models.scan.machine.trace import Dialect, Sight, Spent, Trace
from fastness.models.scan.machine.values import OPAQUE, Made, noted

BATCH = 1024
_STEPS: dict[int, tuple[str, Argument | None, Effect]] = {
    code: (name, argument, EFFECTS[name]) for code, (name, argument) in OPCODES.items()
}


def run(
    cursor: Cursor,
    budget: Budget,
    dialect: Dialect = Dialect.JOBLIB,
    depth: int = 0,
    memo: dict[int, object] | None = None,
    short: Sprint = sprint,
) -> Trace:
    """The trace of the stream at `cursor`, up to its STOP or to an instruction that no unpickler gets past.

    Args:
        cursor: left behind the last instruction.
        dialect: which library's loader reads it.
        depth: of streams within streams.
        memo: what an unpickler that read other streams before has kept of them; changed.
        short: takes the short steps; none of them changes what is found.

    Raises:
        Spent: the budget or the memory is spent.
    """
    machine = Machine(cursor, budget, catalogue(), dialect)
    machine.memo = {} if memo is None else memo
    return walk(machine, depth, short)


def walk(machine: Machine, depth: int, short: Sprint) -> Trace:
    """Let a machine that stands at the beginning of its stream go to the end.

    Raises:
        Spent: the budget or the memory is spent; what the machine held is given back.
    """
    trace = machine.trace
    try:
        _go(machine, depth, short)
    except (TooLarge, MemoryError) as spent:
        spent.__traceback__ = None  # its frames hold what the instruction had taken from the stack
        machine.stack.clear()
        machine.marks.clear()
        machine.memo.clear()
        if isinstance(spent, Spent):
            trace.events += spent.trace.events
        raise Spent(spent, trace) from None
    return trace


def _go(machine: Machine, depth: int, short: Sprint) -> None:
    cursor, budget, trace = machine.cursor, machine.budget, machine.trace
    budget.require("depth", depth)
    left = 0
    while not trace.stopped and trace.broken < 0:
        if left <= 0:
            budget.spend("opcodes", BATCH - left)
            left = BATCH
            budget.require("stack", len(machine.stack) + len(machine.memo))
        left -= _sprint(machine, left, short)
        machine.at = cursor.position
        _step(machine)
        if machine.frame_end >= 0:
            _check_frame(machine)
        if machine.wrapper is not None:
            wrapper, machine.wrapper = machine.wrapper, None
            _step_over(machine, wrapper, depth)
    trace.end = cursor.position
    tell_held(machine)


def _sprint(machine: Machine, most: int, short: Sprint) -> int:
    """Take short steps as long as they serve; how many instructions that were, and one for the long step behind."""
    cursor = machine.cursor
    position = cursor.position
    at = position - machine.window_at
    if not 0 <= at < len(machine.window) - LONGEST:
        machine.window, machine.window_at, at = cursor.peek(WINDOW), position, 0
    limit = len(machine.window) - LONGEST
    if machine.frame_end >= 0:
        limit = min(limit, machine.frame_end - machine.window_at)
    machine.limit, machine.ran = limit, 0
    behind, last, count = short(machine.window, at, machine, most)
    cursor.skip(behind - at)
    if machine.frame_end >= 0 and count:
        machine.at = machine.window_at + last
        machine.opcode = OPCODES[machine.window[last]][0]
        _check_frame(machine)
    return count + machine.ran + 1


def _step(machine: Machine) -> None:
    code = machine.cursor.byte()
    step = _STEPS.get(code)
    if step is None:
        _unknown(machine, code)
        return
    machine.opcode, read, effect = step
    try:
        effect(machine, read(machine.cursor) if read is not None else None)
    except Truncated:
        machine.give_up(Sight.TRUNCATED, f"the file ends within {machine.opcode}")
    except BadArgument as error:
        machine.stumble(str(error))
        if machine.opcode in PUSHING:
            machine.stack.append(OPAQUE)


def _unknown(machine: Machine, code: int) -> None:
    if code < 0:
        machine.opcode = ""
        machine.give_up(Sight.TRUNCATED, "the file ends without a STOP")
    else:
        machine.opcode = f"0x{code:02x}"
        machine.give_up(Sight.MALFORMED, f"byte 0x{code:02x} is no pickle instruction")


def _check_frame(machine: Machine) -> None:
    position = machine.cursor.position
    if position == machine.frame_end:
        machine.frame_end = -1
    elif position > machine.frame_end:
        machine.frame_end = -1
        machine.see(Sight.STRADDLE, "an instruction crosses the end of its frame")
    elif machine.trace.stopped or machine.wrapper is not None:
        machine.see(Sight.STRADDLE, "a frame goes on behind its last instruction")


def _step_over(machine: Machine, wrapper: Made, depth: int) -> None:
    """Pass over the raw array behind a joblib wrapper; the objects of an array are a stream of their own."""
    cursor, trace = machine.cursor, machine.trace
    if trace.array < 0:
        trace.array = cursor.position
    try:
        array = raw_array(wrapper, machine.budget)
        if not array.objects:
            if array.padded:
                cursor.skip(cursor.take(1)[0])
            wrapper.args = Place(cursor.position, array.size)
            cursor.skip(array.size)
            return
    except NotUnderstood as error:
        machine.give_up(Sight.MALFORMED, f"a raw array cannot be stepped over: {error}")
        return
    except Truncated:
        machine.give_up(Sight.TRUNCATED, "the file ends within a raw array")
        return
    inner = run(cursor, machine.budget, machine.dialect, depth + 1)
    trace.events += inner.events
    trace.pieces += inner.pieces
    wrapper.args = inner.result
    if isinstance(inner.result, Made) and inner.result.notes.columns:
        noted(wrapper).columns, noted(wrapper).categories = inner.result.notes.columns, inner.result.notes.categories
    if not inner.stopped:
        trace.broken = machine.at
