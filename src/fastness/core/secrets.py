"""Secrets that do not show themselves."""

from __future__ import annotations


class SecretBytes:
    """Key material: printed as ***, wiped on request, never equal to anything by accident."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes | bytearray) -> None:
        self._value = bytearray(value)

    def reveal(self) -> bytearray:
        """The bytes themselves, shared and not copied: the caller neither keeps nor logs them."""
        return self._value

    def wipe(self) -> None:
        """Overwrite the bytes with zeros. Copies made by libraries are out of reach."""
        self._value[:] = bytes(len(self._value))

    def __len__(self) -> int:
        return len(self._value)

    def __repr__(self) -> str:
        return "SecretBytes(***)"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a secret is not pickled")
