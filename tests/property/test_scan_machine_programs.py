"""Programs of the pickle machine, put together by a grammar: none that reaches a call passes, and all plain data does."""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastness.core.sources import BytesSource
from fastness.models.scan import Outcome
from fastness.models.scan.budget import Budget, ScanSettings
from fastness.models.scan.cursor import Cursor
from fastness.models.scan.machine import Dialect, Sight, Standing, Trace, explain, run
from fastness.models.scan.machine.machine import Machine
from tests.unit.models.scan.artifacts import report_of

many = settings(max_examples=2 * settings().max_examples)

# ---------------------------------------------------------------- texts and globals, in every way to write them
CALLEES = st.sampled_from(
    [("os", "system"), ("posix", "system"), ("builtins", "eval"), ("subprocess", "Popen"), ("lib.unlisted", "run"), ("lib", "C.f"),
     ("sklearn.dummy", "nothing"), ("__main__", "go")]
)  # fmt: skip


def texts(value: str) -> st.SearchStrategy[bytes]:
    """Instructions that push `value`."""
    data = value.encode()
    return st.sampled_from([
        b"\x8c" + bytes([len(data)]) + data,
        b"X" + len(data).to_bytes(4, "little") + data,
        b"\x8d" + len(data).to_bytes(8, "little") + data,
        b"V" + data + b"\n",
        b"V" + b"".join(b"\\u%04x" % ord(c) for c in value) + b"\n",
        b"S'" + data + b"'\n",
        b'S"' + b"".join(b"\\x%02x" % c for c in data) + b'"\n',
        b"U" + bytes([len(data)]) + data,
        b"T" + len(data).to_bytes(4, "little") + data,
    ])  # fmt: skip


@st.composite
def stored(draw: st.DrawFn, pushed: bytes) -> bytes:
    """The same value, by way of the memo, a copy, or both, with values that come and go between."""
    key = draw(st.integers(5, 250))
    put = draw(st.sampled_from([b"q" + bytes([key]), b"r" + key.to_bytes(4, "little"), b"p%d\n" % key]))
    get = draw(st.sampled_from([b"h" + bytes([key]), b"j" + key.to_bytes(4, "little"), b"g%d\n" % key]))
    noise = draw(st.sampled_from([b"", b"N0", b"]0", b"(K\x01K\x02t0", b"(1", b"K\x0720"]))
    return draw(
        st.sampled_from(
            [pushed, pushed + put + b"0" + noise + get, pushed + noise, pushed + b"20", pushed + put + noise]
        )
    )


@st.composite
def imported(draw: st.DrawFn, callee: tuple[str, str]) -> bytes:
    """Instructions that push the global."""
    module, name = callee
    by_stack = draw(stored(draw(texts(module)))) + draw(stored(draw(texts(name)))) + b"\x93"
    ways = [by_stack] if "." in name else [by_stack, f"c{module}\n{name}\n".encode()]
    return draw(stored(draw(st.sampled_from(ways))))


ARGUMENTS = st.sampled_from(
    [b")", b"K\x01\x85", b"\x8c\x04true\x85", b"(N]}t", b"K\x01K\x02\x86", b"(K\x00K\x01K\x02K\x03t"]
)


@st.composite
def calls(draw: st.DrawFn) -> bytes:
    """Instructions that call something that is not reviewed, and leave its result."""
    callee = draw(CALLEES)
    target, args = draw(imported(callee)), draw(ARGUMENTS)
    ways = [
        target + args + b"R",
        target + draw(stored(args)) + b"R",
        target + args + b"\x81",
        target + args + b"}\x92",
        b"(" + target + b"K\x01o",
        target + b"}b",
        b"cbuiltins\ngetattr\n" + target + b"\x8c\x01x\x86R",
        b"cfunctools\npartial\n" + target + b"\x85R)R",
        b"ccopyreg\n_reconstructor\n(" + target + b"cbuiltins\nobject\nNtR",
    ]
    if "." not in callee[1]:
        ways.append(f"(K\x01i{callee[0]}\n{callee[1]}\n".encode())
    return draw(st.sampled_from(ways))


@st.composite
def held(draw: st.DrawFn, inner: bytes) -> bytes:
    """`inner` somewhere in a structure that is otherwise harmless."""
    wrap: list[Callable[[bytes], bytes]] = [
        lambda b: b,
        lambda b: b"]" + b + b"a",
        lambda b: b"](K\x01" + b + b"e",
        lambda b: b"}\x8c\x01k" + b + b"s",
        lambda b: b"}(\x8c\x01k" + b + b"u",
        lambda b: b + b"\x85",
        lambda b: b"(N" + b + b"l",
        lambda b: b"ccollections\nOrderedDict\n)R(\x8c\x01k" + b + b"u",
        lambda b: b + b"0N",
        lambda b: b"ctypes\nSimpleNamespace\n)\x81}\x8c\x01k" + b + b"sb",
    ]
    for _ in range(draw(st.integers(0, 3))):
        inner = draw(st.sampled_from(wrap))(inner)
    return inner


def framed(body: bytes) -> bytes:
    return b"\x95" + len(body).to_bytes(8, "little") + body


@st.composite
def programs(draw: st.DrawFn) -> bytes:
    """A file that calls something, whatever stands around it."""
    body = draw(held(draw(calls()))) + b"."
    protocol = draw(st.sampled_from([b"\x80\x04", b"\x80\x04", b"\x80\x05", b"\x80\x02", b"\x80\x03", b""]))
    stream = protocol + (framed(body) if draw(st.booleans()) else body)
    before = draw(st.sampled_from([b"", b"", b"\x80\x04N.", pickle.dumps({"w": [1.0, 2.0]})]))
    after = draw(st.sampled_from([b"", b"", b"\x80\x04N.", b"\0" * 9, b"PK\x03\x04", b"\xff"]))
    return before + stream + after


@many
@given(programs())
def test_no_program_that_reaches_a_call_passes(data: bytes) -> None:
    report = report_of(data)
    assert report.outcome is not Outcome.PASS, data


# ---------------------------------------------------------------- plain data
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30) | st.binary(max_size=30)
    | st.integers(0, 300) | st.sampled_from(["append", "__class__", "__setstate__", "os", "system"])
)  # fmt: skip
DATA = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=12)
        | st.lists(inner, max_size=5).map(tuple)
        | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=6)
        | st.frozensets(st.integers() | st.text(max_size=5), max_size=6)
        | inner.map(lambda one: [one, one, (one,)])
        | st.lists(st.integers(0, 2**17), min_size=8, max_size=40)
    ),
    max_leaves=25,
)


@many
@given(DATA, st.integers(0, 5), st.booleans())
def test_plain_data_passes(value: object, protocol: int, optimized: bool) -> None:
    data = pickle.dumps(value, protocol)
    report = report_of(pickletools.optimize(data) if optimized else data)
    assert report.outcome is Outcome.PASS, report.verdict.findings


# ---------------------------------------------------------------- what Python's own unpicklers call
class Recorder:
    """Stands for everything that is imported; whatever is done with it is written down, and does nothing."""

    def __init__(self, name: str, seen: set[str]) -> None:
        self.name, self.seen = name, seen

    def __call__(self, *_: object, **__: object) -> Recorder:
        self.seen.add(self.name)
        return Recorder(f"the result of {self.name}", self.seen)

    def __setstate__(self, _: object) -> None:
        self.seen.add(f"state of {self.name}")

    def append(self, _: object) -> None: ...

    def extend(self, _: object) -> None: ...

    def add(self, _: object) -> None: ...

    def __setitem__(self, _: object, __: object) -> None: ...


def called_by(base: type, data: bytes) -> set[str]:
    """The names of what an unpickler calls or gives a state; nothing is imported."""
    seen: set[str] = set()

    class Recording(base):  # type: ignore[misc]  # the C and the Python one
        def find_class(self, module: str, name: str) -> Recorder:
            return Recorder(f"{module}.{name}", seen)

        def persistent_load(self, _: object) -> Recorder:
            return Recorder("a computed value", seen)

    try:
        Recording(io.BytesIO(data)).load()
    except Exception:  # whatever it met, it had called what it called
        return seen
    return seen


def traced(data: bytes, dialect: Dialect = Dialect.JOBLIB) -> Trace:
    return run(Cursor(BytesSource("", data)), Budget(ScanSettings()), dialect)


UNPICKLERS = {"C": pickle.Unpickler, "Python": pickle._Unpickler}


@pytest.mark.parametrize("base", UNPICKLERS.values(), ids=UNPICKLERS)
@many
@given(programs())
def test_whatever_an_unpickler_calls_was_told(base: type, data: bytes) -> None:
    trace = traced(data)
    told = {e.name for e in trace.events if e.sight is Sight.CALL}
    told |= {f"state of {e.name}" for e in trace.events if e.sight in {Sight.TAMPER, Sight.CALL}}
    called = {name for name in called_by(base, data) if not name.startswith(("the result of the", "state of the"))}
    mapped = {name.replace("__builtin__", "builtins") for name in called}
    assert {n for n in mapped if "builtins.getattr" not in n and "functools.partial" not in n} <= told | {
        f"state of the result of {n}" for n in told
    }


# ---------------------------------------------------------------- the short way and the long way
PIECES = st.one_of(
    calls(),
    st.sampled_from([bytes([n]) for n in b"(.012NR]){}abelostud\x81\x85\x86\x87\x88\x89\x8f\x90\x91\x92\x93\x94\x97\x98Q"]),
    st.sampled_from(["m", "os", "append", "__class__", "x" * 40, "hf_" + "q" * 34]).flatmap(texts),
    st.integers(0, 4).map(lambda n: b"h" + bytes([n])),
    st.integers(0, 4).map(lambda n: b"q" + bytes([n])),
    st.integers(0, 4).map(lambda n: b"r" + n.to_bytes(4, "little")),
    st.integers(0, 4).map(lambda n: b"j" + n.to_bytes(4, "little")),
    st.integers(0, 30).map(lambda n: b"(" + b"K\x07" * n),
    st.integers(0, 30).map(lambda n: b"(" + b"M\x07\x01" * n + b"G" + bytes(8)),
    st.integers(0, 30).map(lambda n: b"(" + (b"G" + bytes(8)) * n + b"J\xff\xff\xff\xff"),
    st.integers(0, 300).map(lambda n: b"\x95" + n.to_bytes(8, "little")),
    DATA.flatmap(lambda v: st.sampled_from([2, 4]).map(lambda p: pickle.dumps(v, p)[2:-1])),
)  # fmt: skip


@many
@given(st.lists(PIECES, max_size=30))
def test_short_steps_do_what_long_steps_do(pieces: list[bytes]) -> None:
    data = b"\x80\x04" + b"".join(pieces) + b"." + bytes(300)
    short, long = traced(data), traced_slowly(data)
    assert short.events == long.events
    assert (short.end, short.broken, short.stopped) == (long.end, long.broken, long.stopped)


def standing_still(_: bytes, at: int, __: Machine, ___: int) -> tuple[int, int, int]:
    """Takes no short step."""
    return at, at, 0


def traced_slowly(data: bytes) -> Trace:
    return run(Cursor(BytesSource("", data)), Budget(ScanSettings()), short=standing_still)


@many
@given(st.lists(PIECES, max_size=30))
def test_every_call_is_explained(pieces: list[bytes]) -> None:
    data = b"\x80\x04" + b"".join(pieces) + b"."
    source = BytesSource("", data)
    told = explain(source)
    calls = {(e.offset, e.name) for e in traced_slowly(data).events if e.sight is Sight.CALL}
    assert told.left_out or calls <= {(step.offset, step.what) for step in told.steps if step.number}
    assert list(told.lines()) == list(explain(source).lines())


def test_what_is_reviewed_is_not_told_as_more() -> None:
    trace = traced(pickle.dumps({"a": [1, (2, 3)], "b": b"x"}))
    assert all(event.standing is Standing.REVIEWED for event in trace.events)
