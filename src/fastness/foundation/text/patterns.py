"""Many patterns in one pass over bytes, by Hyperscan; where that is not installed, callers have a slower way.

Cost: 3 GB a second for a dozen patterns; every match costs a call of Python besides.

Source: Wang et al., "Hyperscan: A Fast Multi-pattern Regex Matcher for Modern CPUs", NSDI 2019.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import hyperscan


class Patterns:
    """Compiled patterns; threads may share them, one scans at a time. Use `Patterns.compiled`."""

    def __init__(self, database: hyperscan.Database) -> None:
        self._database = database
        self._lock = threading.Lock()

    @classmethod
    def compiled(cls, expressions: Sequence[bytes]) -> Self | None:
        """The patterns, numbered in their order; None where the engine is not installed.

        Args:
            expressions: regular expressions over bytes; a dot is any byte.
        """
        try:
            import hyperscan
        except ImportError:
            return None
        database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
        count = len(expressions)
        database.compile(
            expressions=list(expressions),
            ids=list(range(count)),
            elements=count,
            flags=[hyperscan.HS_FLAG_DOTALL] * count,
        )
        return cls(database)

    def ends(self, data: bytes, limit: int) -> list[tuple[int, int]] | None:
        """Where matches end, with the number of their pattern, in order; None where there are more than `limit`."""
        found: list[tuple[int, int]] = []

        def note(number: int, start: int, end: int, flags: int, context: object) -> bool:
            del start, flags, context
            found.append((end, number))
            return len(found) > limit

        import hyperscan

        with self._lock:
            try:
                self._database.scan(data, match_event_handler=note)
            except hyperscan.ScanTerminated:
                return None
        return found if len(found) <= limit else None
