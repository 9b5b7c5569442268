"""The table for people: what is worst comes first, and stands again in the last lines; nothing bad is left out."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from fastness.core.findings import Finding, Rule, Severity
from fastness.interfaces.cli.output import SEVERITY_STYLE
from fastness.models.scan import Outcome, Report, rules

if TYPE_CHECKING:
    from rich.console import Console

_STYLE = {Outcome.PASS: "green", Outcome.REVIEW: "yellow", Outcome.INCOMPLETE: "bold red", Outcome.BLOCK: "bold red"}
_RANK = {Outcome.BLOCK: 0, Outcome.INCOMPLETE: 1, Outcome.REVIEW: 2, Outcome.PASS: 3}
_WORDS = {Outcome.BLOCK: "blocked", Outcome.REVIEW: "for review", Outcome.INCOMPLETE: "undecided", Outcome.PASS: "pass"}
_ODD = re.compile(r"[\x7f-\U0010ffff]")
_ALIKE = 5
# Beyond so many of one outcome with the same rules, files are counted; what is blocked is always listed.
_LISTED = {Outcome.PASS: 30, Outcome.INCOMPLETE: 100, Outcome.REVIEW: 100}


def print_reports(out: Console, reports: Sequence[Report], notes: Sequence[str], *, explain: bool) -> None:
    """All verdicts with their findings, the worst first; then notes, counts and once more the worst finding."""
    ranked = sorted(
        reports, key=lambda r: (_RANK[r.outcome], -max((f.severity for f in r.verdict.findings), default=0))
    )
    catalogue = {rule.id: rule for rule in rules()}
    listed: Counter[tuple[Outcome, frozenset[str]]] = Counter()
    for report in ranked:
        kind = (report.outcome, frozenset(finding.rule for finding in report.verdict.findings))
        listed[kind] += 1
        if listed[kind] <= _LISTED.get(report.outcome, len(ranked)) or report.waived:
            _print_report(out, report, catalogue, explain=explain)
    for (outcome, found), count in listed.items():
        if (more := count - _LISTED.get(outcome, count)) > 0:
            why = f"with {', '.join(sorted(found))}; --format json has them all" if found else "without any finding"
            style = _STYLE[outcome]
            out.print(f"[{style}]{outcome.value:<10}[/{style}] and {more} more files {_plain(why)}", soft_wrap=True)
    for note in notes:
        out.print(f"[yellow]note[/yellow]       {_plain(note)}", soft_wrap=True)
    if any(report.isolation == "limits" for report in reports):
        out.print("[yellow]note[/yellow]       this system offers no sandbox: files were read under limits alone")
    _print_totals(out, ranked)


def printable(text: str) -> str:
    """Text of others, as it is: it makes no lines, colours or directions of its own here."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def as_text(document: object) -> str:
    """JSON to read or to keep; in its texts, too, nothing stands that a terminal acts on."""
    text = msgspec.json.format(msgspec.json.encode(document), indent=2).decode()
    return text if text.isascii() and "\x7f" not in text else _ODD.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    char = found[0]
    return char if char.isprintable() else json.dumps(char)[1:-1] if char != "\x7f" else r"\u007f"


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(printable(text))


def _print_report(out: Console, report: Report, catalogue: Mapping[str, Rule], *, explain: bool) -> None:
    style, word = _STYLE[report.outcome], report.outcome.value
    formats = ", ".join(report.formats) or "unknown format"
    out.print(
        f"[{style}]{word:<10}[/{style}] {_plain(report.name)}  [dim]{_plain(formats)}[/dim]", soft_wrap=True
    )  # fmt: skip
    alike: Counter[tuple[str, Severity]] = Counter()
    for finding in report.verdict.findings:
        alike[finding.rule, finding.severity] += 1
        if alike[finding.rule, finding.severity] <= _ALIKE:
            _print_finding(out, finding, catalogue[finding.rule], explain=explain)
    for (rule, severity), count in alike.items():
        if count > _ALIKE:
            more = f"and {count - _ALIKE} more {severity.name.lower()} findings of {_plain(rule)}"
            out.print(f"  [dim]{more}; --format json has them all[/dim]")
    if report.dropped:
        out.print(f"  [dim]and {report.dropped} more of the same kinds, which are not kept[/dim]")
    for one in report.waived:
        said = f"{one.finding.rule}: waived by {one.by} until {one.until}: {one.reason}"
        out.print(f"  [cyan]waived  [/cyan] {_plain(said)}", soft_wrap=True)
        out.print(
            f"           [dim]{_plain(one.finding.message)}, at {_plain(one.finding.where)}[/dim]", soft_wrap=True
        )


def _print_finding(out: Console, finding: Finding, rule: Rule, *, explain: bool) -> None:
    name = finding.severity.name.lower()
    style = SEVERITY_STYLE[name]
    out.print(f"  [{style}]{name:<8}[/{style}] {_plain(finding.rule)}: {_plain(finding.message)}", soft_wrap=True)
    out.print(f"           [dim]at[/dim] {_plain(finding.where)}", soft_wrap=True)
    if explain:
        for number, line in enumerate(str(finding.evidence.get("chain", "")).splitlines()):
            lead = "           [dim]what it does[/dim] " if not number else "             "
            out.print(f"{lead}{_plain(line)}", soft_wrap=True)
        known = {k: v for k, v in finding.evidence.items() if k not in {"chain", "offset"}}
        if known:
            shown = ", ".join(f"{key} {value}" for key, value in known.items())
            out.print(f"           [dim]seen[/dim] {_plain(shown)}", soft_wrap=True)
        out.print(f"           [dim]why it matters[/dim] {_plain(rule.why)}", soft_wrap=True)
    out.print(f"           [dim]what to do[/dim] {_plain(rule.fix)}", soft_wrap=True)


def _print_totals(out: Console, ranked: Sequence[Report]) -> None:
    counts = Counter(report.outcome for report in ranked)
    told = ", ".join(f"{counts[outcome]} {_WORDS[outcome]}" for outcome in _RANK if counts[outcome])
    waived = sum(len(report.waived) for report in ranked)
    out.print(f"{len(ranked)} scanned: {told or 'nothing'}" + (f"; {waived} findings waived" if waived else ""))
    worst = max(
        ((finding, report) for report in ranked for finding in report.verdict.findings),
        key=lambda both: both[0].severity,
        default=None,
    )
    if worst is not None and worst[0].severity >= Severity.MEDIUM:
        finding, report = worst
        out.print(
            f"the worst: {finding.severity.name.lower()} {_plain(finding.rule)} in {_plain(report.name)}",
            soft_wrap=True,
        )
