"""FLOE: what is sealed opens, in any order; any other bytes raise `Corrupt` and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastness.core.clock import system_entropy
from fastness.core.errors import Corrupt
from fastness.core.secrets import SecretBytes
from fastness.foundation.crypto import floe
from fastness.foundation.crypto.floe import FloeLimits

KEY = SecretBytes(bytes(range(32)))
SEGMENTS = st.integers(33, 96)


def seal(plain: bytes, aad: bytes, segment: int, bits: int) -> bytes:
    writer = floe.FloeWriter(KEY, aad, system_entropy, segment, FloeLimits(frozenset({segment}), bits))
    room = memoryview(bytearray(segment))
    sealed = bytearray(writer.header)
    parts = [plain[at : at + writer.plain_len] for at in range(0, len(plain), writer.plain_len)] or [b""]
    for number, part in enumerate(parts):
        sealed += room[: writer.seal_into(part, number == len(parts) - 1, room)]
    return bytes(sealed)


def unseal(sealed: bytes, aad: bytes, segment: int, bits: int) -> bytes:
    reader = floe.FloeReader(KEY, aad, sealed[: floe.FloeReader.HEADER], FloeLimits(frozenset({segment}), bits))
    body = sealed[floe.FloeReader.HEADER :]
    parts = [body[at : at + segment] for at in range(0, len(body), segment)] or [b""]
    plain = bytearray()
    for number, part in enumerate(parts):
        room = memoryview(bytearray(segment))
        plain += room[: reader.open_into(part, number, number == len(parts) - 1, room)]
    return bytes(plain)


@given(st.binary(max_size=600), st.binary(max_size=40), SEGMENTS, st.integers(0, 3))
def test_round_trip(plain: bytes, aad: bytes, segment: int, bits: int) -> None:
    sealed = seal(plain, aad, segment, bits)
    assert unseal(sealed, aad, segment, bits) == plain
    reader = floe.FloeReader(KEY, aad, sealed[:74], FloeLimits(frozenset({segment}), bits))
    assert reader.sealed_size(len(plain)) == len(sealed)


@given(st.binary(max_size=300), SEGMENTS, st.data())
def test_every_change_is_seen(plain: bytes, segment: int, data: st.DataObject) -> None:
    sealed = seal(plain, b"aad", segment, 1)
    at = data.draw(st.integers(0, len(sealed) - 1))
    to = data.draw(st.integers(at, len(sealed)))
    changed = sealed[:at] + data.draw(st.binary(max_size=2 * segment)) + sealed[to:]
    if changed == sealed:
        assert unseal(changed, b"aad", segment, 1) == plain
        return
    with pytest.raises(Corrupt):
        unseal(changed, b"aad", segment, 1)


@given(st.binary(max_size=300))
def test_foreign_bytes_are_corrupt(data: bytes) -> None:
    with pytest.raises(Corrupt):
        unseal(data, b"aad", 64, 1)
