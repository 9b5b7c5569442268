"""What an assessment asks for."""

from __future__ import annotations

from dataclasses import dataclass

from fastness.core.settings import InvalidSetting


@dataclass(frozen=True)
class AssessSettings:
    """How much is tried, and what is good enough.

    Attributes:
        rounds: batches of random valid inputs.
        rows: rows of each.
        timeout_s: for one call.
        latency_s: time spent on each latency, at most; at least ten calls are made.
        single_ms, batch_ms: most that the 99th percentile may be, at one row and at a hundred.
        memory_mib: most that the worker may use.
    """

    rounds: int = 4
    rows: int = 32
    timeout_s: float = 10.0
    latency_s: float = 1.0
    single_ms: float = 50.0
    batch_ms: float = 500.0
    memory_mib: float = 768.0

    def __post_init__(self) -> None:
        if not 1 <= self.rounds <= 1000 or not 2 <= self.rows <= 4096:
            raise InvalidSetting("assess", "rounds is 1 to 1000, rows is 2 to 4096")
        if min(self.timeout_s, self.latency_s, self.single_ms, self.batch_ms, self.memory_mib) <= 0:
            raise InvalidSetting("assess", "times and sizes are above 0")
