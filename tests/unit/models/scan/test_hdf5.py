"""HDF5: files of h5py pass, and a payload is found in each place that can hold one."""

import struct
import zlib

import pytest

from fastness.core.sources import BytesSource
from fastness.models.scan import Outcome
from fastness.models.scan.budget import Budget, ScanSettings
from fastness.models.scan.facts import Look
from fastness.models.scan.hdf5 import Attribute, Image, NotHdf5, Objects, superblock
from fastness.models.scan.readers.hdf5 import Hdf5Reader
from tests.needs import ROOT
from tests.unit.models.scan.artifacts import EVIL, report_of, rules_of
from tests.unit.models.scan.keras_bytes import (
    BYTE,
    attribute,
    contiguous,
    filters,
    hdf5,
    header,
    link,
    message,
    other_link,
    place_behind,
    with_dataset,
)

FIXTURES = {path.stem: path.read_bytes() for path in sorted((ROOT / "tests/data/artifacts/hdf5").rglob("*.h5"))}
ELF = (
    b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0x400078, 64, 0, 0, 64, 56, 1, 0, 0, 0)
)
PLAIN = hdf5(attribute("a", b"text"))


class Heard:
    """What a walk tells."""

    def __init__(self) -> None:
        self.attributes: dict[str, tuple[bytes, ...]] = {}
        self.references: list[str] = []
        self.filters: list[int] = []
        self.oddities: list[str] = []
        self.texts: list[bytes] = []

    def attribute(self, one: Attribute) -> None:
        self.attributes[f"{one.path}@{one.name}"] = (*self.attributes.get(f"{one.path}@{one.name}", ()), one.value)

    def elsewhere(self, location: str, place: int) -> None:
        assert place >= 0
        self.references.append(location)

    def filter(self, number: int, name: str, place: int) -> None:
        assert place >= 0
        self.filters.append(number)
        assert isinstance(name, str)

    def odd(self, what: str, place: int) -> None:
        assert place >= 0
        self.oddities.append(what)

    def text(self, value: bytes, place: int) -> None:
        assert place >= 0
        self.texts.append(value)

    def packed(self, place: int, length: int, filters: tuple[int, ...]) -> None:
        assert place >= 0
        assert length >= 0
        assert filters


def walked(data: bytes, base: int = 0) -> tuple[Heard, Image]:
    image, heard = Image(BytesSource("m", data), base, Budget(ScanSettings())), Heard()
    Objects(image, heard).walk(superblock(image))
    return heard, image


@pytest.mark.parametrize("data", FIXTURES.values(), ids=FIXTURES)
def test_files_of_h5py_pass(data: bytes) -> None:
    report = report_of(data, "model.h5")
    assert report.outcome is Outcome.PASS, report.verdict.findings
    assert report.formats == ("hdf5",)
    assert report.explained_bytes == report.size


@pytest.mark.parametrize("name", FIXTURES)
def test_nearly_every_byte_that_is_not_zero_belongs_to_a_structure(name: str) -> None:
    data = FIXTURES[name]
    heard, image = walked(data, 512 if name == "userblock" else 0)
    loose = sum(len(data[start:stop].replace(b"\0", b"")) for start, stop in image.gaps(len(data)))
    assert loose < (200 if name in {"free-space", "pages", "userblock"} else 60)  # what was deleted stays as it was
    assert not image.overlaps
    assert not heard.oddities


@pytest.mark.parametrize("version", ["earliest", "v108", "latest"])
def test_names_and_values_are_those_that_were_written(version: str) -> None:
    heard, _ = walked(FIXTURES[f"groups-{version}"])
    assert {f"@a{number}" for number in range(10)} <= set(heard.attributes)
    assert heard.attributes["@a7"] == ((7).to_bytes(8, "little"),)
    assert heard.attributes["/inner/inner@long"] == (bytes(1600),)
    heard, _ = walked(FIXTURES[f"values-{version}"])
    assert heard.attributes["@names"] == (b"x", b"yy")
    assert heard.attributes["@none"] == (b"",)
    assert sorted(heard.texts) == [struct.pack("<3i", 1, 2, 3), b"a", b"bc"]


def test_filters_of_each_chunk_are_named() -> None:
    heard, _ = walked(FIXTURES["chunks-latest"])
    assert set(heard.filters) == {1, 2, 3, 32000}


SAID = {
    # name: bytes, a rule that must be among the findings, the outcome
    "a link into another file": (hdf5(other_link("x", 64, b"\0/etc/passwd\0/w\0")), "reference-escapes", Outcome.BLOCK),
    "a link into a file beside": (hdf5(other_link("x", 64, b"\0other.h5\0/w\0")), "reference-outside", Outcome.BLOCK),
    "a link of somebody's own": (hdf5(other_link("x", 200, b"abc")), "hdf5-unfollowed", Outcome.INCOMPLETE),
    "a soft link": (hdf5(other_link("x", 1, b"/etc/passwd")), "", Outcome.PASS),
    "a filter that is loaded": (with_dataset(contiguous(48, 0), filters(32001)), "hdf5-filter", Outcome.REVIEW),
    "a filter without a number": (with_dataset(contiguous(48, 0), filters(500)), "hdf5-filter", Outcome.REVIEW),
    "deflate": (with_dataset(contiguous(48, 0), filters(1, 2, 3)), "", Outcome.PASS),
    "several files": (hdf5(message(0x14, b"\0" * 8)), "hdf5-unfollowed", Outcome.INCOMPLETE),
    "a message nobody knows": (hdf5(message(0x40, b"abc")), "hdf5-unfollowed", Outcome.INCOMPLETE),
    "messages that objects share": (hdf5(message(0xC, b"\x03\x01" + bytes(8), 2)), "hdf5-unfollowed", Outcome.INCOMPLETE),
    "bytes behind the end": (PLAIN + b"more", "hdf5-trailing-bytes", Outcome.INCOMPLETE),
    "zeros behind the end": (PLAIN + bytes(100), "", Outcome.PASS),
    "a pickle behind the end": (PLAIN + EVIL, "pickle-dangerous-call", Outcome.BLOCK),
    "a file that is shorter than it says": (hdf5(end=1 << 20), "hdf5-malformed", Outcome.INCOMPLETE),
    "a block in front": (EVIL.ljust(512, b"\0") + PLAIN, "pickle-dangerous-call", Outcome.BLOCK),
    "a signature alone": (b"\x89HDF\r\n\x1a\n" + bytes(88), "hdf5-blank", Outcome.PASS),
    "a header that never ends": (hdf5(message(0x10, struct.pack("<QQ", 48, 40))), "hdf5-malformed", Outcome.INCOMPLETE),
    "a pickle in an attribute": (hdf5(attribute("a", EVIL)), "pickle-dangerous-call", Outcome.BLOCK),
    "a pickle in unused room": (hdf5(message(0, EVIL)), "pickle-dangerous-call", Outcome.BLOCK),
    "a program in a hole": (hdf5(attribute("a", b"b"), behind=ELF + bytes(64)), "executable", Outcome.BLOCK),
    "a credential": (hdf5(attribute("a", b"x hf_" + b"qRzXbVtYpLmNkJhGfDsAwErTyUiOpLkJhG")), "credential-in-model", Outcome.REVIEW),
}  # fmt: skip


@pytest.mark.parametrize(("data", "rule", "outcome"), SAID.values(), ids=SAID)
def test_what_is_said_of_it(data: bytes, rule: str, outcome: Outcome) -> None:
    report = report_of(data, "model.h5")
    assert report.outcome is outcome, report.verdict.findings
    assert not rule or any(one.startswith(rule) for one in rules_of(report)), report.verdict.findings


def test_values_in_files_of_their_own_are_references() -> None:
    place = place_behind(18, message(7, bytes(16 + 24)))
    external = message(7, b"\x01" + bytes(3) + struct.pack("<HHQ", 1, 1, place) + struct.pack("<QQQ", 0, 0, 16))
    names = b"HEAP\0\0\0\0" + struct.pack("<QQQ", 16, 0, place + 32) + b"/etc/shadow".ljust(16, b"\0")
    report = report_of(with_dataset(contiguous(0, 16), external, behind=names), "model.h5")
    assert "reference-escapes" in rules_of(report), report.verdict.findings


def test_virtual_datasets_are_references() -> None:
    shape = b"\x04\x03" + struct.pack("<QI", place_behind(14), 1)
    value = b"\0" + struct.pack("<Q", 1) + b"/home/other.h5\0/w\0"
    size = 16 + 16 + len(value) + -len(value) % 8
    heap = (
        b"GCOL\x01\0\0\0"
        + struct.pack("<Q", size)
        + struct.pack("<HHIQ", 1, 1, 0, len(value))
        + value.ljust(size - 32, b"\0")
    )
    report = report_of(with_dataset(shape, behind=heap), "model.h5")
    assert "reference-escapes" in rules_of(report), report.verdict.findings


def test_a_program_behind_deflate_is_found() -> None:
    packed = zlib.compress(ELF + bytes(64))
    place = place_behind(29, filters(1), kind=BYTE)
    # the layout of version 4 with one chunk, which is compressed
    shape = (
        b"\x04\x02\x02\x02\x04"
        + struct.pack("<II", 4, 1)
        + b"\x01"
        + struct.pack("<QI", len(packed), 0)
        + struct.pack("<Q", place)
    )
    assert len(shape) == 34
    place = place_behind(len(shape), filters(1), kind=BYTE)
    shape = shape[:-8] + struct.pack("<Q", place)
    report = report_of(with_dataset(shape, filters(1), behind=packed, kind=BYTE, size=1), "model.h5")
    assert report.outcome is Outcome.BLOCK, report.verdict.findings


def test_many_elements_that_share_a_value_are_one() -> None:
    heap_at = 4096
    value = b"x" * 100_000
    heap = b"GCOL\x01\0\0\0" + struct.pack("<QHHIQ", 32 + len(value), 1, 1, 0, len(value)) + value
    kind = b"\x19\x01\0\0" + struct.pack("<I", 16) + b"\x10\0\0\0" + struct.pack("<I", 1) + bytes(4)
    space = b"\x02\x01\0\x01" + struct.pack("<Q", 200)
    elements = struct.pack("<IQI", len(value), heap_at, 1) * 200
    body = b"\x03\0" + struct.pack("<HHH", 2, len(kind), len(space)) + b"\0a\0" + kind + space + elements
    root = hdf5(message(0xC, body))
    heard, _ = walked(hdf5(message(0xC, body), behind=bytes(heap_at - len(root)) + heap))
    assert heard.attributes == {"@a": (value,)}


def test_two_structures_over_each_other_are_told() -> None:
    place = 48 + len(header(link("w", 0)))
    data = with_dataset(contiguous(place, 16))
    assert "hdf5-overlap" in rules_of(report_of(data, "model.h5"))


def test_much_that_belongs_to_nothing_is_for_review() -> None:
    data = hdf5(attribute("a", b"b"), behind=b"\x01\x02\x03" * 200_000)
    report = report_of(data, "model.h5")
    assert report.outcome is Outcome.REVIEW
    assert "hdf5-unused-space" in rules_of(report)


def test_a_dataset_of_gigabytes_is_not_read_into_memory() -> None:
    with pytest.raises(NotHdf5):
        walked(with_dataset(contiguous(48, 1 << 62)))
    assert report_of(with_dataset(contiguous(48, 1 << 62)), "m.h5").outcome is Outcome.INCOMPLETE


def test_other_files_are_left_to_others() -> None:
    reader = Hdf5Reader()
    assert not reader.claims(Look(BytesSource("model.bin", bytes(5000))))
    assert list(reader.read(BytesSource("model.h5", b"no HDF5"), Budget(ScanSettings()))) == []


@pytest.mark.parametrize("name", ["values-earliest", "values-latest", "chunks-latest", "groups-v108"])
def test_cut_short_at_any_place_it_is_incomplete(name: str) -> None:
    data = FIXTURES[name]
    for end in [*range(14, 256), *range(256, len(data), 509)]:
        report = report_of(data[:end], "model.h5")
        assert report.outcome is not Outcome.PASS, end
        assert "reader-failed" not in rules_of(report), end


@pytest.mark.parametrize("name", ["values-earliest", "values-latest", "chunks-latest", "groups-v108"])
def test_large_numbers_anywhere_give_a_verdict(name: str) -> None:
    data = FIXTURES[name]
    for at in range(8, len(data) - 8, 97):
        changed = data[:at] + (1 << 63).to_bytes(8, "little") + data[at + 8 :]
        assert "reader-failed" not in rules_of(report_of(changed, "model.h5")), at


def test_datasets_and_groups_may_stand_in_a_circle() -> None:
    first = 48 + len(header(link("w", 0)))
    inner = header(link("up", 48), link("again", first))
    report = report_of(hdf5(link("w", first), behind=inner), "model.h5")
    assert report.outcome is Outcome.PASS, report.verdict.findings
