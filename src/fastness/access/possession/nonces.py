"""Which signed requests came before: each is good once, whichever worker or plane it comes to.

One memory serves a whole house: Redis where the settings name one, else the control process, which the gateway workers ask. A
memory that began a moment ago cannot know what was used before it, so what was signed before then is refused until it is too
old anyway: a restart forgives nothing. What it misses: a Redis that lost its data.
"""

from __future__ import annotations

import msgspec

from fastness.core.clock import SECOND, Instant
from fastness.core.errors import Unavailable
from fastness.foundation.storage import counters


class Nonce(msgspec.Struct, frozen=True):
    """What makes a signed request the only one of its kind.

    Attributes:
        key: of who signed, and their nonce.
        created_s: when it says that it was signed, seconds since 1970 UTC.
        remember_s: how long it could be sent again.
    """

    key: str
    created_s: int
    remember_s: float


class Nonces:
    """The memory.

    Args:
        seen: where keys are kept.
        born: when that began, if it began empty with this process; None where it outlives processes.
        skew_s: by how much the clock of who signs may be ahead.
    """

    def __init__(self, seen: counters.Seen, born: Instant | None, skew_s: int) -> None:
        self._seen = seen
        self._floor_s = None if born is None else born // SECOND + skew_s

    def once(self, nonce: Nonce, now: Instant) -> bool:
        """Whether the request comes for the first time.

        Raises:
            Unavailable: that cannot be told.
        """
        if self._floor_s is not None and nonce.created_s <= self._floor_s:
            raise Unavailable(
                "nonces-young",
                "it cannot be told whether this request came before the house was started",
                "Sign it again in some seconds.",
            )
        return self._seen.once(f"signature:{nonce.key}", nonce.remember_s, now)
