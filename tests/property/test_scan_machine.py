"""The machine against Python's own two unpicklers, which import nothing here: whatever they ask for, it has seen."""

import io
import pickle
from collections.abc import Callable
from typing import Self

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastness.core.sources import BytesSource
from fastness.models.scan.budget import Budget, ScanSettings
from fastness.models.scan.cursor import Cursor
from fastness.models.scan.machine import Sight, run


class Anything:
    """Stands for every imported object: takes any call and any state, and does nothing."""

    def __init__(self, *_: object, **__: object) -> None: ...

    def __call__(self, *_: object, **__: object) -> Self:
        return self

    def __setstate__(self, state: object) -> None: ...

    def append(self, item: object) -> None: ...

    def extend(self, items: object) -> None: ...

    def add(self, item: object) -> None: ...

    def update(self, items: object) -> None: ...

    def __setitem__(self, key: object, value: object) -> None: ...


def asked_of(base: type[pickle.Unpickler], data: bytes) -> tuple[set[str], bool]:
    """The names that an unpickler asks for, and whether it came to the end."""
    asked: set[str] = set()

    class Asking(base):  # type: ignore[misc, valid-type]  # the C and the Python one
        def find_class(self, module: str, name: str) -> type:
            asked.add(f"{module}.{name}")
            return Anything

        def persistent_load(self, _: object) -> Anything:
            return Anything()

    try:
        Asking(io.BytesIO(data)).load()
    except Exception:
        return asked, False
    return asked, True


def text(value: str) -> bytes:
    return b"\x8c" + bytes([len(value)]) + value.encode()


NAMES = ["m", "os", "a.b", "x"]
PIECES = st.one_of(
    st.sampled_from(
        [bytes([n]) for n in b"(.012NR]}){}abelostud\x81\x85\x86\x87\x88\x89\x8f\x90\x91\x92\x93\x94\x97\x98Q"]
    ),
    st.sampled_from(NAMES).map(text),
    st.sampled_from(NAMES).map(lambda n: f"V{n}\n".encode()),
    st.sampled_from(NAMES).map(lambda n: f"S'{n}'\n".encode()),
    st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)).map(lambda p: f"c{p[0]}\n{p[1]}\n".encode()),
    st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)).map(lambda p: f"i{p[0]}\n{p[1]}\n".encode()),
    st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)).map(lambda p: text(p[0]) + text(p[1]) + b"\x93"),
    st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)).map(lambda p: text(p[0]) + text(p[1]) + b"\x93)R"),
    st.integers(0, 4).map(lambda n: b"h" + bytes([n])),
    st.integers(0, 4).map(lambda n: b"q" + bytes([n])),
    st.integers(0, 4).map(lambda n: f"g{n}\n".encode()),
    st.integers(0, 4).map(lambda n: f"p{n}\n".encode()),
    st.integers(0, 255).map(lambda n: b"K" + bytes([n])),
    st.integers(0, 12).map(lambda n: b"\x95" + n.to_bytes(8, "little")),
)
UNPICKLERS = {"C": pickle.Unpickler, "Python": pickle._Unpickler}


@pytest.mark.parametrize("base", UNPICKLERS.values(), ids=UNPICKLERS)
@given(st.lists(PIECES, max_size=25))
@settings(max_examples=6 * settings().max_examples)
def test_whatever_an_unpickler_asks_for_is_seen(base: type[pickle.Unpickler], pieces: list[bytes]) -> None:
    data = b"\x80\x04" + b"".join(pieces) + b"."
    asked, finished = asked_of(base, data)
    trace = run(Cursor(BytesSource("", data)), Budget(ScanSettings()))
    refused = any(event.sight in {Sight.STRADDLE, Sight.MALFORMED, Sight.TRUNCATED} for event in trace.events)
    seen = {event.name for event in trace.events if event.sight is Sight.IMPORT}
    unresolved = any(event.sight is Sight.UNRESOLVED for event in trace.events)
    # A straddled frame is refused because the unpicklers differ there; what they ask for then is not compared.
    straddled = any(event.sight is Sight.STRADDLE for event in trace.events)
    assert straddled or unresolved or asked <= seen, (asked, seen)
    assert not finished or trace.stopped or refused


@given(st.lists(PIECES, max_size=25))
@settings(max_examples=6 * settings().max_examples)
def test_what_the_machine_calls_broken_no_unpickler_finishes(pieces: list[bytes]) -> None:
    data = b"\x80\x04" + b"".join(pieces) + b"."
    trace = run(Cursor(BytesSource("", data)), Budget(ScanSettings()))
    sights = {event.sight for event in trace.events}
    if Sight.MALFORMED in sights and not sights & {Sight.STRADDLE, Sight.TRUNCATED}:
        finished: dict[str, Callable[[], object] | bool] = {
            name: asked_of(base, data)[1] for name, base in UNPICKLERS.items()
        }
        assert finished == {"C": False, "Python": False}, trace.events
