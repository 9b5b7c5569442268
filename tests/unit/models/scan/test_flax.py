"""Flax: what the library writes passes; objects, unknown extensions and bytes that do not fit do not."""

import pytest

from fastness.core.sources import BytesSource
from fastness.models.scan import Outcome
from fastness.models.scan.budget import Budget, ScanSettings
from fastness.models.scan.cursor import Cursor
from fastness.models.scan.facts import Look
from fastness.models.scan.msgpack import Kind, NotMsgpack, values
from fastness.models.scan.readers.flax import FlaxReader
from tests.needs import ROOT
from tests.unit.models.scan.artifacts import EVIL, report_of, rules_of
from tests.unit.models.scan.keras_bytes import flax_array, pack

FIXTURES = {path.name: path.read_bytes() for path in sorted((ROOT / "tests/data/artifacts/flax").rglob("*.msgpack"))}
PLAIN = pack({"params": {"w": flax_array()}})


@pytest.mark.parametrize("name", FIXTURES)
@pytest.mark.parametrize("called", ["flax_model.msgpack", "model.bin"])
def test_what_the_library_writes_passes(name: str, called: str) -> None:
    report = report_of(FIXTURES[name], called)
    if called == "model.bin" and report.formats == ():
        pytest.skip("without a name, a file without arrays is unknown")
    assert report.outcome is Outcome.PASS, report.verdict.findings
    assert report.formats == ("flax",)
    assert report.explained_bytes == report.size


SAID = {
    # name: an object, a rule, the outcome
    "numbers": ({"w": flax_array()}, "", Outcome.PASS),
    "objects": ({"w": flax_array("object")}, "flax-objects", Outcome.BLOCK),
    "objects in short": ({"w": flax_array("O")}, "flax-objects", Outcome.BLOCK),
    "a type that nobody knows": ({"w": flax_array("void32")}, "flax-objects", Outcome.BLOCK),
    "objects as a scalar": ({"w": (3, flax_array("object", bytes(8), ())[1])}, "flax-objects", Outcome.BLOCK),
    "objects that are a pickle": ({"w": flax_array("object", EVIL, (1,))}, "pickle-dangerous-call", Outcome.BLOCK),
    "too many bytes": ({"w": flax_array(data=bytes(20))}, "flax-array", Outcome.BLOCK),
    "too few bytes": ({"w": flax_array(data=bytes(12))}, "flax-array", Outcome.BLOCK),
    "an unknown extension": ({"w": (42, b"abc")}, "flax-extension", Outcome.REVIEW),
    "a time": ({"w": (255, bytes(4))}, "", Outcome.PASS),
    "a complex number": ({"w": (2, b"\x92\xca" + bytes(4) + b"\xca" + bytes(4))}, "", Outcome.PASS),
    "an array that is none": ({"w": (1, pack([1, 2]))}, "flax-malformed", Outcome.INCOMPLETE),
    "an array with more behind": ({"w": (1, flax_array()[1] + b"x")}, "flax-malformed", Outcome.INCOMPLETE),
    "pickled arrays of msgpack-numpy": ({b"nd": True, b"kind": b"O", b"data": b"x"}, "flax-objects", Outcome.BLOCK),
    "a pickle in bytes": ({"w": EVIL}, "pickle-dangerous-call", Outcome.BLOCK),
    "a credential": ({"note": "hf_" + "qRzXbVtYpLmNkJhGfDsAwErTyUiOpLkJhG"}, "credential-in-model", Outcome.REVIEW),
}  # fmt: skip


@pytest.mark.parametrize(("value", "rule", "outcome"), SAID.values(), ids=SAID)
def test_what_is_said_of_it(value: object, rule: str, outcome: Outcome) -> None:
    report = report_of(pack(value), "flax_model.msgpack")
    assert report.outcome is outcome, report.verdict.findings
    assert not rule or rule in rules_of(report)


BROKEN = {
    "empty": b"",
    "a byte that begins nothing": b"\xc1",
    "behind the object": PLAIN + b"\x01",
    "a pickle behind the object": PLAIN + EVIL,
    "a length of 4 GB": b"\x81\xa1a\xc6\xff\xff\xff\xff",
    "a list of 4 billion": b"\x81\xa1a\xdd\xff\xff\xff\xff",
    "a map of 4 billion": b"\xdf\xff\xff\xff\xff\xa1a",
    "nested too deep": b"\x91" * 100_000,
    "nested maps": b"\x81\xa1a" * 100_000,
    "an array nested too deep": pack({"w": (1, b"\x91" * 5000)}),
    "an array of many dimensions": pack({"w": flax_array(shape=(1,) * 500)}),
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_what_is_broken_never_passes(data: bytes) -> None:
    report = report_of(data, "flax_model.msgpack")
    assert report.outcome in {Outcome.INCOMPLETE, Outcome.BLOCK}
    assert "reader-failed" not in rules_of(report)


@pytest.mark.parametrize("name", FIXTURES)
def test_cut_short_it_is_incomplete(name: str) -> None:
    data = FIXTURES[name]
    for end in range(1, len(data), max(1, len(data) // 100)):
        assert report_of(data[:end], "m.msgpack").outcome is not Outcome.PASS, end


def test_it_is_known_by_its_content() -> None:
    assert FlaxReader().claims(Look(BytesSource("model.bin", PLAIN)))
    for data in (
        b"",
        b"\x81",
        b"\x81\x01\x02",
        b"\x82\xa1\xff\x01",
        EVIL,
        b"\x80\x02}q\x00.",
        bytes(100),
        b"\x81\xa1ab" * 2000,
    ):
        assert not FlaxReader().claims(Look(BytesSource("model.bin", data)))


def test_each_kind_of_value_is_walked() -> None:
    whole = (
        b"\x9b\xc0\xc3\x05\xff\xcb"
        + bytes(8)
        + b"\xa1a\xc4\x01b\x81\x01\x02\xd4\x07x\xd8\x09"
        + bytes(16)
        + b"\xcd\x01\x02"
    )
    found = list(values(Cursor(BytesSource("m", whole)), len(whole), Budget(ScanSettings())))
    kinds = [one.kind for one in found]
    assert kinds[0] is Kind.LIST
    assert kinds.count(Kind.EXTENSION) == 2
    assert [one.code for one in found if one.kind is Kind.EXTENSION] == [7, 9]
    assert (found[3].number, found[-1].number) == (5, 258)
    assert found[-1].end == len(whole)
    with pytest.raises(NotMsgpack):
        list(values(Cursor(BytesSource("m", whole[:-1])), len(whole) - 1, Budget(ScanSettings())))
