"""Decompressed bytes as a source: the same bytes at any place, in bounded memory, with few passes."""

import bz2
import gzip
import lzma
import os
import random
import zlib
from collections.abc import Callable

import pytest

from fastness.core.errors import TooLarge
from fastness.core.sources import BytesSource
from fastness.models.scan.budget import Budget, ScanSettings
from fastness.models.scan.cursor import Part
from fastness.models.scan.inflate import CODECS, BrokenData, Inflated, allowance, raw_lzma
from fastness.models.scan.kept import Kept

LONG = b"".join(bytes([i % 251]) * 7919 + os.urandom(64) for i in range(4200))  # 32 MiB and more


def packed(name: str, data: bytes) -> bytes:
    if name == "lz4":
        return bytes(pytest.importorskip("lz4.frame").compress(data))
    if name == "zstandard":
        return bytes(pytest.importorskip("zstandard").ZstdCompressor(write_checksum=True).compress(data))
    if name == "deflate":
        return zlib.compress(data, wbits=-15)
    known: dict[str, Callable[[bytes], bytes]] = {
        "gzip": gzip.compress,
        "zlib": zlib.compress,
        "bz2": bz2.compress,
        "xz": lzma.compress,
    }
    return known[name](data)


def inflated(name: str, data: bytes, **settings: int) -> Inflated:
    return Inflated(BytesSource("m", packed(name, data)), f"m!{name}", name, Budget(ScanSettings(**settings)))


@pytest.mark.parametrize("name", ["gzip", "zlib", "deflate", "bz2", "xz", "lz4", "zstandard"])
def test_long_streams_are_the_same_at_any_place(name: str) -> None:
    inner = inflated(name, LONG)
    assert (inner.size, inner.crc, inner.problem) == (len(LONG), zlib.crc32(LONG), "")
    chance = random.Random(7)
    places = [0, len(LONG) - 9, 5_000_000, len(LONG) // 2, *(chance.randrange(len(LONG)) for _ in range(6))]
    for place in places:
        length = chance.choice([1, 300, 70_000, 1_500_000])
        assert inner.read_at(place, length) == LONG[place : place + length], place
    assert inner.read_at(len(LONG), 5) == b""


def test_reading_forward_with_small_steps_back_takes_one_more_pass() -> None:
    data = (os.urandom(1 << 16) + bytes(15 << 16)) * 30
    inner = inflated("xz", data, inflated_bytes=70 << 20)
    window, overlap = 1 << 20, 4096
    assert all(
        inner.read_at(at, window + overlap) == data[at : at + window + overlap] for at in range(0, len(data), window)
    )


def test_a_stream_that_cannot_rewind_is_paid_for_again() -> None:
    inner = inflated("bz2", bytes(40 << 20), inflated_bytes=100 << 20)
    with pytest.raises(TooLarge):
        for at in range(38, 0, -1):
            inner.read_at(at << 20, 1 << 17)


def test_what_is_kept_is_bounded_and_the_longest_unused_goes_first() -> None:
    kept = Kept(limit=100)
    for number in range(5):
        kept.put((number, "x"), bytes(30), 30)
    assert [kept.get((number, "x"), bytes) is not None for number in range(5)] == [False, False, True, True, True]
    kept.get((2, "x"), bytes)
    kept.make_room(70)
    assert [kept.get((number, "x"), bytes) is not None for number in range(5)] == [False, False, True, False, False]
    kept.put((9, "big"), bytes(500), 500)
    assert kept.get((9, "big"), bytes) is not None
    assert kept.get((9, "big"), int) is None


def test_a_large_honest_stream_does_not_meet_the_bound() -> None:
    data = os.urandom(1 << 16) * 64
    source = BytesSource("m", gzip.compress(data))
    free = allowance(source, source.size)
    assert Inflated(source, "m!gzip", "gzip", Budget(ScanSettings(inflated_bytes=1 << 20)), allowance=free).size == len(
        data
    )
    assert allowance(Part(source, "p", 0, 9), 9) == 16 * 9
    inner = Inflated(source, "m!gzip", "gzip", Budget(ScanSettings()))
    assert allowance(Part(inner, "p", 0, 9), 9) == 0


BROKEN = ["gzip", "bz2", "xz", "lz4", "zstandard"]


@pytest.mark.parametrize("name", BROKEN)
def test_cut_and_changed_streams_tell_their_problem(name: str) -> None:
    data = packed(name, os.urandom(3000))
    for length in range(5, len(data) - 1, 97):
        inner = Inflated(BytesSource("m", data[:length]), "m!x", name, Budget(ScanSettings()))
        assert inner.problem, length
    for at in range(5, len(data), 53):
        changed = data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]
        inner = Inflated(BytesSource("m", changed), "m!x", name, Budget(ScanSettings()))
        assert inner.size <= 1 << 20


def test_a_dictionary_larger_than_the_memory_is_refused() -> None:
    with pytest.raises(BrokenData):
        raw_lzma([{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 30}])
    with pytest.raises(BrokenData):
        raw_lzma([{"id": lzma.FILTER_X86}])


def test_codecs_that_need_a_library_say_which() -> None:
    assert {name: codec.library for name, codec in CODECS.items() if codec.library} == {
        "lz4": "lz4",
        "zstandard": "zstandard",
    }
    assert all(codec.installed for codec in CODECS.values() if not codec.library)
