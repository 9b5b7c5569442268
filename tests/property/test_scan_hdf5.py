"""Whatever stands in an HDF5 file or a configuration of Keras: a report, the same twice, and a pass only for what is whole."""

import json
import marshal

from hypothesis import example, given, settings
from hypothesis import strategies as st

from fastness.core.sources import BytesSource
from fastness.models.scan import Outcome
from fastness.models.scan.budget import Budget, ScanSettings
from fastness.models.scan.facts import Fact, FactKind
from fastness.models.scan.keras_config import keras_facts
from fastness.models.scan.marshalled import references
from fastness.models.scan.readers.hdf5 import Hdf5Reader
from tests.needs import ROOT
from tests.unit.models.scan.artifacts import report_of, rules_of
from tests.unit.models.scan.keras_bytes import (
    attribute,
    code_of,
    contiguous,
    filters,
    hdf5,
    keras_zip,
    message,
    other_link,
    with_dataset,
)

FIXTURES = [path.read_bytes() for path in sorted((ROOT / "tests/data/artifacts/hdf5").rglob("*.h5"))]
SMALL = {"fields": 20_000, "facts": 500, "header_bytes": 1 << 20, "inflated_bytes": 1 << 20, "opcodes": 50_000}
KINDS = st.sampled_from([0, 1, 2, 3, 5, 6, 7, 8, 0xB, 0xC, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x40])
MESSAGES = st.one_of(
    st.builds(message, KINDS, st.binary(max_size=80), st.sampled_from([0, 1, 2])),
    st.builds(attribute, st.text("ab_", max_size=4), st.binary(max_size=40)),
    st.builds(other_link, st.just("x"), st.integers(0, 255), st.binary(max_size=20)),
)
NUMBERS = st.sampled_from([0, 1, 8, 255, 1 << 16, 1 << 31, (1 << 63) - 1, (1 << 64) - 1]) | st.integers(
    0, (1 << 64) - 1
)


def check(data: bytes, name: str = "model.h5") -> None:
    report = report_of(data, name, **SMALL)
    assert report == report_of(data, name, **SMALL)
    assert "reader-failed" not in rules_of(report), report.verdict.findings
    assert report.outcome is not Outcome.PASS or report.explained_bytes == report.size


@given(st.lists(MESSAGES, max_size=6), st.binary(max_size=64), st.none() | NUMBERS)
def test_any_messages_give_a_report(messages: list[bytes], behind: bytes, end: int | None) -> None:
    check(hdf5(*messages, behind=behind, end=None if end is None else min(end, (1 << 64) - 1)))


@given(NUMBERS, NUMBERS, st.integers(0, 65535))
def test_any_place_of_values_gives_a_report(address: int, length: int, number: int) -> None:
    check(with_dataset(contiguous(address, length), filters(number)))


@given(st.sampled_from(FIXTURES), st.integers(0, 1 << 16), st.integers(1, 8), NUMBERS)
@settings(max_examples=2 * settings().max_examples)
def test_files_of_h5py_with_other_numbers_give_a_report(data: bytes, at: int, width: int, number: int) -> None:
    at %= len(data)
    changed = data[:at] + (number % (1 << 8 * width)).to_bytes(width, "little") + data[at + width :]
    check(changed[: len(data)])


@given(st.sampled_from(FIXTURES), st.integers(0, 1 << 16))
def test_files_of_h5py_cut_short_give_a_report(data: bytes, end: int) -> None:
    check(data[: end % len(data)])


@given(st.binary(max_size=200))
@example(b"\x89HDF\r\n\x1a\n")
def test_the_reader_alone_raises_nothing(data: bytes) -> None:
    told = list(Hdf5Reader().read(BytesSource("m", b"\x89HDF\r\n\x1a\n" + data), Budget(ScanSettings())))
    assert told


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["class_name", "config", "module", "registered_name", "function", "vocabulary", "x"]), inner, max_size=4),
    max_leaves=30,
)  # fmt: skip
NAMES = st.from_regex(r"[a-z]{1,6}(\.[a-z]{1,6}){0,2}", fullmatch=True)


@given(JSON)
def test_any_configuration_gives_a_report(value: object) -> None:
    check(keras_zip(json.dumps(value)), "model.keras")


@given(JSON, NAMES, st.lists(st.sampled_from(["config", "layers", "x", "build_config", "[", "text"]), max_size=8))
def test_an_object_is_told_wherever_it_stands(beside: object, module: str, way: list[str]) -> None:
    value: object = {"class_name": "Zzz", "module": module, "config": {}}
    for step in way:
        if step == "[":
            value = [beside, value]
        elif step == "text" and isinstance(value, dict) and sum(one == "text" for one in way) <= 3:
            value = {"text": json.dumps(value)}
        else:
            value = {step: value, "beside": beside}
    told = keras_facts(json.dumps(value).encode(), "m", 0, Budget(ScanSettings()))
    assert f"{module}.Zzz" in {one.name for one in told if isinstance(one, Fact) and one.kind is FactKind.CLASS}


SOURCES = st.sampled_from(
    [
        "f = lambda x: x",
        "f = lambda x, *a, y=1, **k: (x.a.b, 'text', 1.5, 2j, 1 << 70, b'x', ..., None, True, (1, 2), {'a'}, y, a, k)",
        "f = lambda x: [i for i in x if (lambda z: z.name)(i)]",
    ]
)


@given(SOURCES, st.integers(0, 4))
def test_code_is_read_as_python_wrote_it(source: str, version: int) -> None:
    code = code_of(source)
    told = references(marshal.dumps(code, version))
    assert told.whole
    assert set(code.co_names) <= set(told.names)


@given(st.binary(max_size=300), SOURCES, st.integers(0, 200))
def test_any_code_gives_an_answer(data: bytes, source: str, at: int) -> None:
    for one in (data, b"\xe3" + data, marshal.dumps(code_of(source))[:at] + data):
        references(one).dangerous()
