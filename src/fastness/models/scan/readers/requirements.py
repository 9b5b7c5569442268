"""Files of demands as pip reads them: requirements.txt and constraints.txt, whatever stands before or between.

Source: pip documentation, "Requirements File Format": encoding, comments, continued lines, options of the file and of one
demand. Cost: linear; the whole file is held, at most the header bound.
"""

from __future__ import annotations

import codecs
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from fastness.core.findings import Rule
from fastness.core.sources import RandomAccess
from fastness.models.scan.budget import Budget
from fastness.models.scan.facts import Fact, Look, Told, found, span
from fastness.models.scan.requirements import demand, elsewhere, included, option, secrets
from fastness.models.scan.rules import undecided

MALFORMED = undecided(
    "requirements-malformed", "A line that pip would not understand",
    "What an installer would make of it is not known.", "Correct the line, or remove it.",
)  # fmt: skip

RULES: tuple[Rule, ...] = (MALFORMED,)

_NAME = re.compile(
    r"(?:[\w.-]*requirements[\w.-]*|[\w.-]*constraints[\w.-]*|reqs?(?:[_-][\w.-]*)?)\.(?:txt|in|pip)", re.IGNORECASE
)
_COMMENT = re.compile(r"(?:^|\s+)#.*$")
_OPTION_OF_ONE = re.compile(
    r"\s(--?(?:hash|global-option|install-option|config-settings?|C))(?:[= ]\s*)(\S+|\"[^\"]*\")"
)
_VALUED = {
    "-i": "--index-url", "--index-url": "--index-url", "--pypi-url": "--index-url", "--extra-index-url": "--extra-index-url",
    "-f": "--find-links", "--find-links": "--find-links", "--trusted-host": "--trusted-host", "--no-binary": "--no-binary",
    "--only-binary": "--only-binary", "--use-feature": "--use-feature", "--global-option": "--global-option",
    "--install-option": "--install-option", "--config-settings": "--config-settings", "--config-setting": "--config-settings",
    "-C": "--config-settings",
}  # fmt: skip
_FLAGS = {
    "--no-index",
    "--prefer-binary",
    "--require-hashes",
    "--pre",
    "--no-use-pep517",
    "--no-build-isolation",
    "-Z",
    "--always-unzip",
}
_FILES = {"-r", "--requirement", "-c", "--constraint"}
_EDITABLE = {"-e", "--editable"}
_SHORT = {"-i", "-f", "-r", "-c", "-e"}
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))


@dataclass(frozen=True)
class RequirementsReader:
    """Reads requirements files."""

    name: ClassVar[str] = "requirements"
    suffixes: ClassVar[tuple[str, ...]] = ("requirements.txt",)

    def claims(self, look: Look) -> bool:
        """By the name: the format has nothing of its own."""
        return _NAME.fullmatch(re.split(r"[/!\\]", look.name)[-1]) is not None

    def read(self, source: RandomAccess, budget: Budget) -> Iterator[Told]:
        """A PACKAGE fact for each demand and each option that matters; credentials.

        Raises:
            TooLarge: the file is longer than the budget's bound of headers, or asks for too much.
        """
        budget.require("header_bytes", source.size)
        text = decoded(source.read_at(0, source.size))
        if text is None:
            yield found(MALFORMED, source.name, 0, "the file is no text")
            return
        yield span(source.name, 0, source.size)
        yield from secrets(source.name, 0, text)
        for offset, line in _lines(text):
            budget.spend("facts")
            fact = _fact(source.name, offset, line)
            if fact is None:
                yield found(MALFORMED, source.name, offset, "a line that is no demand and no option")
                return
            yield from fact


def decoded(data: bytes) -> str | None:
    """The text, by its byte order mark or as UTF-8; None for what is none."""
    encoding = next((name for mark, name in _BOMS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text.removeprefix("\ufeff")


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Logical lines without comments, with the offset at which each begins; offsets count characters."""
    start, kept = 0, ""
    at = 0
    for line in text.splitlines(keepends=True):
        bare = line.rstrip("\r\n")
        start = start if kept else at
        at += len(line)
        if bare.endswith("\\") and not _COMMENT.search(bare):
            kept += bare[:-1]
            continue
        whole = _COMMENT.sub("", kept + bare).strip()
        kept = ""
        if whole:
            yield start, whole
    if kept.strip():
        yield start, kept.strip()


def _fact(name: str, offset: int, line: str) -> list[Fact] | None:
    """The facts of one line; None where it is not understood."""
    if line.startswith("-"):
        return _options(name, offset, line)
    told = [
        option(name, offset, _VALUED[match[1]], match[2])
        for match in _OPTION_OF_ONE.finditer(line)
        if match[1] != "--hash"
    ]
    asked = demand(name, offset, _OPTION_OF_ONE.sub("", line))
    return None if asked is None else [asked, *told]


def _options(name: str, offset: int, line: str) -> list[Fact] | None:
    try:
        words = shlex.split(line)
    except ValueError:
        return None
    told: list[Fact] = []
    while words:
        flag, _, value = words.pop(0).partition("=")
        if flag in _FLAGS:
            told.append(option(name, offset, flag, ""))
            continue
        if flag[:2] in _SHORT and len(flag) > 2:
            flag, value = flag[:2], flag[2:] + ("=" + value if value else "")
        value = value or (words.pop(0) if words else "")
        if not value or flag not in _VALUED.keys() | _FILES | _EDITABLE:
            return None
        told.append(_valued(name, offset, flag, value))
    return told


def _valued(name: str, offset: int, flag: str, value: str) -> Fact:
    if flag in _FILES:
        return included(name, offset, value)
    if flag in _EDITABLE:
        return elsewhere(name, offset, value)
    return option(name, offset, _VALUED[flag], value)


READER = RequirementsReader
