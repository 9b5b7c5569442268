"""What the readers of reports share: strict access to JSON, and one thing that a witness said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fastness.core.errors import Invalid
from fastness.core.findings import Finding, Rule, Severity
from fastness.models.scan.rules import MAPS

SAYS_UNSAFE = Rule(
    "witness-unsafe", "Another scanner calls it unsafe", Severity.MEDIUM,
    "Its report was imported. It may know something that is not known here, or be mistaken.",
    "Read what it says, and compare it with the other findings.", MAPS,
)  # fmt: skip
SAYS_ODD = Rule(
    "witness-note", "Another scanner remarks on it", Severity.LOW,
    "Its report was imported.", "Read what it says.", MAPS,
)  # fmt: skip
COULD_NOT = Rule(
    "witness-failed", "Another scanner could not read it", Severity.INFO,
    "Its report was imported: what it says of this file is not the whole.", "Nothing, if it was read here.", MAPS,
)  # fmt: skip

RULES: tuple[Rule, ...] = (SAYS_UNSAFE, SAYS_ODD, COULD_NOT)

MOST = 100_000
"""Things that one report may say."""
_LONGEST_PATH = 4096


@dataclass(frozen=True, slots=True)
class Witnessed:
    """One thing that a witness said.

    Attributes:
        path: as the report names it.
        rule: id of the catalogue entry.
        said: in its own words; shown cut and escaped.
    """

    path: str
    rule: str
    severity: Severity
    witness: str
    said: str
    more: Mapping[str, str] = field(default_factory=dict)

    def finding(self) -> Finding:
        """The finding, which names the witness."""
        message = f"{self.witness} says: {ascii(self.said[:200])[1:-1]}"
        more = {key: ascii(value[:120])[1:-1] for key, value in self.more.items()}
        return Finding(self.rule, self.severity, ascii(self.path)[1:-1], message, {"witness": self.witness, **more})


def refused(problem: str) -> Invalid:
    """The error for a report that does not have the form of its scanner."""
    return Invalid("witness-malformed", f"the report cannot be read: {problem}", "Write the report again, whole.")


def mapping(value: object, where: str) -> Mapping[str, object]:
    """The object that must stand there.

    Raises:
        Invalid: something else does.
    """
    if not isinstance(value, dict):
        raise refused(f"{where} is no object")
    return value


def items(value: object, where: str) -> list[Mapping[str, object]]:
    """The list of objects that may stand there; None stands for an empty one.

    Raises:
        Invalid: something else does, or it is too long.
    """
    if value is None:
        return []
    if not isinstance(value, list) or len(value) > MOST:
        raise refused(f"{where} is no list, or longer than {MOST}")
    return [mapping(one, where) for one in value]


def text(holder: Mapping[str, object], key: str, *, needed: bool = True) -> str:
    """The text under a key; empty where it is not needed and not there.

    Raises:
        Invalid: it is none, or missing.
    """
    value = holder.get(key)
    if value is None and not needed:
        return ""
    if not isinstance(value, str):
        raise refused(f"{key!r} is no text")
    return value


def path(holder: Mapping[str, object], key: str) -> str:
    """The path under a key.

    Raises:
        Invalid: it is none, or longer than paths are.
    """
    value = text(holder, key)
    if len(value) > _LONGEST_PATH or "\0" in value:
        raise refused(f"{key!r} is no path")
    return value


def level(value: str, levels: Mapping[str, Severity]) -> Severity:
    """The severity for a level of a scanner.

    Raises:
        Invalid: the scanner has no such level.
    """
    if value not in levels:
        raise refused(f"the level {value[:40]!a} is not known")
    return levels[value]
