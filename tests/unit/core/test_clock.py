"""Time and identifiers made from it."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastness.core.clock import SECOND, Instant, ManualClock, SystemClock, later, rfc3339, system_entropy, uuid7

MILLISECOND = SECOND // 1000
INSTANTS = st.integers(0, 4_102_444_800 * SECOND).map(Instant)


def fixed(byte: int) -> Callable[[int], bytes]:
    return lambda n: bytes([byte]) * n


@given(INSTANTS, st.binary(min_size=10, max_size=10))
def test_uuid7_has_its_version_its_variant_and_its_time(now: Instant, random: bytes) -> None:
    seen = uuid.UUID(uuid7(now, lambda _: random))
    assert seen.version == 7
    assert seen.variant == uuid.RFC_4122
    assert seen.int >> 80 == now // MILLISECOND


@given(INSTANTS, st.binary(min_size=10, max_size=10))
def test_uuid7_keeps_74_random_bits(now: Instant, random: bytes) -> None:
    mask = (1 << 80) - 1 - (0xF << 76) - (0x3 << 62)
    assert uuid.UUID(uuid7(now, lambda _: random)).int & mask == int.from_bytes(random) & mask
    assert mask.bit_count() == 74


def test_uuid7_of_the_rfc() -> None:
    """RFC 9562, appendix A.6: the example of a version 7."""
    random = (0xCC3 << 64 | 0x18C4DC0C0C07398F).to_bytes(10)
    now = Instant(0x017F22E279B0 * MILLISECOND)
    assert uuid7(now, lambda _: random) == "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"


@given(INSTANTS, st.integers(1, 10**12))
def test_uuid7_sorts_as_text_by_the_millisecond(now: Instant, gap_ms: int) -> None:
    after = Instant(now + gap_ms * MILLISECOND)
    assert uuid7(now, fixed(0xFF)) < uuid7(after, fixed(0x00))


def test_uuid7_is_not_guessable_from_its_time() -> None:
    assert len({uuid7(Instant(0), system_entropy) for _ in range(1000)}) == 1000


@pytest.mark.parametrize(
    ("at", "text"),
    [
        pytest.param(0, "1970-01-01T00:00:00.000000Z", id="beginning"),
        pytest.param(1_767_323_045 * SECOND + 6_000, "2026-01-02T03:04:05.000006Z", id="microseconds"),
        pytest.param(1_767_323_045 * SECOND + 6_999, "2026-01-02T03:04:05.000006Z", id="cut, not rounded"),
        pytest.param(1_767_323_045 * SECOND + 999_999_999, "2026-01-02T03:04:05.999999Z", id="not the next second"),
        pytest.param(-1, "1969-12-31T23:59:59.999999Z", id="before the beginning"),
    ],
)
def test_rfc3339(at: int, text: str) -> None:
    assert rfc3339(Instant(at)) == text


@given(INSTANTS, INSTANTS)
def test_rfc3339_sorts_as_time_does(a: Instant, b: Instant) -> None:
    if a <= b:
        assert rfc3339(a) <= rfc3339(b)


def test_the_manual_clock_stands_still_until_it_is_moved() -> None:
    clock = ManualClock(Instant(5))
    assert (clock.now(), clock.now()) == (5, 5)
    clock.advance(1.5)
    assert clock.now() == 5 + 1_500_000_000
    assert clock.now() == later(Instant(5), 1.5)


def test_the_system_clock_runs() -> None:
    clock = SystemClock()
    first = clock.now()
    assert first > 1_767_323_045 * SECOND
    assert clock.now() >= first
