"""Thrift's compact protocol, read forward: fields one by one, whose values the caller takes or steps over.

Cost: linear; nothing is kept but what is taken. Source: Apache Thrift, "Thrift Compact protocol encoding".
"""

from __future__ import annotations

from collections.abc import Iterator

from fastness.models.scan.budget import Budget

TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(1, 13)
_INTEGERS = frozenset({BYTE, I16, I32, I64})
_DEEPEST = 32
_LONGEST_NUMBER = 10


class NotThrift(ValueError):
    """The bytes are none; `at` is where that was seen."""

    def __init__(self, at: int) -> None:
        super().__init__(f"no Thrift at {at}")
        self.at = at


class Compact:
    """A position in bytes that hold structs.

    Attributes:
        at: offset of the next byte.
    """

    def __init__(self, data: bytes, budget: Budget) -> None:
        self.at = 0
        self._data = data
        self._budget = budget

    def fields(self) -> Iterator[tuple[int, int]]:
        """Number and type of each field of a struct; before the next one, its value must be taken or skipped.

        Raises:
            NotThrift: it is broken.
            TooLarge: the budget is spent.
        """
        number = 0
        while (head := self._byte()) != 0:
            self._budget.spend("fields")
            number = number + (head >> 4) if head >> 4 else self._signed()
            kind = head & 15
            if not TRUE <= kind <= STRUCT:
                raise NotThrift(self.at - 1)
            yield number, kind

    def items(self, kind: int) -> Iterator[int]:
        """The type of each item of a list, one by one; its value must be taken or skipped.

        Raises:
            NotThrift: it is broken, or no list.
        """
        if kind not in {LIST, SET}:
            raise NotThrift(self.at)
        head = self._byte()
        count = self._unsigned() if head >> 4 == 15 else head >> 4
        if count > len(self._data) - self.at:  # each takes a byte at least
            raise NotThrift(self.at)
        for _ in range(count):
            self._budget.spend("fields")
            yield head & 15

    def integer(self, kind: int) -> int:
        """A whole number.

        Raises:
            NotThrift: it is broken, or none.
        """
        if kind not in _INTEGERS:
            raise NotThrift(self.at)
        return self._byte() if kind == BYTE else self._signed()

    def binary(self, kind: int) -> bytes:
        """A text, or bytes.

        Raises:
            NotThrift: it is broken, or none.
        """
        if kind != BINARY:
            raise NotThrift(self.at)
        length = self._unsigned()
        if length > len(self._data) - self.at:
            raise NotThrift(self.at)
        self.at += length
        return self._data[self.at - length : self.at]

    def skip(self, kind: int, depth: int = 0) -> None:
        """Step over a value.

        Raises:
            NotThrift: it is broken, or nested too deep.
            TooLarge: the budget is spent.
        """
        if depth > _DEEPEST:
            raise NotThrift(self.at)
        if kind in _INTEGERS:
            self.integer(kind)
        elif kind == DOUBLE:
            self._step(8)
        elif kind == BINARY:
            self.binary(kind)
        elif kind in {LIST, SET}:
            for inner in self.items(kind):
                self._skip_item(inner, depth + 1)
        elif kind == MAP:
            self._skip_map(depth + 1)
        elif kind == STRUCT:
            for _, inner in self.fields():
                self.skip(inner, depth + 1)
        elif kind not in {TRUE, FALSE}:
            raise NotThrift(self.at)

    def _skip_item(self, kind: int, depth: int) -> None:
        if kind in {TRUE, FALSE}:  # in lists a truth value is a byte of its own
            self._step(1)
        else:
            self.skip(kind, depth)

    def _skip_map(self, depth: int) -> None:
        count = self._unsigned()
        kinds = self._byte() if count else 0
        if count > len(self._data) - self.at:
            raise NotThrift(self.at)
        for _ in range(count):
            self._budget.spend("fields")
            self._skip_item(kinds >> 4, depth)
            self._skip_item(kinds & 15, depth)

    def _byte(self) -> int:
        self._step(1)
        return self._data[self.at - 1]

    def _step(self, count: int) -> None:
        if count > len(self._data) - self.at:
            raise NotThrift(self.at)
        self.at += count

    def _unsigned(self) -> int:
        value = 0
        for shift in range(_LONGEST_NUMBER):
            byte = self._byte()
            value |= (byte & 127) << 7 * shift
            if byte < 128:
                return value
        raise NotThrift(self.at)

    def _signed(self) -> int:
        value = self._unsigned()
        return (value >> 1) ^ -(value & 1)
