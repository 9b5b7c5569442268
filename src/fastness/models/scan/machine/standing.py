"""The reviewed data: which globals a model may name, which it may call and how, and which are known to be dangerous.

Names are exact pairs of module and qualified name, never prefixes. What stands nowhere is unknown, and unknown is for
review. The dangerous list only raises the severity; nothing is safe for not standing on it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path

from fastness.models.scan.machine.values import Global, Items, Made, Standing, Text, container

DATA = Path(__file__).with_name("callables.json")


class Use(StrEnum):
    """How a reviewed global may be used. Each use includes the ones before it, except CALL."""

    NAME = "name"
    """It may be named as a value."""
    STATE = "state"
    """A class: made without its own code (`__new__` only) and given a state."""
    MAKE = "make"
    """A class or function whose call with any reviewed values has no effect beyond its result."""
    CALL = "call"
    """A function that may be called with the listed arguments only."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One reviewed global.

    Attributes:
        arguments: for CALL, the accepted forms; each form is one pattern per argument.
    """

    use: Use
    arguments: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All reviewed and all dangerous globals; the dangerous ones with the reason."""

    reviewed: Mapping[tuple[str, str], Entry]
    dangerous: Mapping[tuple[str, str], str]

    def standing_of(self, module: str, name: str) -> Standing:
        """What is known of a global by its name alone."""
        key = (module, name)
        if key in self.dangerous or module in _WHOLLY_DANGEROUS:
            return Standing.DANGEROUS
        if key in self.reviewed:
            return Standing.REVIEWED
        if "." in name:
            return self._dotted(module, name)
        return Standing.UNKNOWN

    @property
    def dangerous_modules(self) -> list[str]:
        """Modules that hold a dangerous name, in order."""
        return sorted({module for module, _ in self.dangerous} | _WHOLLY_DANGEROUS)

    def reason(self, module: str, name: str) -> str:
        """Why a dangerous global is dangerous; empty for others."""
        return self.dangerous.get((module, name), "runs code or commands" if module in _WHOLLY_DANGEROUS else "")

    def calls(self, callee: Global, args: object) -> Standing:
        """The standing of the call `callee(*args)`."""
        entry = self.reviewed.get((callee.module, callee.name))
        if callee.standing is not Standing.REVIEWED or entry is None:
            return callee.standing
        if entry.use is Use.MAKE:
            return Standing.REVIEWED
        if entry.use is Use.CALL and any(self._fits(form, args) for form in entry.arguments):
            return Standing.REVIEWED
        return Standing.MISUSED

    def makes(self, callee: Global) -> Standing:
        """The standing of `callee.__new__(callee, ...)`."""
        entry = self.reviewed.get((callee.module, callee.name))
        if callee.standing is not Standing.REVIEWED or entry is None:
            return callee.standing
        return Standing.REVIEWED if entry.use in {Use.MAKE, Use.STATE} else Standing.MISUSED

    def partial(self, parts: Sequence[object]) -> Standing:
        """The standing of a function with some of its arguments, given as (function, arguments ...), whatever it is called with."""
        callee = parts[0] if parts else None
        if not isinstance(callee, Global):
            return Standing.DANGEROUS
        if callee.standing is Standing.REVIEWED and self._use(callee) is Use.NAME:
            restricted = any(self._use(part) is Use.CALL for part in parts[1:])  # it may call what it is given
            return Standing.MISUSED if restricted else Standing.REVIEWED
        return self.calls(callee, container("tuple", list(parts[1:])))

    def _use(self, value: object) -> Use | None:
        entry = self.reviewed.get((value.module, value.name)) if isinstance(value, Global) else None
        return None if entry is None else entry.use

    def _dotted(self, module: str, name: str) -> Standing:
        """Attribute walks are refused; one that ends in a dangerous global is called that."""
        parts = f"{module}.{name}".split(".")
        for at in range(1, len(parts)):
            inner = (".".join(parts[at:-1]), parts[-1])
            if inner in self.dangerous or inner[0] in _WHOLLY_DANGEROUS:
                return Standing.DANGEROUS
        return Standing.DOTTED

    def _fits(self, form: tuple[str, ...], args: object) -> bool:
        if not isinstance(args, Items) or args.kind != "tuple" or args.count != len(args.kept):
            return False
        return len(form) == args.count and all(self._matches(p, v) for p, v in zip(form, args.kept, strict=True))

    def _matches(self, pattern: str, value: object) -> bool:
        kind, _, names = pattern.partition(":")
        if pattern in _FORMS:
            return isinstance(value, str) and _FORMS[pattern].fullmatch(value) is not None
        if pattern.startswith("="):
            return value == pattern[1:]
        if kind == "global":
            return isinstance(value, Global) and value.path in names.split("|")
        if kind == "made":
            return isinstance(value, Made) and value.maker in names.split("|")
        if pattern == "state-class":
            return isinstance(value, Global) and self.makes(value) is Standing.REVIEWED
        if pattern == "data":
            return getattr(value, "standing", Standing.REVIEWED) is Standing.REVIEWED and not isinstance(value, Global)
        return _kind(value) in pattern.split("|")


_FORMS = {
    "ratio": re.compile(r"-?[0-9]{1,4000}(?:/[0-9]{1,4000})?"),
    "zone": re.compile(r"[A-Za-z][A-Za-z0-9_+-]{0,63}(?:/[A-Za-z0-9_+-]{1,64}){0,3}"),
}

# Modules of functions only, all of which act on the machine: there is no harmless data class in them.
_WHOLLY_DANGEROUS = frozenset(
    {"os", "posix", "nt", "pty", "_posixsubprocess", "commands", "popen2", "_winapi", "msvcrt"}
)

_KINDS: dict[type, str] = {
    str: "text", int: "int", bool: "bool", float: "float", type(None): "none", bytes: "bytes", Text: "text",
}  # fmt: skip


def _kind(value: object) -> str:
    if isinstance(value, Items):
        return value.kind
    if isinstance(value, Text) and isinstance(value.head, bytes):
        return "bytes"
    return _KINDS.get(type(value), "other")


@cache
def catalogue() -> Catalogue:
    """The data shipped with the package."""
    tree = json.loads(DATA.read_bytes())
    reviewed: dict[tuple[str, str], Entry] = {}
    for group in tree["reviewed"]:
        entry = Entry(Use(group["use"]), tuple(tuple(form) for form in group.get("arguments", ())))
        for module in group["modules"]:
            for name in group["names"]:
                reviewed[module, name] = entry
    dangerous: dict[tuple[str, str], str] = {}
    for group in tree["dangerous"]:
        for path in group["names"]:
            module, _, name = path.partition(":")
            dangerous[module, name] = group["why"]
    return Catalogue(reviewed, dangerous)
