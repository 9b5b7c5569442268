"""What a model asks to be installed: where from, in which version, and whether the name is an imitation.

Installing a package runs its code; a model that asks for one decides what runs, wherever the model is set up. Pinned
versions are held against the advisories that are shipped; a full snapshot is matched with `advisories.advise`.

Source for imitations: Vu et al., "Typosquatting and Combosquatting Attacks on the Python Ecosystem", EuroS&PW 2020;
distance after Damerau, 1964 (with Levenshtein's operations), restricted to adjacent transpositions.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import ClassVar

from fastness.core.findings import Finding, Rule, Severity
from fastness.models.scan import advisories
from fastness.models.scan.facts import Fact, FactKind, Facts, found
from fastness.models.scan.rules import MAPS

_MAPS = {**MAPS, "cwe": "CWE-829"}
INDEX = Rule(
    "package-index", "Packages come from another index", Severity.MEDIUM,
    "Whoever runs that index decides what is installed; with a second index, the higher version of either wins.",
    "Name the usual index only, and pin packages by hash.", {**_MAPS, "cwe": "CWE-427"},
)  # fmt: skip
UNPROTECTED = Rule(
    "package-unprotected", "Packages come over a connection that is not protected", Severity.HIGH,
    "Everybody on the way can put a program of their own in the place of a package, which installing then runs.",
    "Use https, and no trusted hosts.", {**_MAPS, "cwe": "CWE-494"},
)  # fmt: skip
ELSEWHERE = Rule(
    "package-elsewhere", "A package that comes from an address", Severity.MEDIUM,
    "What stands at an address can be replaced at any time, and nobody but its owner looks at it.",
    "Ask for a released version from the index, pinned by hash.", _MAPS,
)  # fmt: skip
LOCAL = Rule(
    "package-local-path", "A package from a folder of another machine", Severity.LOW,
    "It names where the package was built; nobody else has that folder, so that the list cannot be installed as it is.",
    "Write the version in its place.", {**MAPS, "cwe": "CWE-1357"},
)  # fmt: skip
BROUGHT = Rule(
    "package-brought", "A package that comes with the model", Severity.MEDIUM,
    "It is code that installing or loading the model runs.",
    "Read it, or ask for a released version of it.", _MAPS,
)  # fmt: skip
INCLUDED = Rule(
    "package-list-elsewhere", "A list of packages in another file", Severity.MEDIUM,
    "That file is not here, so that what it asks for is not known.", "Put it beside this one.", _MAPS,
)  # fmt: skip
OPTION = Rule(
    "package-option", "An option that changes how packages are built", Severity.MEDIUM,
    "Options for building are handed to the build program of a package, and can make it run other programs.",
    "Leave the option out; install built packages.", {**_MAPS, "cwe": "CWE-88"},
)  # fmt: skip
IMITATION = Rule(
    "package-imitation", "A name that looks like that of another package", Severity.MEDIUM,
    "Packages with names that are one slip away from a known one are made to be installed by mistake.",
    "Compare the name with the one that was meant.", {**_MAPS, "cwe": "CWE-1007"},
)  # fmt: skip
UNPINNED = Rule(
    "package-unpinned", "Packages without a version", Severity.INFO,
    "What is installed depends on the day, so that no advisory can be matched.",
    "Pin versions, best with hashes.", {**_MAPS, "cwe": "CWE-1357"},
)  # fmt: skip

RULES: tuple[Rule, ...] = (
    INDEX, UNPROTECTED, ELSEWHERE, LOCAL, BROUGHT, INCLUDED, OPTION, IMITATION, UNPINNED, *advisories.RULES,
)  # fmt: skip

_DATA = Path(__file__).with_name("packages.json")
# Written in two parts, for this project names no index that it would install from.
_USUAL = re.compile(
    r"https://(?:[\w-]+\.)?(?:py" + r"pi\.org|py" + r"thonhosted\.org)/"
    r"|https://(?:download\.pytorch\.org/whl|data\.pyg\.org/whl|pypi\.(?:ngc\.)?nvidia\.com|developer\.download\.nvidia\.com/compute/redist"
    r"|storage\.googleapis\.com/(?:jax-releases|tensorflow)|download\.tensorflow\.org)(?:/|\Z)",
    re.IGNORECASE,
)
_CHANNELS = {
    "defaults",
    "conda-forge",
    "anaconda",
    "main",
    "r",
    "msys2",
    "bioconda",
    "pytorch",
    "nvidia",
    "intel",
    "huggingface",
    "nodefaults",
}
_UNPROTECTED = re.compile(r"(?:\w+\+)?(?:http|ftp|git|svn|bzr)://", re.IGNORECASE)
_ABSOLUTE = re.compile(r"(?:file://(?:localhost)?)?(?:/(?!/)|[A-Za-z]:[\\/])", re.IGNORECASE)
_INDEXES = {"--index-url", "-i", "--extra-index-url", "--find-links", "-f"}
_BUILDS = {"--global-option", "--install-option", "--config-settings", "--config-setting", "-C", "--build-option"}
_SHORTEST_IMITATION = 5
_FAR = 10
"""From this length on, two slips still look like the name."""


@dataclass(frozen=True)
class Packages:
    """Judges what is asked for."""

    name: ClassVar[str] = "packages"
    wants: ClassVar[AbstractSet[FactKind]] = frozenset({FactKind.PACKAGE})

    def check(self, facts: Facts) -> Iterator[Finding]:
        """Findings by package and option, and one note for all that are not pinned."""
        loose: list[Fact] = []
        for fact in facts.of(FactKind.PACKAGE):
            origin = str(fact.detail.get("origin", "index"))
            if origin == "option":
                yield from _option(fact)
            elif origin == "include":
                if not facts.present(_address(fact)):
                    yield found(INCLUDED, fact.source, fact.offset, f"reads {_shown(_address(fact))}")
            elif origin in {"vcs", "url", "path"}:
                yield _elsewhere(fact)
            elif origin == "brought":
                yield found(BROUGHT, fact.source, fact.offset, f"{_shown(fact.name)} {_shown(_specifier(fact))}")
            else:
                loose += [fact] if not advisories.pinned(_specifier(fact)) else []
            yield from _named(fact, origin)
        if loose:
            named = ", ".join(_shown(fact.name) for fact in loose[:5])
            yield found(UNPINNED, loose[0].source, loose[0].offset, f"{len(loose)} packages, such as {named}")


def _named(fact: Fact, origin: str) -> Iterator[Finding]:
    """What follows from name and version, wherever the package comes from."""
    if origin in {"option", "include"} or not fact.name:
        return
    imitated = imitation_of(fact.name)
    if imitated:
        yield found(
            IMITATION, fact.source, fact.offset, f"{_shown(fact.name)} looks like {imitated}", imitated=imitated
        )
    ecosystem = str(fact.detail.get("ecosystem", "PyPI"))
    where = f"{fact.source}@{fact.offset}"
    yield from advisories.findings_of(where, ecosystem, fact.name, _specifier(fact), advisories.shipped())


def _option(fact: Fact) -> Iterator[Finding]:
    flag, address = fact.name, _address(fact)
    shown = f"{_shown(flag)} {_shown(address)}"
    if flag == "--trusted-host" or (flag in _INDEXES and _UNPROTECTED.match(address)):
        yield found(UNPROTECTED, fact.source, fact.offset, shown)
    elif (flag in _INDEXES and not _USUAL.match(address)) or (flag == "channel" and not _usual_channel(address)):
        yield found(INDEX, fact.source, fact.offset, shown)
    elif flag in _BUILDS:
        yield found(OPTION, fact.source, fact.offset, shown)


def _usual_channel(channel: str) -> bool:
    if _UNPROTECTED.match(channel):
        return False
    named = re.fullmatch(r"https://(?:conda\.anaconda\.org|repo\.anaconda\.com/pkgs)/([\w-]+)(?:/.*)?", channel)
    return (named[1] if named else channel).lower() in _CHANNELS


def _elsewhere(fact: Fact) -> Finding:
    address = _address(fact)
    rule = UNPROTECTED if _UNPROTECTED.match(address) else LOCAL if _ABSOLUTE.match(address) else ELSEWHERE
    return found(rule, fact.source, fact.offset, f"{_shown(fact.name) or 'a package'} from {_shown(address)}")


def _address(fact: Fact) -> str:
    return str(fact.detail.get("address", ""))


def _specifier(fact: Fact) -> str:
    return str(fact.detail.get("specifier", ""))


def _shown(text: str) -> str:
    return ascii(text[:120])[1:-1]


# ---------------------------------------------------------------- imitations
def imitation_of(name: str) -> str:
    """The known package that `name`, which is normalised, looks like; empty where it is known itself, or looks like none."""
    imitated, known = _names()
    if name in known or len(name) < _SHORTEST_IMITATION:
        return ""
    plain = _folded(name)
    for one in imitated:
        folded = _folded(one)
        slips = 2 if len(one) >= _FAR else 1
        if (
            len(one) >= _SHORTEST_IMITATION
            and abs(len(plain) - len(folded)) <= slips
            and distance(plain, folded, slips) <= slips
        ):
            return one
    return ""


@cache
def _names() -> tuple[tuple[str, ...], frozenset[str]]:
    data = json.loads(_DATA.read_text("utf-8"))
    return tuple(data["imitated"]), frozenset(data["known"])


def _folded(name: str) -> str:
    """Without separators, and with digits as the letters that they look like."""
    return name.replace("-", "").translate(str.maketrans("0135", "oles"))


def distance(left: str, right: str, most: int) -> int:
    """How many letters must be added, dropped, changed or swapped with the next; `most` + 1 where it is more."""
    before: list[int] = []
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        before, last, row = row, before, [i]
        for j, b in enumerate(right, 1):
            best = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b))
            if i > 1 and j > 1 and a == right[j - 2] and left[i - 2] == b:
                best = min(best, last[j - 2] + 1)
            row.append(best)
        if min(row) > most:
            return most + 1
    return min(row[-1], most + 1)


CHECK = Packages
