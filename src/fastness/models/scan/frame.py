"""The scan: sniff the content, run every reader that claims it, judge the facts, and let the worst win.

A pass needs every byte accounted for by one reader and nothing unknown; members are scanned like files of their own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from fastness.core.errors import FastnessError, TooLarge
from fastness.core.findings import Finding, Severity, judge
from fastness.core.sources import RandomAccess
from fastness.models.scan.budget import Budget, ScanSettings
from fastness.models.scan.catalogue import all_checks, all_readers, rule_of
from fastness.models.scan.facts import Fact, FactKind, Facts, Member, Reader, found
from fastness.models.scan.magics import guess, mismatch
from fastness.models.scan.report import Report
from fastness.models.scan.rules import (
    BUDGET_SPENT,
    BYTES_UNEXPLAINED,
    FILE_EMPTY,
    FORMAT_UNKNOWN,
    NAME_MISMATCH,
    READER_FAILED,
)  # fmt: skip

HEAD = 4096
KEPT_PER_RULE = 50


@dataclass(slots=True)
class _Scan:
    """What gathers while one file is scanned."""

    budget: Budget
    findings: dict[tuple[str, Severity], list[Finding]] = field(default_factory=dict)
    formats: list[str] = field(default_factory=list)
    seen: set[tuple[str, str, str]] = field(default_factory=set)
    dropped: int = 0

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


def scan(source: RandomAccess, settings: ScanSettings | None = None) -> Report:
    """The report on one file. The same bytes and name always give the same report.

    Raises:
        OSError: the source cannot be read.
        FastnessError: the source cannot be trusted, such as Corrupt from an encrypted one.
    """
    state = _Scan(Budget(settings or ScanSettings()))
    explained = 0
    waiting = deque([(Member(source), 0)])
    while waiting:
        member, depth = waiting.popleft()
        best, inner = _examine(member, depth, state)
        explained = best if member.source is source else explained
        waiting.extend((one, depth + 1) for one in inner)
    findings = [finding for kept in state.findings.values() for finding in kept]
    findings.sort(key=lambda f: (-f.severity, f.where.rpartition("@")[0], f.evidence.get("offset", 0), f.rule))
    formats = tuple(dict.fromkeys(state.formats))
    return Report(source.name, source.size, formats, judge(findings), explained, state.dropped)


def _examine(member: Member, depth: int, state: _Scan) -> tuple[int, list[Member]]:
    """Run all claimants over one file; how many bytes the best of them explains, and the members they found."""
    source = member.source
    if not source.size:
        state.add(found(FILE_EMPTY, source.name, 0, "0 bytes"))
        return 0, []
    head = source.read_at(0, HEAD)
    claimants = [r for r in all_readers() if r.name == member.reader or r.claims(head, source.name)]
    best, members, formats = 0, [], []
    facts = Facts()
    for reader in claimants:
        reading = _read(reader, source, depth, state, facts)
        if reading is not None:
            formats.append(reader.name)
            best = max(best, reading[0])
            members += reading[1]
    state.formats += formats
    if not formats:
        state.add(found(FORMAT_UNKNOWN, source.name, 0, f"{guess(head)}: no reader covers it yet"))
    elif not depth and (promised := mismatch(source.name, formats)):
        state.add(found(NAME_MISMATCH, source.name, 0, f"named like {promised}, but holds {', '.join(formats)}"))
    for check in all_checks():
        for finding in check.check(facts) if facts.some(check.wants) else ():
            state.add(finding)
    return best, members


def _read(
    reader: Reader, source: RandomAccess, depth: int, state: _Scan, facts: Facts
) -> tuple[int, list[Member]] | None:
    """Run one reader, None if it yields nothing: how many bytes it explains, and the members in it.

    Its facts go to `facts`. Bytes it leaves unexplained without saying why are a finding.
    """
    own, members, refused, told = Facts(), [], False, False
    for item in _guarded(reader, source, state.budget, depth):
        told = True
        if isinstance(item, Fact):
            (own if item.kind is FactKind.SPAN else facts).add(item)
        elif isinstance(item, Member):
            members.append(item)
        else:
            refused = refused or rule_of(item.rule).incomplete
            state.add(item)
    if not told:
        return None
    explained = own.explained(source.size)
    if explained < source.size and not refused:
        left = source.size - explained
        state.add(found(BYTES_UNEXPLAINED, source.name, 0, f"{reader.name} accounts for all but {left} bytes"))
    return explained, members


def _guarded(reader: Reader, source: RandomAccess, budget: Budget, depth: int) -> Iterator[Fact | Member | Finding]:
    """What the reader yields; a spent budget or a failure ends it with a finding that refuses the file.

    Raises:
        OSError, FastnessError: the source cannot be read.
    """
    try:
        budget.require("depth", depth + 1)
        for item in reader.read(source, budget):
            if isinstance(item, Member):
                budget.spend("members")
            yield item
    except TooLarge as spent:
        yield found(BUDGET_SPENT, source.name, 0, f"{reader.name}: {spent.message}")
    except (OSError, FastnessError):
        raise
    except Exception as error:  # the boundary: a reader that fails on hostile bytes refuses the file
        yield found(READER_FAILED, source.name, 0, f"{reader.name}: {type(error).__name__}")
