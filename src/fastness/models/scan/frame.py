"""The scan: sniff the content, run every reader that claims it, judge the facts, and let the worst win.

A pass needs every byte accounted for by one reader and nothing unknown; members are scanned like files of their own.
Files that belong together are shown to the layouts, which say what a file is that its content cannot tell, and look at
what stands between files.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice

from fastness.core.errors import FastnessError, TooLarge
from fastness.core.findings import Finding, Severity, judge
from fastness.core.sources import RandomAccess
from fastness.models.scan.budget import Budget, ScanSettings
from fastness.models.scan.bundles import Bundle
from fastness.models.scan.catalogue import all_checks, all_layouts, all_readers, promises, rule_of
from fastness.models.scan.facts import Fact, FactKind, Facts, Layout, Look, Member, Reader, Told, found
from fastness.models.scan.magics import guess
from fastness.models.scan.report import Report
from fastness.models.scan.rules import (
    BUDGET_SPENT,
    BYTES_UNEXPLAINED,
    FILE_EMPTY,
    FORMAT_UNKNOWN,
    NAME_MISMATCH,
    READER_FAILED,
)  # fmt: skip

Tell = Callable[[Finding], object]

KEPT_PER_RULE = 50
SEARCHED_GAPS = 1000
_BOMB = "CWE-409"
LISTED, LONGEST_NAME = 1000, 200
RAW = "raw"
ALONE = frozenset({RAW, "torchscript", "torch-export"})
"""Readers of what no other one reads as well: that it looks like something else is no news to its loader."""
_ACTS = frozenset({FactKind.CALL, FactKind.IMPORT, FactKind.TAMPER, FactKind.EXECUTABLE})


def _nobody(_: Finding) -> None:
    """Hears nothing."""


class Tree:
    """A bundle with its layouts, and what its files say of each other."""

    def __init__(self, bundle: Bundle, layouts: tuple[Layout, ...] | None = None) -> None:
        self.bundle = bundle
        known = all_layouts() if layouts is None else layouts
        self.layouts: tuple[Layout, ...] = tuple(one for one in known if one.claims(bundle))
        self.referenced: set[str] = set()

    def readers(self, path: str) -> frozenset[str]:
        """The readers that must read a file; `raw` alone where anybody says that it is."""
        names = frozenset(one.reader(path, self.bundle) for one in self.layouts) - {""}
        return frozenset({RAW}) if RAW in names else names

    def late_readers(self, path: str) -> frozenset[str]:
        """The reader of a file that nothing claims: `raw` where another file refers to it."""
        return frozenset({RAW}) if path in self.referenced else frozenset()

    def refer(self, path: str, location: str) -> bool:
        """Whether the file at `path` refers to another one of the bundle, which is then read as what it is said to be."""
        led = self.bundle.resolve(path, location)
        if led:
            self.referenced.add(led)
        return bool(led)


@dataclass(frozen=True, slots=True)
class Job:
    """One file to look at.

    Attributes:
        depth: how many files stand around it.
        tree: the bundle it belongs to, and its path in it.
        readers: those that must read it.
    """

    source: RandomAccess
    depth: int = 0
    tree: Tree | None = None
    path: str = ""
    readers: frozenset[str] = frozenset()


@dataclass(slots=True)
class _Scan:
    """What gathers while one file is scanned.

    Attributes:
        tell: is told of what blocks as soon as it is found; what ends the process later does not undo it.
    """

    budget: Budget
    tell: Tell
    foreseen: set[tuple[FactKind, str]] = field(default_factory=set)
    findings: dict[tuple[str, Severity], list[Finding]] = field(default_factory=dict)
    formats: list[str] = field(default_factory=list)
    seen: set[tuple[str, str, str]] = field(default_factory=set)
    waiting: deque[Job] = field(default_factory=deque)
    unknown: list[Job] = field(default_factory=list)
    dropped: int = 0
    contents: dict[tuple[str, str, str], None] = field(default_factory=dict)

    def enlist(self, facts: Facts) -> None:
        """Keep what a bill of materials lists."""
        for fact in facts.of(FactKind.PACKAGE, FactKind.LICENCE):
            if len(self.contents) < LISTED:
                about = " ".join(str(fact.detail.get(name, "")) for name in ("ecosystem", "specifier")).strip()
                self.contents[fact.kind.value, fact.name[:LONGEST_NAME], about[:LONGEST_NAME]] = None

    def add(self, finding: Finding) -> None:
        """Keep the finding, unless it was told already or there are many like it."""
        key = (finding.rule, finding.where, finding.message)
        if key in self.seen:
            return
        kept = self.findings.setdefault((finding.rule, finding.severity), [])
        if len(kept) >= KEPT_PER_RULE:
            self.dropped += 1
            return
        self.seen.add(key)
        kept.append(finding)
        self._tell(finding)

    def foresee(self, fact: Fact) -> None:
        """Tell what an act comes to before all is read and judged: reading on may be what ends the process."""
        key = (fact.kind, fact.name)
        if fact.kind in _ACTS and self.tell is not _nobody and key not in self.foreseen:
            self.foreseen.add(key)
            for finding in _judged(Facts((fact,)), fact.source):
                self._tell(finding)

    def _tell(self, finding: Finding) -> None:
        if finding.severity >= Severity.HIGH and not rule_of(finding.rule).incomplete:
            self.tell(finding)

    def report(self, name: str, size: int, explained: int) -> Report:
        """All of it, the worst first."""
        findings = [finding for kept in self.findings.values() for finding in kept]
        findings.sort(key=lambda f: (-f.severity, f.where.rpartition("@")[0], f.evidence.get("offset", 0), f.rule))
        return Report(name, size, tuple(dict.fromkeys(self.formats)), judge(findings), explained, self.dropped, contents=tuple(self.contents))  # fmt: skip


def scan(source: RandomAccess, settings: ScanSettings | None = None) -> Report:
    """The report on one file. The same bytes and name always give the same report.

    Raises:
        OSError: the source cannot be read.
        FastnessError: the source cannot be trusted, such as Corrupt from an encrypted one.
    """
    return scan_job(Job(source), settings)


def scan_job(job: Job, settings: ScanSettings | None = None, tell: Tell = _nobody) -> Report:
    """The report on one file, alone or in its bundle.

    Args:
        tell: is told of what blocks as soon as it is found.

    Raises:
        OSError: the source cannot be read.
        FastnessError: the source cannot be trusted, such as Corrupt from an encrypted one.
    """
    state = _Scan(Budget(settings or ScanSettings()), tell)
    explained = _look_at(job, state)
    while state.waiting:
        _look_at(state.waiting.popleft(), state)
        if not state.waiting:  # by now it is known which of the files that nothing claims others refer to
            state.waiting.extend(_referenced(state))
    for one in state.unknown:
        state.add(found(FORMAT_UNKNOWN, one.source.name, 0, f"{_guessed(one.source)}: no reader covers it yet"))
    if state.unknown:
        _condemn_bombs(state)
    undecided = any(rule_of(rule).incomplete for rule, _ in state.findings)
    if state.formats and not undecided and (promised := _promised(job.source.name, state.formats)):
        message = f"named like {promised}, but holds {', '.join(dict.fromkeys(state.formats))}"
        state.add(found(NAME_MISMATCH, job.source.name, 0, message))
    return state.report(job.source.name, job.source.size, explained)


def scan_tree(tree: Tree, settings: ScanSettings | None = None, tell: Tell = _nobody) -> Report | None:
    """What stands between the files of a folder; None where no layout knows it. The files are scanned by themselves.

    Args:
        tell: is told of what blocks as soon as it is found.
    """
    if not tree.layouts:
        return None
    state = _Scan(Budget(settings or ScanSettings()), tell)
    _lay_out(tree, "", state)
    return state.report(tree.bundle.name, 0, 0)


def _condemn_bombs(state: _Scan) -> None:
    """What becomes very large may be an array of one value; where no reader knows it, it is there to be large."""
    for rule, severity in list(state.findings):
        if severity is Severity.MEDIUM and rule_of(rule).maps.get("cwe") == _BOMB:
            kept = state.findings.pop((rule, severity))
            state.findings[rule, Severity.HIGH] = [replace(finding, severity=Severity.HIGH) for finding in kept]


def _referenced(state: _Scan) -> list[Job]:
    known: list[Job] = []
    unknown: list[Job] = []
    for job in state.unknown:
        late = job.tree.late_readers(job.path) if job.tree is not None else frozenset()
        (known if late else unknown).append(replace(job, readers=late) if late else job)
    state.unknown = unknown
    return known


def _guessed(source: RandomAccess) -> str:
    try:
        return guess(source.read_at(0, 16))
    except TooLarge:  # the budget's end is told by itself
        return guess(b"")


def _look_at(job: Job, state: _Scan) -> int:
    """Examine one file; what cannot be read of it within the budget makes the whole undecided, and others go on."""
    try:
        return _examine(job, state)
    except TooLarge as spent:
        state.add(found(BUDGET_SPENT, job.source.name, 0, spent.message))
    except (OSError, FastnessError):
        raise
    except Exception as error:  # the boundary: what fails before it reads refuses the file as well
        state.add(found(READER_FAILED, job.source.name, 0, type(error).__name__))
    return 0


def _examine(job: Job, state: _Scan) -> int:
    """Run all claimants over one file; how many bytes the best of them explains. What stands in it waits in `state`."""
    source = job.source
    if not source.size:
        if RAW not in job.readers and job.tree is None:  # beside others, an empty file is a mark, such as __init__.py
            state.add(found(FILE_EMPTY, source.name, 0, "0 bytes"))
        return 0
    best, formats = 0, []
    facts = Facts(present=lambda location: job.tree is not None and job.tree.refer(job.path, location))
    try:
        for reader in _claimants(job, state):
            explained = _read(reader, job, state, facts)
            if explained is not None:
                formats.append(reader.name)
                best = max(best, explained)
        state.formats += formats
        if not formats:
            _search("payloads", source, Facts(), state, facts)
            state.unknown.append(job)
    finally:  # what was read before something failed counts all the same
        _judge(facts, source.name, state)
    return best


def _claimants(job: Job, state: _Scan) -> list[Reader]:
    if alone := job.readers & ALONE:
        return [reader for reader in all_readers() if reader.name in alone]
    look = Look(job.source, job.readers)
    return [reader for reader in all_readers() if reader.name in job.readers or _claims(reader, look, state)]


def _claims(reader: Reader, look: Look, state: _Scan) -> bool:
    """Whether a reader claims a file; one that fails to say refuses it, and the others read it all the same."""
    try:
        return reader.claims(look)
    except (OSError, FastnessError):
        raise
    except Exception as error:  # the boundary: a plug-in that fails on hostile bytes
        state.add(found(READER_FAILED, look.name, 0, f"{reader.name}: {type(error).__name__}"))
        return False


def _judge(facts: Facts, name: str, state: _Scan) -> None:
    state.enlist(facts)
    for finding in _judged(facts, name):
        state.add(finding)


def _judged(facts: Facts, name: str) -> Iterator[Finding]:
    """What the checks say; one that fails refuses the file, and the others judge all the same."""
    for check in all_checks():
        for item in _guarded(check.name, name, check.check(facts)) if facts.some(check.wants) else ():
            if isinstance(item, Finding):
                yield item


def _promised(name: str, formats: list[str]) -> str:
    """The suffix of `name`, if plug-ins promise formats by it and none of these was found; otherwise empty."""
    speaking, longest = promises()
    end = name.rpartition("/")[2].lower()[-longest:]
    suffixes = [end[at:] for at in range(len(end)) if end[at:] in speaking]
    return "" if any(speaking[suffix] & set(formats) for suffix in suffixes) else next(iter(suffixes), "")


def _read(reader: Reader, job: Job, state: _Scan, facts: Facts) -> int | None:
    """Run one reader, None if it yields nothing: how many bytes it explains.

    Its facts go to `facts`. Bytes it leaves unexplained without saying why are a finding.
    """
    own, refused, told, source = Facts(), False, False, job.source
    for item in _guarded(reader.name, source.name, _reading(reader, job, state.budget)):
        told = True
        if isinstance(item, Fact):
            (own if item.kind is FactKind.SPAN else facts).add(item)
            state.foresee(item)
        elif isinstance(item, Member):
            readers = frozenset({item.reader} - {""})
            state.waiting.append(Job(item.source, job.depth + 1, readers=readers))
        elif isinstance(item, Bundle):
            tree = Tree(item)
            state.waiting.extend(Job(item.source(path), job.depth + 1, tree, path, tree.readers(path)) for path in item)
            _lay_out(tree, job.source.name, state)
        else:
            refused = refused or rule_of(item.rule).incomplete
            state.add(item)
    if not told:
        return None
    explained = own.explained(source.size)
    if explained < source.size:
        _search(reader.name, source, own, state, facts)
    if explained < source.size and not refused:
        left = source.size - explained
        state.add(found(BYTES_UNEXPLAINED, source.name, 0, f"{reader.name} accounts for all but {left} bytes"))
    return explained


def _search(plugin: str, source: RandomAccess, own: Facts, state: _Scan, facts: Facts) -> None:
    for item in _guarded(plugin, source.name, _left_over(source, own, state.budget)):
        if isinstance(item, Fact):
            facts.add(item)
        elif isinstance(item, Finding):
            state.add(item)


def _left_over(source: RandomAccess, own: Facts, budget: Budget) -> Iterator[Fact]:
    """Programs, and pickles that would act, where nothing accounts for the bytes: undecided as it is, this is worse.

    What the file begins with is a matter for the readers of that.
    """
    from fastness.models.scan.payloads import search_payloads  # numpy: who only asks for a scan need not load it

    for start, stop in islice(own.gaps(source.size), SEARCHED_GAPS):
        yield from (fact for fact in search_payloads(source, start, stop, budget) if fact.offset)


def _lay_out(tree: Tree, name: str, state: _Scan) -> None:
    """Run all layouts that claim a bundle."""
    facts = Facts(present=lambda location: tree.refer("", location))
    for layout in tree.layouts:
        state.formats.append(layout.name)
        for item in _guarded(layout.name, name or tree.bundle.name, layout.read(tree.bundle, state.budget)):
            if isinstance(item, Fact):
                facts.add(item)
            elif isinstance(item, Finding):
                state.add(item)
    _judge(facts, name or tree.bundle.name, state)


def _reading(reader: Reader, job: Job, budget: Budget) -> Iterator[Told]:
    budget.require("depth", job.depth + 1)
    for item in reader.read(job.source, budget):
        if isinstance(item, Member | Bundle):
            budget.spend("members", len(item) if isinstance(item, Bundle) else 1)
        yield item


def _guarded(
    plugin: str, name: str, items: Iterator[Told] | Iterator[Fact | Finding] | Iterator[Finding]
) -> Iterator[Told]:
    """What a plug-in yields; a spent budget or a failure ends it with a finding that refuses the file.

    Raises:
        OSError, FastnessError: the source cannot be read.
    """
    try:
        yield from items
    except TooLarge as spent:
        yield found(BUDGET_SPENT, name, 0, f"{plugin}: {spent.message}")
    except (OSError, FastnessError):
        raise
    except Exception as error:  # the boundary: a plug-in that fails on hostile bytes refuses the file
        yield found(READER_FAILED, name, 0, f"{plugin}: {type(error).__name__}")
