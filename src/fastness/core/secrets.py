"""Secrets that do not show themselves, and references to where they are kept."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from fastness.core.errors import Invalid


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


_REFERENCE: Final = re.compile(r"secret://(file|env|vault|aws)/([^#]+)(?:#([A-Za-z0-9._-]{1,128}))?", re.ASCII)
_PATHS: Final = {
    "file": re.compile(r"[^\x00-\x1f\x7f]{1,1024}"),
    "env": re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}", re.ASCII),
    "vault": re.compile(r"[A-Za-z0-9._@+=,-]+(?:/[A-Za-z0-9._@+=,-]+)+", re.ASCII),
    "aws": re.compile(r"[A-Za-z0-9/_+=.@:-]{1,2048}", re.ASCII),
}


@dataclass(frozen=True, slots=True)
class SecretRef:
    """Where a secret is kept; the secret itself never stands in the settings.

    `secret://file/PATH` (from the root of the file system), `secret://env/NAME`, `secret://vault/MOUNT/PATH#FIELD`,
    `secret://aws/NAME` or `secret://aws/NAME#FIELD` of a JSON object.
    """

    backend: str
    path: str
    field: str = ""

    @classmethod
    def parse(cls, text: str) -> SecretRef:
        """The reference in `text`.

        Raises:
            Invalid: not one; the text is not shown, for it may be the secret itself.
        """
        found = _REFERENCE.fullmatch(text)
        if found is not None:
            backend, path, name = found[1], found[2], found[3] or ""
            steps = path.split("/")
            fits = _PATHS[backend].fullmatch(path) and not {".", ".."} & set(steps)
            if fits and (bool(name) if backend == "vault" else not name or backend == "aws"):
                return cls(backend, path, name)
        raise Invalid(
            "secret-reference",
            "is no reference to a secret",
            "Write secret://file/PATH, secret://env/NAME, secret://vault/MOUNT/PATH#FIELD or secret://aws/NAME#FIELD.",
        )

    def __str__(self) -> str:
        return f"secret://{self.backend}/{self.path}" + (f"#{self.field}" if self.field else "")
