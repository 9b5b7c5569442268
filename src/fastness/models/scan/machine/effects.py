"""What each pickle instruction does to the machine."""

from __future__ import annotations

from collections.abc import Callable

from fastness.models.scan.credentials import SHORTEST, credential_in
from fastness.models.scan.machine.machine import MEMO_GAP, SET_DTYPE, SHORT_NAME, Machine, arm, tally, watch
from fastness.models.scan.machine.persistent import Source, made, of_torch
from fastness.models.scan.machine.trace import Dialect, Sight
from fastness.models.scan.machine.values import (
    MARK,
    OPAQUE,
    WATCHED,
    Global,
    Items,
    Loader,
    Made,
    MapOf,
    Standing,
    Text,
    container,
    put_into,
    share,
)

HIGHEST_PROTOCOL = 5
Effect = Callable[[Machine, object], None]


def _constant(value: object) -> Effect:
    return lambda m, _: m.stack.append(value)


def _literal(m: Machine, argument: object) -> None:
    m.stack.append(argument)


def _text(m: Machine, argument: object) -> None:
    m.stack.append(argument)
    text = argument.head if isinstance(argument, Text) else argument
    if text in WATCHED:
        m.armable = True
    if isinstance(text, str) and len(text) >= SHORTEST and (kind := credential_in(text)):
        m.see(Sight.CREDENTIAL, kind)


def _empty(kind: str) -> Effect:
    return lambda m, _: m.stack.append(container(kind))


def _marked(kind: str) -> Effect:
    def effect(m: Machine, _: object) -> None:
        _push_items(m, kind, m.pop_mark())

    return effect


def _tuple(length: int) -> Effect:
    def effect(m: Machine, _: object) -> None:
        items = [m.pop() for _ in range(length)]
        _push_items(m, "tuple", items[::-1])

    return effect


def _push_items(m: Machine, kind: str, items: list[object]) -> None:
    value = container(kind, items)
    watch(m, value)
    m.stack.append(value)


def _put_in(m: Machine, target: object, items: list[object], kinds: tuple[str, ...], methods: tuple[str, ...]) -> None:
    """APPEND, SETITEM and their like: a method of the target is called with each of `items`.

    Args:
        kinds: of plain containers that take them.
        methods: names by which the method is looked up on other objects.
    """
    last = items[-1] if items else None
    if isinstance(target, Items):
        if target.kind not in kinds:
            _put_elsewhere(m, target, items)
        if target.notes.sealed:
            m.see(Sight.CALL, SET_DTYPE, Standing.DANGEROUS, "the fields of a type in use")
        if m.counting:
            tally(m, target, items)
        target.extend(items)
        if m.armable:
            _arm(m, target, items)
        watch(m, target)
    elif isinstance(target, Global):
        m.see(Sight.TAMPER, target.path, target.standing, last)
    elif isinstance(target, Made):
        for name in methods:
            m.called_attribute(target, name, last)
        put_into(target, items)
        watch(m, target)
    elif target is not OPAQUE:
        _put_elsewhere(m, target.head if isinstance(target, Text) else target, items)


def _put_elsewhere(m: Machine, target: object, items: list[object]) -> None:
    """Into what is no container: bytes may be those of a bytearray, which takes items, and without any C does not look."""
    if isinstance(target, bytes) and items:
        m.see(Sight.UNFOLLOWED, "bytes are changed after they were made")
    elif items:
        m.stumble(f"fills a {target.kind if isinstance(target, Items) else 'value that is no container'}")


def _append(m: Machine, _: object) -> None:
    item = m.pop()
    _put_in(m, m.top(), [item], ("list",), ("append", "extend"))


def _appends(m: Machine, _: object) -> None:
    items = m.pop_mark()
    _put_in(m, m.top(), items, ("list",), ("append", "extend"))


def _additems(m: Machine, _: object) -> None:
    items = m.pop_mark()
    _put_in(m, m.top(), items, ("set",), ("add", "update"))


def _setitem(m: Machine, _: object) -> None:
    value, key = m.pop(), m.pop()
    _put_in(m, m.top(), [key, value], ("dict", "list"), ())


def _setitems(m: Machine, _: object) -> None:
    items = m.pop_mark()
    if len(items) % 2:
        m.stumble("sets an odd number of keys and values")
    _put_in(m, m.top(), items, ("dict", "list"), ())


def _dict(m: Machine, _: object) -> None:
    items = m.pop_mark()
    if len(items) % 2:
        m.stumble("makes a dict of an odd number of keys and values")
    counted = items if m.counting else []
    _push_items(m, "dict", items)
    made = m.stack[-1]
    if isinstance(made, MapOf):
        if counted:
            tally(m, made, counted)
        if m.armable:
            arm(m, made, items)


def _arm(m: Machine, target: object, items: list[object]) -> None:
    if isinstance(target, MapOf):
        arm(m, target, items)


def _pop(m: Machine, _: object) -> None:
    if m.stack:
        if m.stack.pop() is MARK:  # as in CPython
            m.marks.pop()
    else:
        m.stumble("takes a value from an empty stack")


def _dup(m: Machine, _: object) -> None:
    m.stack.append(_shared(m.top()))


def _shared(value: object) -> object:
    if isinstance(value, Items | Made):
        share(value)
    elif isinstance(value, Loader):
        value.pushed += 1
    return value


def _mark(m: Machine, _: object) -> None:
    m.marks.append(len(m.stack))
    m.stack.append(MARK)


def _pop_mark(m: Machine, _: object) -> None:
    m.pop_mark()


def _get(m: Machine, argument: object) -> None:
    key = _key(m, argument)
    if key not in m.memo:
        m.stumble("reads a memo entry that was never written")
    m.stack.append(_shared(m.memo.get(key, OPAQUE)))


def _put(m: Machine, argument: object) -> None:
    key = _key(m, argument)
    if key > 2 * len(m.memo) + MEMO_GAP:
        m.see(Sight.GAP, f"entry {key} of a memo of {len(m.memo)}")
    m.memo[key] = m.top()


def _key(m: Machine, argument: object) -> int:
    if isinstance(argument, int) and argument >= 0:
        return argument
    m.stumble("names a negative memo entry")
    return -1


def _memoize(m: Machine, _: object) -> None:
    m.memo[len(m.memo)] = m.top()


def _extension(m: Machine, argument: object) -> None:
    if isinstance(argument, int) and argument > 0:
        m.see(Sight.EXTENSION, f"code {argument}")
    else:
        m.stumble("names an extension that no registry can hold")
    m.stack.append(OPAQUE)


def _global(m: Machine, argument: object) -> None:
    module, name = argument if isinstance(argument, tuple) else ("", "")
    m.stack.append(m.find(module, name))


def _stack_global(m: Machine, _: object) -> None:
    name, module = m.pop(), m.pop()
    if isinstance(name, str) and isinstance(module, str):
        m.stack.append(m.find(module, name))
        return
    if not _may_be_text(name) or not _may_be_text(module):
        m.stumble("names a global by something that is no text")
    else:
        m.see(Sight.UNRESOLVED, "a global whose name is not written in the file")
    m.stack.append(OPAQUE)


def _may_be_text(value: object) -> bool:
    if isinstance(value, Made):
        return value.standing is not Standing.REVIEWED or value.maker == "builtins.str"
    return value is OPAQUE or isinstance(value, str | Text)


def _reduce(m: Machine, _: object) -> None:
    args = m.pop()
    m.stack.append(m.call(m.pop(), args))


def _build(m: Machine, _: object) -> None:
    state = m.pop()
    m.build(m.top(), state)


def _inst(m: Machine, argument: object) -> None:
    module, name = argument if isinstance(argument, tuple) else ("", "")
    items = m.pop_mark()
    _instantiate(m, m.find(module, name), items)


def _obj(m: Machine, _: object) -> None:
    items = m.pop_mark()
    if not items:
        m.stumble("calls nothing")
        items = [OPAQUE]
    _instantiate(m, items[0], items[1:])


def _instantiate(m: Machine, kind: object, items: list[object]) -> None:
    """INST and OBJ: a class that is given nothing is made without its own code."""
    m.stack.append(m.call(kind, container("tuple", items), new=not items))


def _newobj(m: Machine, _: object) -> None:
    args = m.pop()
    m.stack.append(m.call(m.pop(), args, new=True))


def _newobj_ex(m: Machine, _: object) -> None:
    named, args, kind = m.pop(), m.pop(), m.pop()
    m.stack.append(m.call(kind, container("tuple", [args, named]), new=True))


def _proto(m: Machine, argument: object) -> None:
    m.proto = argument if isinstance(argument, int) else 0
    if m.proto > HIGHEST_PROTOCOL:
        m.stumble(f"names protocol {m.proto}")


def _frame(m: Machine, argument: object) -> None:
    length = argument if isinstance(argument, int) else 0
    if m.frame_end >= 0:
        m.see(Sight.STRADDLE, "a frame begins within a frame")
    m.frame_end = m.cursor.position + length
    if m.frame_end > m.cursor.end:
        m.see(Sight.TRUNCATED, "a frame is longer than the file")
        m.frame_end = -1


def _stop(m: Machine, _: object) -> None:
    if not m.stack or m.stack[-1] is MARK:
        m.stumble("returns nothing")
    else:
        m.trace.result = m.stack[-1]
    m.trace.stopped = True


def _persistent(m: Machine, argument: object) -> None:
    m.see(Sight.PERSISTENT, "an object that only the loader can give", args=argument)
    m.stack.append(OPAQUE)


def _persistent_of_stack(m: Machine, _: object) -> None:
    pid = m.pop()
    known = of_torch(pid, m.at) if m.dialect is Dialect.TORCH else None
    if known is None:
        _persistent(m, pid)
    elif isinstance(known, Source):
        m.see(Sight.CODE, f"the source of {known.value.path}"[:SHORT_NAME], args="never")
        m.stack.append(known.value)
    else:
        m.trace.ask(known)
        m.stack.append(made(known))


def _next_buffer(m: Machine, _: object) -> None:
    m.see(Sight.OUTSIDE, "a buffer from outside of the file")
    m.stack.append(OPAQUE)


def _readonly_buffer(m: Machine, _: object) -> None:
    m.top()


EFFECTS: dict[str, Effect] = {
    **dict.fromkeys(
        (
            "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
            "BYTEARRAY8", "FLOAT", "BINFLOAT",
        ),
        _literal,
    ),
    **dict.fromkeys(
        ("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"), _text
    ),
    "NONE": _constant(None),
    "NEWTRUE": _constant(value=True),
    "NEWFALSE": _constant(value=False),
    "NEXT_BUFFER": _next_buffer,
    "READONLY_BUFFER": _readonly_buffer,
    "EMPTY_LIST": _empty("list"),
    "EMPTY_TUPLE": _empty("tuple"),
    "EMPTY_DICT": _empty("dict"),
    "EMPTY_SET": _empty("set"),
    "LIST": _marked("list"),
    "TUPLE": _marked("tuple"),
    "FROZENSET": _marked("frozenset"),
    "DICT": _dict,
    "TUPLE1": _tuple(1),
    "TUPLE2": _tuple(2),
    "TUPLE3": _tuple(3),
    "APPEND": _append,
    "APPENDS": _appends,
    "ADDITEMS": _additems,
    "SETITEM": _setitem,
    "SETITEMS": _setitems,
    "POP": _pop,
    "DUP": _dup,
    "MARK": _mark,
    "POP_MARK": _pop_mark,
    "GET": _get,
    "BINGET": _get,
    "LONG_BINGET": _get,
    "PUT": _put,
    "BINPUT": _put,
    "LONG_BINPUT": _put,
    "MEMOIZE": _memoize,
    "EXT1": _extension,
    "EXT2": _extension,
    "EXT4": _extension,
    "GLOBAL": _global,
    "STACK_GLOBAL": _stack_global,
    "REDUCE": _reduce,
    "BUILD": _build,
    "INST": _inst,
    "OBJ": _obj,
    "NEWOBJ": _newobj,
    "NEWOBJ_EX": _newobj_ex,
    "PROTO": _proto,
    "STOP": _stop,
    "FRAME": _frame,
    "PERSID": _persistent,
    "BINPERSID": _persistent_of_stack,
}  # fmt: skip
