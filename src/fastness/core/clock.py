"""Time and randomness as arguments, so that decisions can be replayed and tests need no patching."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NewType, Protocol

Instant = NewType("Instant", int)
"""Nanoseconds since 1970-01-01 UTC."""

Entropy = Callable[[int], bytes]
"""Returns that many bytes of cryptographic randomness."""

SECOND = 1_000_000_000


class Clock(Protocol):
    """Where the time comes from."""

    def now(self) -> Instant:
        """The current time."""
        ...


class SystemClock:
    """The clock of the machine."""

    def now(self) -> Instant:
        """The wall-clock time of the machine."""
        return Instant(time.time_ns())


class ManualClock:
    """A clock that stands still until it is moved; for tests and replays."""

    def __init__(self, start: Instant) -> None:
        self._now = start

    def now(self) -> Instant:
        """The time it was last set to."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Move forward by `seconds`."""
        self._now = Instant(self._now + int(seconds * SECOND))


system_entropy: Entropy = os.urandom


def later(now: Instant, seconds: float) -> Instant:
    """The instant `seconds` after `now`."""
    return Instant(now + int(seconds * SECOND))


def rfc3339(at: Instant) -> str:
    """`at` as RFC 3339 text in UTC with microseconds (cut, not rounded), such as 2026-01-02T03:04:05.000006Z."""
    seconds, rest = divmod(at, SECOND)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest // 1000:06d}Z"


def uuid7(now: Instant, entropy: Entropy) -> str:
    """A UUID version 7: sortable by time, 74 random bits.

    Source: RFC 9562, section 5.7.
    """
    value = (now // 1_000_000) << 80 | int.from_bytes(entropy(10))
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
