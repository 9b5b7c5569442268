"""How scans are run: in how many processes, for how long, in how much memory, and where."""

from __future__ import annotations

from dataclasses import dataclass

from fastness.core.settings import InvalidSetting

ENGINES = ("pool", "ray")
_MIB = 1 << 20
_MOST_JOBS = 1024


@dataclass(frozen=True)
class RunSettings:
    """How scans are run. None of it changes a verdict, except that a scan which is stopped is incomplete.

    Attributes:
        jobs: files that are scanned at once; 0 is one a processor.
        timeout_s: wall-clock seconds for one file, and a second more for each 10 MB of it.
        memory_bytes: what the process that scans one file may hold, the interpreter and the readers included.
        engine: `pool` scans on this machine, `ray` on a cluster.
        address: of the Ray cluster; empty is the one that this machine belongs to.
        cache_bytes: how large a cache of results may grow; the oldest go first.

    Raises:
        InvalidSetting: a value is out of range.
    """

    jobs: int = 0
    timeout_s: float = 120.0
    memory_bytes: int = 150 * _MIB
    engine: str = "pool"
    address: str = ""
    cache_bytes: int = 1024 * _MIB

    def __post_init__(self) -> None:
        if not 0 <= self.jobs <= _MOST_JOBS:
            raise InvalidSetting("scanning.jobs", f"is 0 to {_MOST_JOBS}")
        if not 0 < self.timeout_s <= 86_400:
            raise InvalidSetting("scanning.timeout_s", "is above 0 and at most 86400")
        if self.memory_bytes < 64 * _MIB:
            raise InvalidSetting("scanning.memory_bytes", "is at least 64 MiB")
        if self.engine not in ENGINES:
            raise InvalidSetting("scanning.engine", f"is one of {', '.join(ENGINES)}")
        if self.cache_bytes < _MIB:
            raise InvalidSetting("scanning.cache_bytes", "is at least 1 MiB")

    def patience_s(self, size: int) -> float:
        """How long one file of `size` bytes may take."""
        return self.timeout_s + size / 10e6
