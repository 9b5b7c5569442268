"""The instructions that most streams are made of, in short: each does what its effect does where nothing is unusual.

A step takes the window, the index behind its code and the machine, and gives the index of the next instruction; or -1,
with nothing changed, where the long way has something to say. A property test holds the two ways against each other.

Cost: about a seventh of the long way.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

from fastness.models.scan.credentials import SHORTEST, credential_in
from fastness.models.scan.machine.arrays import DTYPES, WRAPPERS
from fastness.models.scan.machine.followed import is_followed
from fastness.models.scan.machine.machine import MEMO_GAP, Machine, arm, watch
from fastness.models.scan.machine.opcodes import OPCODES
from fastness.models.scan.machine.states import is_managed
from fastness.models.scan.machine.values import (
    ATOM_TYPES,
    KEPT_ITEMS,
    MARK,
    NUMBER,
    PLAIN,
    SHORT_BYTES,
    WATCHED,
    FrozenOf,
    Global,
    ListOf,
    Loader,
    Made,
    MapOf,
    Mark,
    Set_,
    TupleOf,
    share,
)

Step = Callable[[bytes, int, Machine], int]
Sprint = Callable[[bytes, int, Machine, int], tuple[int, int, int]]
LONGEST = 2 + 255
"""No instruction below is longer."""

_NUMBERS = re.compile(rb"(?:K.){8,}|(?:M..){8,}|(?:J.{4}){8,}|(?:G.{8}){8,}", re.DOTALL)
_PACKED = {code: struct.Struct(form) for code, form in ((75, "<xB"), (77, "<xH"), (74, "<xi"), (71, ">xd"))}
_MEMOIZE, _BINGET, _BININT1, _BINFLOAT = 0x94, ord("h"), ord("K"), ord("G")
_DOUBLE = struct.Struct(">d").unpack_from
_MANAGED = DTYPES | WRAPPERS
_TUPLES = frozenset({tuple, TupleOf})
_COMPOUND = frozenset({ListOf, TupleOf, MapOf, Set_, FrozenOf, Made, Mark, Loader})


def _slowly(window: bytes, at: int, m: Machine) -> int:
    del window, at, m
    return -1


def _none(window: bytes, at: int, m: Machine) -> int:
    del window
    m.stack.append(None)
    return at


def _true(window: bytes, at: int, m: Machine) -> int:
    del window
    m.stack.append(True)
    return at


def _false(window: bytes, at: int, m: Machine) -> int:
    del window
    m.stack.append(False)
    return at


def _byte(window: bytes, at: int, m: Machine) -> int:
    m.stack.append(window[at])
    return at + 1


def _two_bytes(window: bytes, at: int, m: Machine) -> int:
    m.stack.append(window[at] | window[at + 1] << 8)
    return at + 2


def _four_bytes(window: bytes, at: int, m: Machine) -> int:
    m.stack.append(int.from_bytes(window[at : at + 4], "little", signed=True))
    return at + 4


def _double(window: bytes, at: int, m: Machine) -> int:
    m.stack.append(_DOUBLE(window, at)[0])
    return at + 8


def _short_text(window: bytes, at: int, m: Machine) -> int:
    length = window[at]
    end = at + 1 + length
    if length >= SHORTEST:
        return _decoded(window, at + 1, end, m)
    try:
        text = window[at + 1 : end].decode()
    except UnicodeDecodeError:
        return -1
    if text in WATCHED:
        m.armable = True
    m.stack.append(text)
    if window[end] == _MEMOIZE and end < m.limit:
        m.memo[len(m.memo)] = text
        return end + 1
    return end


def _text(window: bytes, at: int, m: Machine) -> int:
    length = int.from_bytes(window[at : at + 4], "little")
    return _decoded(window, at + 4, at + 4 + length, m) if length < 250 else -1


def _decoded(window: bytes, at: int, end: int, m: Machine) -> int:
    try:
        text = window[at:end].decode()
    except UnicodeDecodeError:
        return -1
    if text in WATCHED or (end - at >= SHORTEST and credential_in(text)):
        return -1
    m.stack.append(text)
    return end


def _short_bytes(window: bytes, at: int, m: Machine) -> int:
    if window[at] > SHORT_BYTES:
        return -1
    end = at + 1 + window[at]
    m.stack.append(window[at + 1 : end])
    return end


def _memoize(window: bytes, at: int, m: Machine) -> int:
    del window
    stack, memo = m.stack, m.memo
    if not stack or stack[-1] is MARK:
        return -1
    memo[len(memo)] = stack[-1]
    return at


def _put(window: bytes, at: int, m: Machine) -> int:
    return _kept(window[at], at + 1, m)


def _long_put(window: bytes, at: int, m: Machine) -> int:
    return _kept(int.from_bytes(window[at : at + 4], "little"), at + 4, m)


def _kept(key: int, end: int, m: Machine) -> int:
    stack, memo = m.stack, m.memo
    if not stack or stack[-1] is MARK or key > 2 * len(memo) + MEMO_GAP:
        return -1
    memo[key] = stack[-1]
    return end


def _get(window: bytes, at: int, m: Machine) -> int:
    try:
        value = m.memo[window[at]]
    except KeyError:
        return -1
    if value.__class__ is Loader:
        return -1
    if value.__class__ in _COMPOUND:
        share(value)  # type: ignore[arg-type]  # the set says what it is, for less than isinstance
    m.stack.append(value)
    return at + 1


def _long_get(window: bytes, at: int, m: Machine) -> int:
    try:
        value = m.memo[int.from_bytes(window[at : at + 4], "little")]
    except KeyError:
        return -1
    if value.__class__ is Loader:
        return -1
    if value.__class__ in _COMPOUND:
        share(value)  # type: ignore[arg-type]  # as above
    m.stack.append(value)
    return at + 4


def _empty_list(window: bytes, at: int, m: Machine) -> int:
    value = ListOf()
    m.stack.append(value)
    if window[at] == _MEMOIZE and at < m.limit:
        m.memo[len(m.memo)] = value
        return at + 1
    return at


def _empty_tuple(window: bytes, at: int, m: Machine) -> int:
    del window
    m.stack.append(())
    return at


def _empty_dict(window: bytes, at: int, m: Machine) -> int:
    value = MapOf()
    m.stack.append(value)
    if window[at] == _MEMOIZE and at < m.limit:
        m.memo[len(m.memo)] = value
        return at + 1
    return at


def _empty_set(window: bytes, at: int, m: Machine) -> int:
    value = Set_()
    m.stack.append(value)
    if window[at] == _MEMOIZE and at < m.limit:
        m.memo[len(m.memo)] = value
        return at + 1
    return at


def _mark(window: bytes, at: int, m: Machine) -> int:
    stack = m.stack
    m.marks.append(len(stack))
    stack.append(MARK)
    number = _PACKED.get(window[at])
    while number and not m.counting and _many(window, at, number.size) and (run := _NUMBERS.match(window, at, m.limit)):
        end = run.end()
        some = min(end, at + KEPT_ITEMS * number.size)  # a container keeps no more
        stack += [value for (value,) in number.iter_unpack(window[at:some])]
        stack += [NUMBER] * ((end - some) // number.size)
        m.ran += (end - at) // number.size
        at = end
        number = _PACKED.get(window[at])
    return at


def _many(window: bytes, at: int, size: int) -> bool:
    """Whether it looks as if a row of numbers of one kind begins here."""
    code = window[at]
    return window[at + size] == code == window[at + 4 * size] and window[at + 8 * size] == code


def _tuple(window: bytes, at: int, m: Machine) -> int:
    return _tuple_made(window, at, m, m.pop_mark()) if m.marks else -1


def _tuple_made(window: bytes, at: int, m: Machine, items: list[object]) -> int:
    value: tuple[object, ...] | TupleOf
    if len(items) <= KEPT_ITEMS and ATOM_TYPES.issuperset(map(type, items)):
        value = tuple(items)
    else:
        value = TupleOf()
        value.extend(items)
        if value.notes is not PLAIN:
            watch(m, value)
    m.stack.append(value)
    if window[at] == _MEMOIZE and at < m.limit:
        m.memo[len(m.memo)] = value
        return at + 1
    return at


def _tuple_of(length: int) -> Step:
    def step(window: bytes, at: int, m: Machine) -> int:
        stack, marks = m.stack, m.marks
        first = len(stack) - length
        if first < 0 or (marks and marks[-1] >= first):
            return -1
        items = stack[first:]
        del stack[first:]
        return _tuple_made(window, at, m, items)

    return step


def _append(window: bytes, at: int, m: Machine) -> int:
    del window
    stack = m.stack
    if m.counting or len(stack) < 2 or type(stack[-2]) is not ListOf or stack[-1] is MARK:
        return -1
    target = stack[-2]
    target.extend([stack.pop()])
    if target.notes is not PLAIN:
        watch(m, target)
    return at


def _appends(window: bytes, at: int, m: Machine) -> int:
    del window
    stack, marks = m.stack, m.marks
    if m.counting or not marks or not marks[-1]:
        return -1
    target = stack[marks[-1] - 1]
    if type(target) is not ListOf:
        return -1
    target.extend(m.pop_mark())
    if target.notes is not PLAIN:
        watch(m, target)
    return at


def _setitem(window: bytes, at: int, m: Machine) -> int:
    del window
    stack = m.stack
    if m.counting or len(stack) < 3 or type(stack[-3]) is not MapOf or stack[-3].notes.sealed:
        return -1
    if m.marks and m.marks[-1] >= len(stack) - 2:
        return -1
    target = stack[-3]
    items = stack[-2:]
    del stack[-2:]
    target.extend(items)
    if m.armable:
        arm(m, target, items)
    if target.notes is not PLAIN:
        watch(m, target)
    return at


def _setitems(window: bytes, at: int, m: Machine) -> int:
    del window
    stack, marks = m.stack, m.marks
    if m.counting or not marks or not (mark := marks[-1]) or not (len(stack) - mark) % 2:
        return -1
    target = stack[mark - 1]
    if type(target) is not MapOf or target.notes.sealed:
        return -1
    del marks[-1]
    items = stack[mark + 1 :]
    del stack[mark:]
    target.extend(items)
    if m.armable:
        arm(m, target, items)
    if target.notes is not PLAIN:
        watch(m, target)
    return at


def _newobj(window: bytes, at: int, m: Machine) -> int:
    del window
    stack = m.stack
    if len(stack) < 2 or type(stack[-1]) not in _TUPLES:
        return -1
    kind = stack[-2]
    if type(kind) is not Global or kind.settled is None:
        return -1
    del stack[-1]
    stack[-1] = Made(kind.path, kind.settled)
    return at


def _build(window: bytes, at: int, m: Machine) -> int:
    del window
    stack = m.stack
    if len(stack) < 2 or type(stack[-1]) is not MapOf or type(stack[-2]) is not Made:
        return -1
    target = stack[-2]
    if (
        stack[-1].notes.armed
        or target.notes.armed
        or target.walked
        or target.maker in _MANAGED
        or is_managed(target.maker)
        or is_followed(target.maker)
    ):
        return -1
    del stack[-1]
    return at


def _dup(window: bytes, at: int, m: Machine) -> int:
    del window
    stack = m.stack
    if not stack or stack[-1].__class__ in _COMPOUND:
        return -1
    stack.append(stack[-1])
    return at


def _pop(window: bytes, at: int, m: Machine) -> int:
    del window
    if not m.stack or m.stack[-1] is MARK:
        return -1
    del m.stack[-1]
    return at


_STEPS: dict[str, Step] = {
    "DUP": _dup,
    "POP": _pop,
    "NONE": _none,
    "NEWTRUE": _true,
    "NEWFALSE": _false,
    "BININT1": _byte,
    "BININT2": _two_bytes,
    "BININT": _four_bytes,
    "BINFLOAT": _double,
    "SHORT_BINUNICODE": _short_text,
    "BINUNICODE": _text,
    "SHORT_BINBYTES": _short_bytes,
    "MEMOIZE": _memoize,
    "BINPUT": _put,
    "LONG_BINPUT": _long_put,
    "BINGET": _get,
    "LONG_BINGET": _long_get,
    "EMPTY_LIST": _empty_list,
    "EMPTY_TUPLE": _empty_tuple,
    "EMPTY_DICT": _empty_dict,
    "EMPTY_SET": _empty_set,
    "MARK": _mark,
    "TUPLE": _tuple,
    "TUPLE1": _tuple_of(1),
    "TUPLE2": _tuple_of(2),
    "TUPLE3": _tuple_of(3),
    "APPEND": _append,
    "APPENDS": _appends,
    "SETITEM": _setitem,
    "SETITEMS": _setitems,
    "NEWOBJ": _newobj,
    "BUILD": _build,
}
FAST: tuple[Step, ...] = tuple(
    _STEPS.get(OPCODES[code][0], _slowly) if code in OPCODES else _slowly for code in range(256)
)


def sprint(window: bytes, at: int, m: Machine, most: int) -> tuple[int, int, int]:
    """Take short steps from index `at` on, up to the machine's limit; what stops it has changed nothing.

    The three commonest instructions stand here again, without a call.

    Args:
        most: steps at most.

    Returns:
        The index of the next instruction, that of the last one taken, and how many were taken.
    """
    fast, limit, last, count = FAST, m.limit, at, 0
    stack, memo = m.stack, m.memo
    while at < limit and count < most:
        code = window[at]
        count += 1
        if code == _BINGET:
            value = memo.get(window[at + 1], MARK)
            if value.__class__ not in _COMPOUND:
                stack.append(value)
                last, at = at, at + 2
                continue
        elif code == _BININT1:
            stack.append(window[at + 1])
            last, at = at, at + 2
            continue
        elif code == _BINFLOAT:
            stack.append(_DOUBLE(window, at + 1)[0])
            last, at = at, at + 9
            continue
        found = fast[code](window, at + 1, m)
        if found < 0:
            return at, last, count - 1
        last, at = at, found
    return at, last, count
