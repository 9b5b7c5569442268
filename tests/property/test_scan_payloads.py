"""What is found among numbers: nothing less where they are searched fast."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fastness.core.sources import BytesSource
from fastness.models.scan import payloads
from fastness.models.scan.budget import Budget, ScanSettings
from fastness.models.scan.facts import Fact
from tests.needs import need_host
from tests.unit.models.scan.artifacts import EVIL

ELF = (
    b"\x7fELF\x02\x01\x01"
    + bytes(9)
    + b"\x03\x00\x3e\x00\x01\x00\x00\x00"
    + bytes(32)
    + b"\x40\x00\x38\x00\x02\x00\x00\x00\x00\x00\x00\x00"
)
PIECES = [
    EVIL, b"cposix\nsystem\n(S'true'\ntR.", b"#!/bin/sh\ntrue\n", b"#! /usr/bin/env python3\n", b"@echo off\r\n", b"powershell -nop -w hidden",
    b"TVqQAAMAAAAEAAAA", b"f0VMRgIBAQ", ELF, b"dex\n035\0", b"\x00asm\x01\x00\x00\x00", b"\xca\xfe\xba\xbe\x00\x00\x00\x34", b"PE\x00\x00", b"ios\nsystem\n",
]  # fmt: skip
NOISE = st.one_of(
    st.binary(max_size=80),
    st.integers(0, 2**32 - 1).map(lambda seed: np.random.default_rng(seed).normal(size=64).astype("<f4").tobytes()),
    st.text("ab\n._cis", max_size=60).map(str.encode),
    st.integers(0, 3000).map(bytes),
)


@contextmanager
def slowly() -> Iterator[None]:
    with mock.patch.object(payloads, "_engine", return_value=None):
        yield


def found(data: bytes) -> list[Fact]:
    return list(payloads.search_payloads(BytesSource("w", data), 0, len(data), Budget(ScanSettings())))


@given(st.lists(NOISE | st.sampled_from(PIECES), max_size=12).map(b"".join))
def test_the_fast_way_finds_all_that_the_slow_one_does(data: bytes) -> None:
    """And more: scripts of less than two words in a row, which the slow way takes for numbers."""
    need_host("Hyperscan, which is made for x86 alone", present=payloads._engine() is not None)
    fast = {repr(fact) for fact in found(data)}
    with slowly():
        assert {repr(fact) for fact in found(data)} <= fast


@given(st.sampled_from(PIECES[:9]), st.integers(0, 600))
def test_a_payload_is_found_wherever_windows_meet(piece: bytes, shift: int) -> None:
    """At the edge of two windows, in the middle of honest numbers."""
    numbers = bytearray(
        np.random.default_rng(7).normal(size=(payloads._WINDOW + (64 << 10)) // 4).astype("<f4").tobytes()
    )
    at = payloads._WINDOW - 300 + shift
    numbers[at : at + len(piece)] = piece
    assert found(bytes(numbers)) != []
