"""IDX files (MNIST): honest ones pass, packed or not; what does not come to its size, or holds a program, does not."""

import gzip
import math
import struct
from collections.abc import Callable

import pytest

from fastness.models.scan import Outcome
from tests.unit.models.scan.artifacts import EVIL, report_of, rules_of

KINDS = {0x08: 1, 0x09: 1, 0x0B: 2, 0x0C: 4, 0x0D: 4, 0x0E: 8}


def idx(*lengths: int, kind: int = 0x08, data: bytes | None = None) -> bytes:
    """Handmade to the description of the format."""
    count = math.prod(lengths) * KINDS[kind]
    pixels = bytes(7 * at % 251 for at in range(count)) if data is None else data
    return bytes((0, 0, kind, len(lengths))) + struct.pack(f">{len(lengths)}I", *lengths) + pixels


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gz"])
def test_images_and_labels_pass(kind: int, pack: Callable[[bytes], bytes]) -> None:
    for data in (idx(10, kind=kind), idx(4, 28, 28, kind=kind), idx(0, kind=kind)):
        name = "train-images-idx3-ubyte" + (".gz" if pack is not bytes else "")
        report = report_of(pack(data), name=name)
        assert report.outcome is Outcome.PASS, report.verdict.findings


WHOLE = idx(4, 28, 28)
ODD = {
    "cut": WHOLE[:-1],
    "longer": WHOLE + b"x",
    "lengths beyond measure": idx(2**32 - 1, 2**32 - 1, 2**32 - 1, data=b"xx"),
    "a payload in the place of pixels": idx(4, 28, 28, data=EVIL),
    "a payload behind": WHOLE + EVIL,
}


@pytest.mark.parametrize("data", ODD.values(), ids=ODD)
def test_a_file_whose_lengths_do_not_come_to_its_size_does_not_pass(data: bytes) -> None:
    named = report_of(data, name="train-images-idx3-ubyte")
    assert named.outcome is not Outcome.PASS
    assert "idx-size" in rules_of(named)
    assert "idx" not in report_of(data, name="images.bin").formats


def test_a_pickle_among_the_pixels_is_found() -> None:
    pixels = EVIL + bytes(4 * 28 * 28 - len(EVIL))
    for data in (idx(4, 28, 28, data=pixels), idx(4 * 28 * 28, data=pixels)):
        assert report_of(data, name="train-images-idx3-ubyte").outcome is not Outcome.PASS


def test_a_program_among_the_pixels_is_found() -> None:
    elf = (
        b"\x7fELF\x02\x01\x01"
        + bytes(9)
        + b"\x02\x00\x3e\x00\x01\x00\x00\x00"
        + bytes(24)
        + bytes(4)
        + b"\x40\x00\x38\x00\x01\x00\x40\x00\x00\x00\x00\x00"
        + b"\x01\x00\x00\x00\x05\x00\x00\x00"
        + bytes(300)
    )
    pixels = elf + bytes(28 * 280 - len(elf))
    report = report_of(idx(280, 28, data=pixels), name="train-images-idx3-ubyte")
    assert report.formats == ("idx",)
    assert report.outcome is not Outcome.PASS, report.verdict.findings
