"""What a scan keeps of decompressed bytes: the last used, so that memory is bounded however many archives a file holds."""

from __future__ import annotations

from collections import OrderedDict
from typing import TypeVar

T = TypeVar("T")
LIMIT = 24 << 20


class Kept:
    """Values by key, of which the longest unused go first.

    Args:
        limit: how much all of them may weigh, in bytes; a single heavier one is still kept, alone.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._weight = 0
        self._tickets = 0
        self._values: OrderedDict[tuple[int, str], tuple[object, int]] = OrderedDict()

    def ticket(self) -> int:
        """A number that nobody else has for a key."""
        self._tickets += 1
        return self._tickets

    def get(self, key: tuple[int, str], kind: type[T]) -> T | None:
        """The value, which is then the last used; None if it is gone."""
        entry = self._values.get(key)
        if entry is None or not isinstance(entry[0], kind):
            return None
        self._values.move_to_end(key)
        return entry[0]

    def put(self, key: tuple[int, str], value: object, weight: int) -> None:
        """Keep a value, at the cost of others."""
        self.drop(key)
        self._weight += weight
        self._values[key] = value, weight
        self._shrink(self._limit, 1)

    def make_room(self, weight: int) -> None:
        """Let go of values, so that one of this weight that is about to be put does not add to the limit."""
        self._shrink(self._limit - weight, 0)

    def _shrink(self, limit: int, least: int) -> None:
        while self._weight > limit and len(self._values) > least:
            _, (_, gone) = self._values.popitem(last=False)
            self._weight -= gone

    def drop(self, key: tuple[int, str]) -> None:
        """Let go of a value, if it is kept."""
        _, weight = self._values.pop(key, (None, 0))
        self._weight -= weight
