"""Which packages are known to be vulnerable: records in the schema of OSV, matched without a network.

A snapshot is a file: the zip of single records that OSV's publishers offer, JSON lines, a JSON list, or an object with
`date` and `records`. Its date is what it says, otherwise the latest change of a record. An old snapshot is refused: silence
about a package would then say nothing.

Only versions that are pinned can be matched; so can a range whose every version is affected, which is not tried. Misses:
ranges of Git commits. Cost: one pass over the snapshot to load it, a look-up by name for each package.

Source: OSV schema 1.7 (evaluation of `affected`); PEP 440 for versions of Python packages, Semantic Versioning 2.0 for the
others; FIRST, "CVSS v3.1 Specification", section 7.1 (base score).
"""

from __future__ import annotations

import datetime as dt
import io
import json
import math
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from fastness.core.clock import SECOND, Instant
from fastness.core.errors import Corrupt
from fastness.core.findings import Finding, Rule, Severity, judge
from fastness.models.scan.report import Report
from fastness.models.scan.rules import MAPS, undecided

_MAPS = {**MAPS, "cwe": "CWE-1395"}
VULNERABLE = Rule(
    "package-vulnerable", "A package in a version that is known to be vulnerable", Severity.MEDIUM,
    "Whoever installs what the model asks for installs the fault, often one that runs code when a model is loaded.",
    "Ask for a version in which it is mended, and test the model with it.", _MAPS,
)  # fmt: skip
KNOWN_WEAKNESS = Rule(
    "package-weakness", "A package in a version with a lesser known fault", Severity.LOW,
    "It is known and mended in another version.", "Ask for a version in which it is mended.", _MAPS,
)  # fmt: skip
MALICIOUS = Rule(
    "package-malicious", "A package that is known to be malicious", Severity.CRITICAL,
    "It was published to attack whoever installs it.", "Do not install it; find out how it came into the list.",
    {**MAPS, "cwe": "CWE-506"},
)  # fmt: skip
STALE = undecided(
    "advisories-stale", "The snapshot of advisories is too old",
    "What was found since is not in it: that it names no package says nothing.", "Fetch a new snapshot, or allow a higher age.",
)  # fmt: skip

RULES: tuple[Rule, ...] = (VULNERABLE, KNOWN_WEAKNESS, MALICIOUS, STALE)

_LONGEST = 1 << 30
_LONGEST_RECORD = 16 << 20
_MOST = 2_000_000
_DAY = 86_400 * SECOND
_LEVELS = {"CRITICAL": 9.0, "HIGH": 7.0, "MODERATE": 4.0, "MEDIUM": 4.0, "LOW": 0.1}
_SHIPPED = Path(__file__).with_name("advisories.json")


@dataclass(frozen=True, slots=True)
class Advisory:
    """What one record says of one package.

    Attributes:
        ids: its id and all its other names, the id first.
        score: base score of CVSS, or the least of the level that is given; 5 where neither is.
        versions: those listed one by one.
        ranges: of each the kind, ECOSYSTEM or SEMVER, and its events in the order of the record.
        malicious: whether the package itself is the attack.
    """

    ids: tuple[str, ...]
    summary: str
    score: float
    versions: frozenset[str]
    ranges: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    malicious: bool = False

    def affects(self, ecosystem: str, version: str) -> bool:
        """Whether a version is affected. A version that cannot be read is affected only where it is listed."""
        if version in self.versions:
            return True
        parse = _python_key if ecosystem == "PyPI" else _semantic_key
        mine = parse(version)
        if mine is None:
            return False
        if ecosystem == "PyPI" and any(_python_key(one) == mine for one in self.versions):
            return True
        return any(
            _within(version, events, _semantic_key if kind == "SEMVER" else parse) for kind, events in self.ranges
        )


@dataclass(frozen=True)
class Advisories:
    """A snapshot.

    Attributes:
        at: the moment it speaks of.
    """

    at: Instant
    by_package: Mapping[tuple[str, str], tuple[Advisory, ...]] = field(repr=False)

    @classmethod
    def read(cls, data: bytes) -> Advisories:
        """The snapshot that `data` holds, in any of the forms above.

        Raises:
            Corrupt: it holds none, or no date follows from it; the code is `advisories-malformed`.
        """
        date, records = _records(data)
        packages: dict[tuple[str, str], list[Advisory]] = {}
        latest = ""
        for count, record in enumerate(records):
            if count >= _MOST:
                raise _malformed(f"more than {_MOST} records")
            latest = max(latest, _text(record, "modified"))
            for package, advisory in _advisories(record):
                packages.setdefault(package, []).append(advisory)
        return cls(_instant(date or latest), {package: tuple(kept) for package, kept in packages.items()})

    def affecting(self, ecosystem: str, name: str, version: str) -> list[Advisory]:
        """The advisories on this version of a package, the worst first; of those that name each other, one."""
        known = self.by_package.get((ecosystem, _package(ecosystem, name)), ())
        hits = sorted(
            (one for one in known if one.affects(ecosystem, version)), key=lambda a: (not a.malicious, -a.score, a.ids)
        )
        told: set[str] = set()
        kept = []
        for one in hits:
            if told.isdisjoint(one.ids):
                kept.append(one)
            told.update(one.ids)
        return kept


@cache
def shipped() -> Advisories:
    """The few well-known advisories that come with Fastness; they never grow stale, for nobody takes them for all."""
    return Advisories.read(_SHIPPED.read_bytes())


def findings_of(where: str, ecosystem: str, name: str, specifier: str, advisories: Advisories) -> Iterator[Finding]:
    """One finding for each advisory on a pinned package; none for one that is not pinned.

    Args:
        ecosystem: as in a PACKAGE fact; conda's packages of Python are looked up by the same name.
    """
    version = pinned(specifier)
    if not version:
        return
    for one in advisories.affecting("PyPI" if ecosystem == "conda" else ecosystem, name, version):
        rule = MALICIOUS if one.malicious else VULNERABLE if one.score >= _LEVELS["HIGH"] else KNOWN_WEAKNESS
        shown = f"{ascii(name[:80])[1:-1]} {ascii(version[:40])[1:-1]}: {one.ids[0]} {ascii(one.summary[:120])[1:-1]}"
        evidence: dict[str, str | int | float] = {
            "advisory": one.ids[0],
            "score": one.score,
            "aliases": " ".join(one.ids[1:]),
        }
        yield Finding(rule.id, rule.severity, where, shown, evidence)


def pinned(specifier: str) -> str:
    """The one version that a specifier allows; empty where it allows several."""
    try:
        parts = list(SpecifierSet(specifier))
    except InvalidSpecifier:
        return ""
    exact = [one.version for one in parts if one.operator in {"==", "==="} and not one.version.endswith(".*")]
    return exact[0] if exact else ""


def advise(report: Report, advisories: Advisories, now: Instant, max_age_days: int = 30) -> Report:
    """The report with what a snapshot says of the packages in its contents; with a stale one it is incomplete.

    A report without packages stays as it is, whatever the age of the snapshot.
    """
    packages = [(name, *about.partition(" ")[::2]) for kind, name, about in report.contents if kind == "package"]
    if not packages:
        return report
    where = f"{report.name}@0"
    age_days = (now - advisories.at) // _DAY
    more: list[Finding] = []
    if age_days > max_age_days:
        message = f"it is {age_days} days old, and {max_age_days} are allowed"
        more.append(Finding(STALE.id, STALE.severity, where, message, {"age_days": age_days}))
    for name, ecosystem, specifier in packages:
        more += findings_of(where, ecosystem, name, specifier, advisories)
    known = {(one.rule, one.message) for one in report.verdict.findings}
    fresh = [one for one in more if (one.rule, one.message) not in known]
    kept = sorted((*report.verdict.findings, *fresh), key=lambda one: -one.severity)
    return replace(report, verdict=judge(kept))


# ---------------------------------------------------------------- versions
Key = tuple[Any, ...]  # numbers and texts, or a Version: what compares with its like
Parse = Callable[[str], Key | None]


def _python_key(version: str) -> Key | None:
    try:
        parsed = Version(version)
    except InvalidVersion:
        return None
    return (parsed,)


def _semantic_key(version: str) -> Key | None:
    """Numbers, then whether it is a release, then the marks of a pre-release, numbers below words."""
    match = re.fullmatch(
        r"v?(\d{1,18})(?:\.(\d{1,18}))?(?:\.(\d{1,18}))?(?:-([0-9A-Za-z.-]{1,100}))?(?:\+[0-9A-Za-z.-]*)?", version
    )
    if match is None:
        return None
    marks = tuple((0, int(m), "") if m.isdigit() else (1, 0, m) for m in (match[4] or "").split(".") if m)
    return (*(int(match[n] or 0) for n in (1, 2, 3)), not marks, marks)


def _within(version: str, events: tuple[tuple[str, str], ...], parse: Parse) -> bool:
    """The evaluation of one range: its events in the order of their versions, each of which turns it on or off."""
    mine = _edge(version, parse)
    edges = sorted((edge, kind) for kind, at in events if (edge := _edge(at, parse)) is not None)
    affected = False
    for edge, kind in edges:
        if mine is None or mine < edge:
            break
        if kind == "introduced":
            affected = True
        elif kind in {"fixed", "limit"} or mine > edge:  # the last affected version is affected itself
            affected = False
    return affected


def _edge(version: str, parse: Parse) -> Key | None:
    """A key below which "0" stands: the beginning of all versions."""
    if version == "0":
        return (0,)
    key = parse(version)
    return None if key is None else (1, key)


# ---------------------------------------------------------------- severity
_WEIGHTS = {
    "AV": {"N": 0.85, "A": 0.62, "L": 0.55, "P": 0.2}, "AC": {"L": 0.77, "H": 0.44}, "UI": {"N": 0.85, "R": 0.62},
    "C": {"H": 0.56, "L": 0.22, "N": 0.0}, "I": {"H": 0.56, "L": 0.22, "N": 0.0}, "A": {"H": 0.56, "L": 0.22, "N": 0.0},
}  # fmt: skip
_RIGHTS = {"N": (0.85, 0.85), "L": (0.62, 0.68), "H": (0.27, 0.5)}


def base_score(vector: str) -> float | None:
    """The base score of a vector of CVSS 3.0 or 3.1; None for anything else.

    Source: FIRST, "Common Vulnerability Scoring System v3.1: Specification Document", sections 7.1 and 7.4, appendix A.
    """
    if not re.match(r"CVSS:3\.[01]/", vector):
        return None
    marks = dict(part.split(":", 1) for part in vector.split("/")[1:] if ":" in part)
    try:
        value = {name: weights[marks[name]] for name, weights in _WEIGHTS.items()}
        changed = {"U": False, "C": True}[marks["S"]]
        rights = _RIGHTS[marks["PR"]][changed]
    except KeyError:
        return None
    lost = 1 - (1 - value["C"]) * (1 - value["I"]) * (1 - value["A"])
    impact = 7.52 * (lost - 0.029) - 3.25 * (lost - 0.02) ** 15 if changed else 6.42 * lost
    if impact <= 0:
        return 0.0
    exploit = 8.22 * value["AV"] * value["AC"] * rights * value["UI"]
    whole = min(10.0, (impact + exploit) * (1.08 if changed else 1.0))
    return math.ceil(round(whole * 100_000) / 10_000) / 10


def _score(record: Mapping[str, object], affected: Mapping[str, object]) -> float:
    """The highest base score; without one the level that the database gives, and 5 without that."""
    vectors = [_text(one, "score") for one in (*_dicts(record.get("severity")), *_dicts(affected.get("severity")))]
    scores = [score for vector in vectors if (score := base_score(vector)) is not None]
    if scores:
        return max(scores)
    for holder in (affected, record):
        for key in ("ecosystem_specific", "database_specific"):
            level = _text(holder.get(key), "severity").upper()
            if level in _LEVELS:
                return _LEVELS[level]
    return 5.0


# ---------------------------------------------------------------- records
def _malformed(problem: str) -> Corrupt:
    return Corrupt("advisories-malformed", f"the snapshot of advisories: {problem}", "Fetch it again.")


def _records(data: bytes) -> tuple[str, Iterable[Mapping[str, object]]]:
    """The date that a snapshot states, if it does, and its records.

    Raises:
        Corrupt: it is none of the known forms.
    """
    if data[:4] == b"PK\x03\x04":
        return "", _zipped(data)
    try:
        text = data.decode("utf-8-sig")
        if text.lstrip()[:1] == "[" or '"records"' in text[:4096]:
            whole = json.loads(text)
            stated = _text(whole, "date")
            return stated, _checked(whole if isinstance(whole, list) else _dict(whole).get("records"))
        return "", _checked([json.loads(line) for line in text.splitlines() if line.strip()])
    except (ValueError, RecursionError) as error:
        raise _malformed(f"it is no JSON ({type(error).__name__})") from error


def _zipped(data: bytes) -> Iterator[Mapping[str, object]]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [one for one in archive.infolist() if one.filename.endswith(".json")]
            sizes = [one.file_size for one in members]
            if sum(sizes) > _LONGEST or max(sizes, default=0) > _LONGEST_RECORD:
                raise _malformed("it is larger than a snapshot can be")
            for member in members:
                yield from _checked([json.loads(archive.read(member))])
    except (zipfile.BadZipFile, ValueError, RecursionError, NotImplementedError, RuntimeError, EOFError) as error:
        raise _malformed(f"it cannot be unpacked ({type(error).__name__})") from error


def _checked(records: object) -> list[Mapping[str, object]]:
    if not isinstance(records, list) or not all(isinstance(one, dict) and _text(one, "id") for one in records):
        raise _malformed("it is not made of records with an id")
    return records


def _advisories(record: Mapping[str, object]) -> Iterator[tuple[tuple[str, str], Advisory]]:
    """What a record says of each package; nothing if it was withdrawn."""
    if _text(record, "withdrawn"):
        return
    others = (*_texts(record.get("aliases")), *_texts(record.get("upstream")))
    ids = tuple(dict.fromkeys((_text(record, "id"), *others)))
    malicious = (
        any(one.startswith("MAL-") for one in ids) or _dict(record.get("database_specific")).get("malicious") is True
    )
    for affected in _dicts(record.get("affected")):
        about = _dict(affected.get("package"))
        ecosystem = _text(about, "ecosystem").partition(":")[0]
        ranges = tuple(
            (_text(one, "type"), tuple(_events(one)))
            for one in _dicts(affected.get("ranges"))
            if _text(one, "type") in {"ECOSYSTEM", "SEMVER"}
        )
        listed = frozenset(_texts(affected.get("versions")))
        if _text(about, "name") and (listed or ranges):
            summary = _text(record, "summary") or _text(record, "details")[:120]
            key = (ecosystem, _package(ecosystem, _text(about, "name")))
            yield key, Advisory(ids, summary, _score(record, affected), listed, ranges, malicious)


def _events(one: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    for event in _dicts(one.get("events")):
        for kind in ("introduced", "fixed", "last_affected", "limit"):
            if _text(event, kind):
                yield kind, _text(event, kind)


def _package(ecosystem: str, name: str) -> str:
    return canonicalize_name(name) if ecosystem == "PyPI" else name


def _instant(date: str) -> Instant:
    """The moment of an RFC 3339 date or time.

    Raises:
        Corrupt: there is none.
    """
    try:
        at = dt.datetime.fromisoformat(date)
    except ValueError as error:
        raise _malformed("no date follows from it") from error
    whole = at if at.tzinfo is not None else at.replace(tzinfo=dt.UTC)
    return Instant(int(whole.timestamp()) * SECOND)


def _dict(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _dicts(value: object) -> list[Mapping[str, object]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _text(value: object, key: str) -> str:
    found = value.get(key) if isinstance(value, dict) else None
    return found if isinstance(found, str) else ""


def _texts(value: object) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []
