"""Fuzz of every reader and layout: damaged honest files give facts, findings or a spent budget, never another error.

Each reader is run on `FUZZ_EXAMPLES` (2,000 unless said) damaged copies of the files it claims among the honest ones and
some put together here. The damage follows from the reader's name and a number, so that a failure names what to run again.
"""

from __future__ import annotations

import os
import random
import zlib
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest

from fastness.core.errors import TooLarge
from fastness.core.sources import BytesSource
from fastness.models.scan import ScanSettings, scan
from fastness.models.scan.budget import Budget
from fastness.models.scan.bundles import Bundle
from fastness.models.scan.catalogue import all_layouts, all_readers
from fastness.models.scan.facts import Look, Member, Reader
from tests.contract.test_readers import HOSTILE
from tests.needs import ROOT
from tests.unit.models.scan.artifacts import rules_of

TIMES = int(os.environ.get("FUZZ_EXAMPLES", "2000"))
SMALL = ScanSettings(
    opcodes=50_000, stack=10_000, depth=4, members=200, inflated_bytes=1 << 20, header_bytes=1 << 18, fields=10_000, facts=2000
)  # fmt: skip
LONGEST = 64 << 10
FIXTURES = ROOT / "tests" / "data" / "artifacts"
READERS = {reader.name: reader for reader in all_readers() if reader.name != "raw"}
ODD = (
    0,
    1,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    (1 << 63) - 1,
    1 << 63,
    (1 << 64) - 1,
)
PIECES = (
    b"",
    b"\x00" * 9,
    b"\x80\x04",
    b"PK\x03\x04",
    b"../" * 3,
    b"\xff\xfe",
    b"{" * 70,
    b"[" * 70,
    b"cposix\nsystem\n",
    b"9" * 40,
)


@cache
def honest() -> tuple[tuple[str, bytes], ...]:
    """Name and bytes of every small honest file, and of the hostile ones of the contract tests."""
    files = sorted(p for p in FIXTURES.rglob("*") if p.is_file() and 0 < p.stat().st_size <= LONGEST)
    found = [(str(path.relative_to(FIXTURES)), path.read_bytes()) for path in files]
    return (*found, *((f"{name}.bin", data) for name, data in HOSTILE.items() if data))


@cache
def seeds(name: str) -> tuple[tuple[str, bytes], ...]:
    """The files that a reader claims; all of them where it claims none."""
    claimed = tuple((path, data) for path, data in honest() if READERS[name].claims(Look(BytesSource(path, data))))
    return claimed or honest()


def damaged(data: bytes, other: bytes, chance: random.Random) -> bytes:
    made = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(made) + 1)
        kind = chance.randrange(8)
        if kind == 0:
            made[at : at + 1] = bytes([chance.randrange(256)])
        elif kind == 1:
            width, order = chance.choice((1, 2, 4, 8)), chance.choice(("little", "big"))
            made[at : at + width] = (chance.choice(ODD) & (1 << 8 * width) - 1).to_bytes(width, order)  # type: ignore[arg-type]
        elif kind == 2:
            del made[at : at + chance.choice((1, 2, 8, 100))]
        elif kind == 3:
            made[at:at] = chance.choice(PIECES)
        elif kind == 4:
            made[at:at] = made[at : at + chance.choice((4, 32, 300))]
        elif kind == 5:
            start = chance.randrange(len(other) + 1)
            made[at : at + 16] = other[start : start + chance.choice((8, 64, 500))]
        elif kind == 6 and at < len(made):
            made[at] ^= 1 << chance.randrange(8)
        elif kind == 7 and chance.random() < 0.2:
            del made[at:]
    return bytes(made[: 2 * LONGEST])


def variants(name: str) -> Iterator[tuple[int, str, bytes]]:
    found = seeds(name)
    for number in range(TIMES):
        chance = random.Random(f"{name} {number}")
        path, data = found[number % len(found)]
        yield number, path, damaged(data, chance.choice(found)[1], chance)


def read(reader: Reader, source: BytesSource) -> None:
    """Run a reader and the layouts of what it finds, to the end or to the end of the budget."""
    budget = Budget(SMALL)
    with suppress(TooLarge):
        for item in reader.read(source, budget):
            if isinstance(item, Member):
                item.source.read_at(0, 100)
            elif isinstance(item, Bundle):
                lay_out(item, budget)


def lay_out(bundle: Bundle, budget: Budget) -> None:
    for layout in all_layouts():
        if layout.claims(bundle):
            for path in bundle:
                layout.reader(path, bundle)
            for _ in layout.read(bundle, budget):
                pass


@pytest.mark.parametrize("name", READERS)
def test_a_reader_survives_damage(name: str) -> None:
    for number, path, data in variants(name):
        try:
            read(READERS[name], BytesSource(path, data))
        except Exception as error:
            raise AssertionError(
                f"reader {name}, variant {number} of {path}, {zlib.crc32(data):08x}: {error!r}"
            ) from error


def test_a_whole_scan_survives_damage() -> None:
    """All readers that claim it, all layouts, all checks: no fault of a plug-in hides behind the boundary."""
    files = honest()
    for number in range(TIMES):
        chance = random.Random(f"scan {number}")
        path, data = files[number % len(files)]
        report = scan(BytesSource(path, damaged(data, chance.choice(files)[1], chance)), SMALL)
        assert "reader-failed" not in rules_of(report), (number, path, report.verdict.findings)


@pytest.mark.parametrize("length", [0, 1, 2, 3, 7, 8, 16, 64])
def test_files_cut_near_their_beginning_get_a_verdict(length: int) -> None:
    for path, data in honest():
        for piece in (data[:length], data[: len(data) - length]):
            report = scan(BytesSource(path, piece), SMALL)
            assert "reader-failed" not in rules_of(report), (path, length, report.verdict.findings)


def test_fixtures_are_there() -> None:
    assert Path(FIXTURES).is_dir()
    assert len(honest()) > len(HOSTILE) - 1
