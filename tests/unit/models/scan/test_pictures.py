"""Bitmaps, icons and TIFF: every byte has its place, or something is told."""

import struct

import pytest

from fastness.models.scan import Outcome
from tests.unit.models.scan.artifacts import EVIL, report_of, rules_of

PIXELS = bytes(range(1, 13)) * 2
BMP = (
    b"BM" + struct.pack("<IHHI", 54 + 24, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, 2, 3, 1, 24, 0, 24, 0, 0, 0, 0)
    + PIXELS
)  # fmt: skip
PNG = b"\x89PNG\r\n\x1a\n" + bytes(40)


def icon(*places: tuple[int, int], data: bytes) -> bytes:
    table = b"".join(struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, size, at) for at, size in places)
    return struct.pack("<HHH", 0, 1, len(places)) + table + data


def tiff(order: str = "<", following: int = 0, offset: int = 8) -> bytes:
    entries = [(256, 3, 1, 4), (257, 3, 1, 6), (273, 4, 1, offset), (279, 4, 1, len(PIXELS))]
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8 + len(PIXELS))
    fields = b"".join(
        struct.pack(order + "HHI", tag, kind, count) + struct.pack(order + ("HH" if kind == 3 else "I"), *((value, 0) if kind == 3 else (value,)))
        for tag, kind, count, value in entries
    )  # fmt: skip
    return head + PIXELS + struct.pack(order + "H", len(entries)) + fields + struct.pack(order + "I", following)


ICON = icon((38, 48), (86, 48), data=PNG + PNG)
HONEST = {"a.bmp": BMP, "a.ico": ICON, "a.tiff": tiff(), "a.tif": tiff(">")}


@pytest.mark.parametrize(("name", "data"), HONEST.items(), ids=HONEST)
def test_honest_pictures_pass(name: str, data: bytes) -> None:
    report = report_of(data, name)
    assert report.outcome is Outcome.PASS, report.verdict.findings
    assert report.explained_bytes == len(data)


@pytest.mark.parametrize(("name", "data"), HONEST.items(), ids=HONEST)
def test_what_follows_a_picture_is_told(name: str, data: bytes) -> None:
    assert "media-trailing-bytes" in rules_of(report_of(data + b"something else", name))
    assert report_of(data + EVIL, name).outcome is Outcome.BLOCK


WRONG = {
    "a table of colours with no end": ("a.bmp", BMP[:10] + struct.pack("<I", 4000) + BMP[14:]),
    "pixels of no width": ("a.bmp", BMP[:18] + bytes(4) + BMP[22:]),
    "pictures that overlap": ("a.ico", icon((38, 48), (38, 48), data=PNG + PNG)),
    "a gap between pictures": ("a.ico", icon((38, 48), (90, 44), data=PNG + b"hide" + PNG)),
    "no picture": ("a.ico", icon((22, 48), data=bytes(48))),
    "a table beyond the end": ("a.tiff", tiff(following=1 << 20)),
    "a strip beyond the end": ("a.tiff", tiff(offset=1 << 20)),
    "bytes that no table names": ("a.tiff", tiff(offset=12)),
}


@pytest.mark.parametrize(("name", "data"), WRONG.values(), ids=WRONG)
def test_tables_that_do_not_account_for_every_byte_are_incomplete(name: str, data: bytes) -> None:
    assert report_of(data, name).outcome is Outcome.INCOMPLETE


def test_a_table_that_leads_to_itself_ends() -> None:
    data = tiff(following=8 + len(PIXELS))
    assert report_of(data, "a.tiff").outcome is Outcome.PASS


def test_a_bitmap_that_is_cut_off_is_told() -> None:
    assert "media-broken" in rules_of(report_of(BMP[:-4], "a.bmp"))
