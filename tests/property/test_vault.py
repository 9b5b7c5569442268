"""The vault against a plain byte string: any source, any read, any change of the container."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastness.core.clock import Instant, system_entropy
from fastness.core.errors import Corrupt
from fastness.core.identity import SYSTEM_SCOPE
from fastness.core.sources import Buffer
from fastness.foundation.crypto import SealedKeyRing
from fastness.foundation.storage.memory import MemoryBlobs
from fastness.foundation.vault import Vault
from fastness.foundation.vault.sealing import segments

RING = SealedKeyRing.in_memory(system_entropy)
NOW = Instant(1_800_000_000_000_000_000)
STEP = (1 << 18) - 32


class Chunks:
    def __init__(self, chunks: list[bytes]) -> None:
        self.name = "chunks"
        self._chunks = chunks

    def chunks(self) -> Iterator[Buffer]:
        yield from self._chunks


@given(st.lists(st.binary(max_size=40)), st.integers(1, 16))
def test_segments_are_the_bytes_in_order(chunks: list[bytes], size: int) -> None:
    pieces = [(bytes(piece), last) for piece, last in segments(chunks, memoryview(bytearray(size)))]
    assert b"".join(piece for piece, _ in pieces) == b"".join(chunks)
    assert [last for _, last in pieces] == [False] * (len(pieces) - 1) + [True]
    assert all(len(piece) == size for piece, last in pieces if not last)
    assert len(pieces[-1][0]) <= size
    assert pieces[-1][0] or len(pieces) == 1


SIZES = st.one_of(st.integers(0, 200), st.sampled_from([STEP - 1, STEP, STEP + 1, 2 * STEP + 7]))
RANGES = st.lists(st.tuples(st.integers(0, 2 * STEP + 50), st.integers(0, 2 * STEP + 50)), max_size=6)


@given(st.lists(SIZES, max_size=3), st.binary(min_size=1, max_size=16), RANGES)
def test_any_read_gives_what_a_byte_string_gives(sizes: list[int], unit: bytes, ranges: list[tuple[int, int]]) -> None:
    chunks = [(unit * (size // len(unit) + 1))[:size] for size in sizes]
    data = b"".join(chunks)
    vault = Vault(MemoryBlobs(), RING, system_entropy)
    candidate = vault.intake(Chunks(chunks), SYSTEM_SCOPE, NOW)
    assert candidate.digest == "sha256:" + hashlib.sha256(data).hexdigest()
    with vault.open(candidate) as opened:
        for offset, length in ranges:
            assert opened.read_at(offset, length) == data[offset : offset + length]
        target = bytearray(len(data))
        opened.read_into(memoryview(target))
        assert target == data


@given(st.integers(0, 600), st.data())
def test_any_change_of_the_container_is_corrupt(size: int, data: st.DataObject) -> None:
    plain = bytes(number % 251 for number in range(size))
    blobs = MemoryBlobs()
    vault = Vault(blobs, RING, system_entropy)
    candidate = vault.intake(Chunks([plain]), SYSTEM_SCOPE, NOW)
    sealed = bytearray(blobs.size(candidate.blob))
    blobs.read_into(candidate.blob, 0, sealed)
    start = data.draw(st.integers(0, len(sealed)))
    end = data.draw(st.integers(start, len(sealed)))
    changed = bytes(sealed[:start]) + data.draw(st.binary(max_size=40)) + bytes(sealed[end:])
    blobs.delete(candidate.blob)
    blobs.put(candidate.blob, [changed])
    if changed == bytes(sealed):
        with vault.open(candidate) as opened:
            assert opened.read_at(0, size) == plain
        return
    with pytest.raises(Corrupt) as caught, vault.open(candidate) as opened:
        opened.read_into(memoryview(bytearray(size)))
    assert caught.value.code == "blob-corrupt"
