"""Attack: a pickle of reviewed names only makes numpy take the bytes of an array for pointers, or read beyond it.

numpy believes flags, offsets and widths that a pickle gives to an element type (`arraydescr_setstate`), and keeps the
dictionary of fields that it was given; loading such a file, or the first look at its array, runs into chosen memory.
The same files were a pass before. Beside them: short files whose loading fills the memory. Success rate: 0.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction

import joblib
import numpy as np
import pytest

from fastness.models.scan import Outcome
from tests.unit.models.scan.artifacts import report_of, rules_of, stream, text

INTEGER = (
    b"cnumpy\ndtype\n(" + text("i8") + b"\x89\x88tR(K\x03" + text("<") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
)
OBJECT = (
    b"cnumpy\ndtype\n(" + text("O8") + b"\x89\x88tR(K\x03" + text("|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x3ftb"
)


def structure(inner: bytes, *, flags: int, offset: bytes = b"K\x00", width: int = 8, name: str = "V8") -> bytes:
    """An element type of one field `a`, memoized as 1, its dictionary of fields as 2."""
    fields = b"}q\x02" + text("a") + inner + offset + b"\x86s"
    made = b"cnumpy\ndtype\n(" + text(name) + b"\x89\x88tRq\x01"
    state = (
        b"(K\x03"
        + text("|")
        + b"N("
        + text("a")
        + b"t"
        + fields
        + b"K"
        + bytes([width])
        + b"K\x01K"
        + bytes([flags])
        + b"t"
    )
    return made + state + b"b"


def array(dtype: bytes) -> bytes:
    return b"cnumpy._core.numeric\n_frombuffer\n(C\x08AAAAAAAA" + dtype + b"K\x01\x85" + text("C") + b"tR"


ATTACKS = {
    "objects behind flags of none": array(structure(OBJECT, flags=0)),
    "objects behind flags of numbers": array(structure(OBJECT, flags=16)),
    "a type of objects without its flags": OBJECT.replace(b"K\x3ft", b"K\x00t"),
    "numbers with the flags of objects": INTEGER.replace(b"K\x00t", b"K\x3ft"),
    "a field behind the element": array(structure(INTEGER, flags=16, offset=b"M\x00\x7f")),
    "a field before the element": array(structure(INTEGER, flags=16, offset=b"J\xf0\xff\xff\xff")),
    "a field wider than its element": array(structure(INTEGER, flags=16, width=4, name="V4")),
    "another width than by name": array(structure(INTEGER, flags=16, width=64)),
    "fields of a number": INTEGER.replace(b"NNN", b"N(" + text("a") + b"t}" + text("a") + OBJECT + b"K\x00\x86s"),
    "the fields are changed when the type is in use": array(structure(INTEGER, flags=16))
    + b"h\x02" + text("a") + OBJECT + b"K\x00\x86s0",
    "the fields are changed and changed back": b"h\x02".join([
        array(structure(INTEGER, flags=16)),
        text("a") + OBJECT + b"K\x00\x86s0",
        text("a") + INTEGER + b"K\x00\x86s0",
    ]),
    "the type is changed when it is in use": array(structure(INTEGER, flags=16))
    + b"h\x01(K\x03" + text("|") + b"NNNK\x7fK\x01K\x00tb0",
    "the type is changed by its copy on the stack": b"cnumpy\ndtype\n(" + text("V8") + b"\x89\x88tR2(K\x03" + text("|")
    + b"NNNK\x08K\x01K\x00tb\x86",
}  # fmt: skip


@pytest.mark.parametrize("body", ATTACKS.values(), ids=ATTACKS.keys())
def test_an_element_type_that_lies_about_memory_blocks(body: bytes) -> None:
    report = report_of(stream(body))
    assert report.outcome is Outcome.BLOCK, report.verdict
    assert "pickle-dangerous-call" in rules_of(report)


@pytest.mark.parametrize(
    "state", [b"N", b")", b"(K\x05" + text("|") + b"NNNK\x08K\x01K\x00t", b"(K\x03tb"], ids=range(4)
)
def test_an_element_type_that_is_not_understood_is_no_pass(state: bytes) -> None:
    report = report_of(stream(b"cnumpy\ndtype\n(" + text("V8") + b"\x89\x88tR" + state + b"b"))
    assert report.outcome is not Outcome.PASS


NUMBER = b"\x8a\x06\x00\x00\x00\x00\x00\x01"  # 2 ** 40
BOMBS = {
    "bytearray of a size": b"cbuiltins\nbytearray\n" + NUMBER + b"\x85R",
    "bytes of a size": b"cbuiltins\nbytes\n" + NUMBER + b"\x85R",
    "list of a range": b"cbuiltins\nlist\ncbuiltins\nrange\n" + NUMBER + b"\x85R\x85R",
    "deque of a range": b"ccollections\ndeque\ncbuiltins\nrange\n" + NUMBER + b"\x85R\x85R",
    "counter of a range": b"ccollections\nCounter\ncbuiltins\nrange\n" + NUMBER + b"\x85R\x85R",
    "int of a decimal": b"cbuiltins\nint\ncdecimal\nDecimal\n" + text("1E999999999") + b"\x85R\x85R",
    "fraction of an exponent": b"cfractions\nFraction\n" + text("1E999999999") + b"\x85R",
}


@pytest.mark.parametrize("body", BOMBS.values(), ids=BOMBS.keys())
def test_a_short_pickle_that_fills_the_memory_is_no_pass(body: bytes) -> None:
    assert report_of(stream(body)).outcome is not Outcome.PASS


HONEST = {
    "structure": np.zeros(3, [("a", "i4"), ("b", "f8")]),
    "aligned structure": np.zeros(3, np.dtype([("a", "i1"), ("b", "f8")], align=True)),
    "structure with objects": np.array([(1, "x")], [("a", "i4"), ("b", "O")]),
    "structure in a structure": np.zeros(2, [("a", [("x", "i2"), ("y", "S3")])]),
    "arrays in a structure": np.zeros(2, [("a", "i4", (2, 3)), ("b", "U4", (2,))]),
    "a title": np.zeros(2, [(("the title", "a"), "i1")]),
    "texts": np.array(["a", "bcd"]),
    "bytes": np.array([b"a", b"bcd"]),
    "raw": np.zeros(2, "V7"),
    "objects": np.array([None, "x"], object),
    "big-endian": np.arange(3, dtype=">f4"),
    "times": np.array(["2020-01-01"], "M8[ns]"),
    "two arrays of one type": [np.zeros(2, [("a", "i4")])] * 2 + [np.ones(1, np.zeros(2, [("a", "i4")]).dtype)],
    "a structured scalar": np.zeros(2, [("a", "i4"), ("b", "f8")])[0],
    "values": [bytearray(b"x"), bytearray(), b"", {1, 2}, frozenset({1}), range(3), slice(1, None), 1j, Fraction(1, 3)],
    "decimals": [Decimal("1.5"), Fraction(-(10**40), 7), set[int](), frozenset[int]()],
}


# Slices have no form below protocol 2.
WRITTEN = [
    pytest.param(value, protocol, id=f"{name}-{protocol}")
    for name, value in HONEST.items()
    for protocol in range(2 if name == "values" else 0, pickle.HIGHEST_PROTOCOL + 1)
]


@pytest.mark.parametrize(("value", "protocol"), WRITTEN)
def test_what_numpy_and_python_write_themselves_still_passes(value: object, protocol: int) -> None:
    report = report_of(pickle.dumps(value, protocol))
    assert report.outcome is Outcome.PASS, report.verdict


def joblib_of(value: object) -> bytes:
    out = io.BytesIO()
    joblib.dump(value, out)
    return out.getvalue()


@pytest.mark.parametrize("write", [joblib_of, pickle.dumps], ids=["joblib", "pickle"])
def test_trees_which_hold_structures_still_pass(write: Callable[[object], bytes]) -> None:
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier

    rng = np.random.default_rng(0)
    x, y = rng.random((60, 3)), rng.integers(0, 2, 60)
    for model in (RandomForestClassifier(3).fit(x, y), HistGradientBoostingClassifier(max_iter=3).fit(x, y)):
        report = report_of(write(model))
        assert report.outcome is Outcome.PASS, report.verdict
